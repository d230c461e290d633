// Plots of the tables on the page: each `[data-plot]` names the table that it draws. The table is the data, and its alternative.
"use strict";
(() => {
  // A page whose long work is under way looks again.
  const waits = document.querySelector("[data-again]");
  if (waits) setTimeout(() => { location.href = waits.href; }, Number(waits.dataset.again) * 1000);

  const drawn = new Map();
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  function color(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
  }
  // As in the table: UTC, and read the same everywhere.
  const HOUR = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", timeZone: "UTC" });
  const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
  const money = (value) => (value == null ? "" : `$${value.toFixed(value && value < 1 ? 3 : 2)}`);
  const count = (value) => (value == null ? "" : value >= 1e6 ? `${(value / 1e6).toFixed(1)}M` : value >= 1e4 ? `${Math.round(value / 1e3)}k` : `${value}`);

  function read(table, unit) {
    const heads = [...table.tHead.rows[0].cells].map((cell, place) => ({ place, ...cell.dataset })).filter((one) => one.unit === unit);
    const rows = [...table.tBodies[0].rows];
    const times = rows.map((row) => Date.parse(row.querySelector("time").dateTime) / 1000);
    return { times, series: heads.map((one) => ({ ...one, values: rows.map((row) => Number(row.cells[one.place].dataset.v ?? 0)) })) };
  }
  function draw(box) {
    const table = document.getElementById(box.dataset.plot);
    const old = drawn.get(box);
    if (!table) {
      old?.chart.destroy();
      box.replaceChildren();
      drawn.delete(box);
      return;
    }
    const { times, series } = read(table, box.dataset.unit);
    const signature = JSON.stringify([times, series, box.clientWidth, color("text")]);
    if (old?.signature === signature) return;
    old?.chart.destroy();
    box.replaceChildren();
    if (!times.length || !series.length) return;
    const shown = box.dataset.unit === "usd" ? money : count;
    const grid = { stroke: color("line"), width: 1 };
    const axis = { stroke: color("soft"), grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const legend = document.createElement("p");
    legend.className = "legend";
    const labels = series.map((one, place) => {
      const name = document.createElement("span");
      name.style.setProperty("--swatch", `var(--plot-${place % 6 + 1})`);
      const value = document.createElement("b");
      name.append(one.series, " ", value);
      legend.append(name);
      return value;
    });
    const step = times.length > 1 ? times[1] - times[0] : 3600;
    const half = times.length > 1 ? (times[1] - times[0]) / 2 : 1800;
    const bars = uPlot.paths.bars({ size: [0.7, 40] });
    const chart = new uPlot({
      width: box.clientWidth,
      height: Math.min(220, Math.max(150, box.clientWidth / 3)),
      legend: { show: false },
      cursor: { y: false, points: { size: 7 } },
      tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: { x: { range: (plot, low, high) => [low - half, high + half] }, y: { range: (plot, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
      series: [{}, ...series.map((one, place) => {
        const stroke = color(`plot-${place % 6 + 1}`);
        return one.bars === undefined
          ? { stroke, width: 2, points: { show: times.length < 4 } }
          : { stroke, fill: stroke, width: 0, paths: bars, points: { show: false } };
      })],
      axes: [{
        ...axis,
        space: 60,
        incrs: [1, 2, 3, 6, 12, 24, 48, 168, 336, 672].map((hours) => hours * 3600).filter((incr) => incr >= Math.min(step, 86400)),
        values: (plot, ticks) => ticks.map((at) => (at % 86400 ? HOUR : DAY).format(at * 1000)),
      }, { ...axis, size: 56, values: (plot, ticks) => ticks.map(shown) }],
      hooks: { setCursor: [(plot) => {
        const at = plot.cursor.idx;
        labels.forEach((value, place) => { value.textContent = at == null ? "" : shown(series[place].values[at]); });
      }] },
    }, [times, ...series.map((one) => one.values)], box);
    box.append(legend);
    drawn.set(box, { chart, signature });
  }
  const all = () => document.querySelectorAll("[data-plot]").forEach(draw);
  let waiting = 0;
  const soon = () => { cancelAnimationFrame(waiting); waiting = requestAnimationFrame(all); };
  document.addEventListener("page:changed", soon);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  addEventListener("resize", soon);
  all();
})();
