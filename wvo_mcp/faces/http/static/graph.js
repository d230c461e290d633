// The dependency graph: read from the same data as its list, laid out by a worker, drawn as SVG. Mouse: wheel and drag; keys: + - 0
// and arrows, j and k from node to node.
"use strict";
(() => {
  const box = document.getElementById("graph");
  if (!box || !window.Worker) return;
  const SVG = "http://www.w3.org/2000/svg";
  const NODE = { width: 168, height: 40 };
  const LEAST_PAUSE = 3000;
  const note = document.getElementById("graph-note");
  const worker = new Worker(box.dataset.layout);
  box.append(document.createElement("span")); // an empty box takes no room, where there is no script
  let shown = null, view = null, whole = null, busy = false, again = false, last = 0, timer = 0;

  const unfolded = () => (new URLSearchParams(location.search).get("open") ?? "").split(",").filter(Boolean);
  function address(names) {
    const query = new URLSearchParams(location.search);
    query.delete("did");
    if (names.length) query.set("open", names.join(",")); else query.delete("open");
    const text = query.toString().replaceAll("%2C", ",");
    return location.pathname + (text ? `?${text}` : "");
  }

  // --- reading -----------------------------------------------------------------------------------------------------------
  async function read() {
    if (busy) { again = true; return; }
    busy = true;
    again = false;
    last = Date.now();
    try {
      const names = unfolded();
      const answer = await fetch(`${box.dataset.source}?open=${encodeURIComponent(names.join(","))}`);
      const data = await answer.json();
      if (data.error) throw new Error(data.error.message);
      if (data.pending) {
        note.textContent = "The plan is large: it is being read.";
        later(2000);
      } else {
        lay(data.graph);
        return;
      }
    } catch (problem) {
      note.textContent = `The graph could not be read: ${problem.message}`;
    }
    busy = false;
  }
  function later(wait) {
    clearTimeout(timer);
    timer = setTimeout(read, wait);
  }
  function lay(graph) {
    const keys = new Set(graph.nodes.map((one) => one.key));
    for (const one of graph.nodes) one.waits_for = (one.waits_for ?? []).filter((key) => keys.has(key) && key !== one.key);
    const nodes = graph.nodes.map((one) => ({ key: one.key, waits: one.waits_for, cyclic: graph.folded, ...NODE }));
    const signature = JSON.stringify(nodes);
    if (shown?.signature === signature) {
      shown.graph = graph;
      draw();
      done();
      return;
    }
    worker.onmessage = (event) => {
      shown = { graph, signature, layout: event.data };
      view = null;
      draw();
      done();
    };
    worker.postMessage({ library: box.dataset.library, nodes, width: box.clientWidth });
  }
  function done() {
    busy = false;
    if (again) later(LEAST_PAUSE);
  }
  worker.onerror = () => { note.textContent = "The graph could not be laid out."; busy = false; };

  // --- drawing -----------------------------------------------------------------------------------------------------------
  function make(name, attributes, parent, text) {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent?.append(made);
    return made;
  }
  const cut = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

  function fit(text) {
    for (let length = text.textContent.length; length > 4 && text.getComputedTextLength() > NODE.width - 16; length--) {
      text.textContent = cut(text.textContent, length - 1);
    }
  }

  function draw() {
    const { graph, layout } = shown;
    const focused = box.querySelector("svg")?.contains(document.activeElement) ? document.activeElement.dataset?.key : undefined;
    const svg = make("svg", { role: "group", tabindex: "0", "aria-label": "Dependency graph: arrows move it, plus and minus zoom, j and k go from node to node" });
    make("path", { d: "M0 0 L8 4 L0 8 z", class: "tip" }, make("marker", { id: "tip", viewBox: "0 0 8 8", refX: 8, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, make("defs", {}, svg)));
    const byKey = new Map(graph.nodes.map((one) => [one.key, one]));
    const onPath = (edge) => {
      const from = byKey.get(edge.from), to = byKey.get(edge.to);
      if (!from?.critical || !to?.critical) return false;
      return from.kind === "epic" || to.kind === "epic" || to.critical === from.critical + 1;
    };
    for (const edge of layout.edges) {
      const d = edge.points.map((at, place) => `${place ? "L" : "M"}${at.x.toFixed(1)} ${at.y.toFixed(1)}`).join(" ");
      make("path", { d, class: onPath(edge) ? "edge critical" : "edge", "marker-end": "url(#tip)" }, svg);
    }
    for (const at of layout.nodes) {
      const one = byKey.get(at.key);
      if (one) node(svg, one, at);
    }
    whole = { x: -12, y: -12, width: layout.width + 24, height: layout.height + 24 };
    box.replaceChildren(svg);
    svg.querySelectorAll("text").forEach(fit); // measured where it is shown
    box.style.height = `${Math.max(120, Math.min(innerHeight * 0.7, whole.height * Math.min(1, box.clientWidth / whole.width)))}px`;
    view ??= start();
    apply(svg);
    if (focused) box.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    const read = new Date(graph.at).toLocaleTimeString();
    note.textContent = graph.nodes.length ? `${graph.open} open tasks${graph.folded ? `, by epic: choose one to see its tasks` : ""}; read ${read}.` : "No open tasks.";
  }
  function node(svg, one, at) {
    const isEpic = one.kind === "epic", rest = one.kind === "rest";
    const names = unfolded();
    const href = rest ? `${box.dataset.root}/plan/graph` : isEpic ? address([...names, one.id]) : `${box.dataset.root}/tasks/${encodeURIComponent(one.id)}`;
    const counted = Object.values(one.counts ?? {}).reduce((sum, n) => sum + n, 0);
    const name = rest ? `${one.left_out} more epics` : one.id ?? "Without an epic";
    const link = make("a", { href, class: `node is-${one.state}${one.critical ? " critical" : ""}${isEpic ? " epic" : ""}`, transform: `translate(${at.x.toFixed(1)} ${at.y.toFixed(1)})`, tabindex: "-1", "data-key": one.key, "data-row": "" }, svg);
    make("title", {}, link, `${name}${one.title ? `: ${one.title}` : ""} (${one.state.replaceAll("_", " ")}${one.critical ? ", critical" : ""}${counted ? `, ${counted} open` : ""})`);
    make("rect", { width: NODE.width, height: NODE.height, rx: 6 }, link);
    make("text", { x: 9, y: 17, class: "name" }, link, cut(name, 24));
    make("text", { x: 9, y: 32 }, link, cut(counted ? `${counted} open${one.left_out && !rest ? ", not all shown" : ""}` : one.title ?? "", 32));
    if (isEpic && one.id) {
      link.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        history.pushState(null, "", address([...unfolded(), one.id]));
        fold();
        read();
      });
    }
  }
  function fold() {
    const names = unfolded();
    const list = document.getElementById("unfolded");
    list.replaceChildren(...names.map((name) => {
      const link = document.createElement("a");
      link.href = address(names.filter((other) => other !== name));
      link.textContent = `Fold ${name}`;
      return link;
    }));
  }

  // --- zoom and pan ------------------------------------------------------------------------------------------------------
  function start() {
    const width = Math.max(box.clientWidth, 200), height = box.clientHeight;
    const scale = Math.min(1, Math.max(0.5, Math.min(width / whole.width, height / whole.height)));
    return { x: whole.x, y: whole.y, width: width / scale, height: height / scale };
  }
  function apply(svg = box.querySelector("svg")) {
    svg?.setAttribute("viewBox", [view.x, view.y, view.width, view.height].map((n) => n.toFixed(1)).join(" "));
  }
  function zoom(factor, at) {
    const width = Math.min(Math.max(view.width * factor, 150), Math.max(whole.width, whole.height) * 4 + 400);
    const by = width / view.width;
    const x = at?.x ?? 0.5, y = at?.y ?? 0.5;
    view.x += view.width * x * (1 - by);
    view.y += view.height * y * (1 - by);
    view.width = width;
    view.height *= by;
    apply();
  }
  function pan(dx, dy) {
    view.x += dx * view.width;
    view.y += dy * view.height;
    apply();
  }
  const inside = (event) => {
    const rect = box.getBoundingClientRect();
    return { x: (event.clientX - rect.left) / rect.width, y: (event.clientY - rect.top) / rect.height };
  };
  box.addEventListener("wheel", (event) => {
    // Without a key the page scrolls on, as everywhere.
    if (!view || !(event.ctrlKey || event.metaKey || box.contains(document.activeElement))) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15, inside(event));
  }, { passive: false });
  let from = null;
  box.addEventListener("pointerdown", (event) => { if (view && event.button === 0) from = { x: event.clientX, y: event.clientY, moved: false, id: event.pointerId }; });
  box.addEventListener("pointermove", (event) => {
    if (!from) return;
    const dx = event.clientX - from.x, dy = event.clientY - from.y;
    if (!from.moved && Math.hypot(dx, dy) < 4) return;
    if (!from.moved) box.setPointerCapture(from.id);
    from = { ...from, x: event.clientX, y: event.clientY, moved: true };
    pan(-dx / box.clientWidth, -dy / box.clientHeight);
  });
  const release = () => { if (from?.moved) box.addEventListener("click", (event) => { event.preventDefault(); event.stopPropagation(); }, { capture: true, once: true }); from = null; };
  box.addEventListener("pointerup", release);
  box.addEventListener("pointercancel", () => { from = null; });
  box.addEventListener("keydown", (event) => {
    if (!view || event.ctrlKey || event.altKey || event.metaKey) return;
    const on = document.activeElement;
    const actions = {
      "+": () => zoom(1 / 1.3), "=": () => zoom(1 / 1.3), "-": () => zoom(1.3), 0: () => { view = start(); apply(); },
      ArrowLeft: () => pan(-0.15, 0), ArrowRight: () => pan(0.15, 0), ArrowUp: () => pan(0, -0.15), ArrowDown: () => pan(0, 0.15),
      Enter: on?.matches("a[data-key]") ? () => on.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true })) : undefined,
    };
    if (!actions[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    actions[event.key]();
  });
  box.addEventListener("focusin", (event) => {
    const at = shown?.layout.nodes.find((one) => one.key === event.target.dataset?.key);
    if (!at) return;
    const out = at.x < view.x || at.y < view.y || at.x + NODE.width > view.x + view.width || at.y + NODE.height > view.y + view.height;
    if (!out) return;
    view.x = at.x - view.width / 2;
    view.y = at.y - view.height / 2;
    apply();
  });
  for (const [id, act] of [["graph-in", () => zoom(1 / 1.3)], ["graph-out", () => zoom(1.3)], ["graph-all", () => { view = start(); apply(); }]]) {
    document.getElementById(id)?.addEventListener("click", () => { if (view) act(); });
  }

  new ResizeObserver(() => { if (shown) { view = start(); apply(); } }).observe(box);
  document.addEventListener("page:changed", () => later(Math.max(0, LEAST_PAUSE - (Date.now() - last))));
  addEventListener("popstate", () => { fold(); read(); });
  document.getElementById("graph-tools").hidden = false;
  fold();
  read();
})();
