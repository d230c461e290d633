// What the pages do beside htmx: relative times, confirmations, keys, and whether the page is live.
"use strict";
(() => {
  const each = (selector, work, within = document) => within.querySelectorAll(selector).forEach(work);

  // --- times ---------------------------------------------------------------------------------------------------------
  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  function span(seconds) {
    const size = Math.abs(seconds);
    for (const [unit, length] of UNITS) {
      if (size >= length) return `${Math.floor(size / length)} ${unit}`;
    }
    return "0 s";
  }
  function showTimes(within = document) {
    const now = Date.now();
    each("time[datetime]", (one) => {
      const at = new Date(one.dateTime);
      if (Number.isNaN(at.getTime())) return;
      const seconds = (at.getTime() - now) / 1000;
      const { lasts, asIs } = one.dataset;
      const text = seconds > 0 ? `in ${span(seconds)}` : lasts === undefined ? `${span(seconds)} ago` : `for ${span(seconds)}`;
      if (asIs === undefined && one.textContent !== text) one.textContent = text;
      const title = at.toLocaleString();
      if (one.title !== title) one.title = title;
    }, within);
  }

  // --- what cannot be undone is asked once more ------------------------------------------------------------------------
  document.addEventListener("submit", (event) => {
    const form = event.target;
    const text = form.dataset.confirm;
    if (!text || form.elements.confirmed?.value === "yes") return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const ask = document.getElementById("ask");
    document.getElementById("ask-text").textContent = text;
    const submitter = event.submitter;
    ask.returnValue = "no";
    // What is decided is decided about what was shown when it was asked.
    form.setAttribute("hx-morph-skip", "");
    ask.addEventListener("close", () => {
      if (ask.returnValue !== "yes") release(form);
      if (ask.returnValue !== "yes" || !form.isConnected) return;
      form.elements.confirmed.value = "yes";
      form.requestSubmit(submitter);
    }, { once: true });
    ask.showModal();
  }, true);

  // A form in which somebody writes is not replaced under their hands, until it is sent; nor does it then know of anything newer.
  let latest = "";
  function upToDate(form) {
    const one = form.elements.seen;
    if (one && latest) one.value = latest;
  }
  function release(form) {
    if ([...form.elements].some((one) => one.matches("input:not([type=hidden]), textarea") && one.value !== one.defaultValue)) return;
    form.removeAttribute("hx-morph-skip");
    upToDate(form);
  }
  const forms = "form.control", fields = "input:not([type=hidden]), textarea, select";
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(fields)) event.target.closest(forms)?.setAttribute("hx-morph-skip", "");
  });
  document.addEventListener("focusout", (event) => {
    const form = event.target.closest?.(forms);
    if (form && !document.getElementById("ask").open) release(form);
  });
  document.addEventListener("htmx:finally:request", (event) => {
    const ctx = event.detail.ctx, form = ctx?.sourceElement?.closest?.(forms);
    if (!form) return;
    if (form.elements.confirmed) form.elements.confirmed.value = "";
    upToDate(form); // who was refused has read why, and looks at what is there now
    if (ctx.response?.status >= 400) return;
    form.reset();
    form.removeAttribute("hx-morph-skip");
  });

  // --- live or not -----------------------------------------------------------------------------------------------------
  const state = document.getElementById("live-state");
  function live(on, text) {
    if (state.textContent !== text) state.textContent = text; // a screen reader says what is written anew, also the same
    state.dataset.on = on ? "yes" : "no";
  }
  function seen(number) {
    if (!number) return;
    latest = number;
    each('form:not([hx-morph-skip]) > input[name="seen"]', (one) => { one.value = number; });
  }
  document.addEventListener("htmx:sse:after:connection", () => live(true, "live"));
  document.addEventListener("htmx:sse:error", () => live(false, "reconnecting"));
  document.addEventListener("htmx:sse:close", () => live(false, "not live"));
  document.addEventListener("htmx:sse:after:message", (event) => {
    seen(event.detail.message.id);
    showTimes();
    document.dispatchEvent(new CustomEvent("page:changed"));
  });
  document.addEventListener("problem", (event) => {
    let text = "the store cannot be read";
    try { text = JSON.parse(event.detail.data).message; } catch { /* it says so in general */ }
    live(false, text);
  });
  document.addEventListener("seen", () => live(true, "live"));
  document.addEventListener("htmx:after:swap", () => showTimes());

  // --- a slider over a list of links -----------------------------------------------------------------------------------
  const slid = "slid";
  function slide(box) {
    const links = [...document.querySelectorAll(`#${box.dataset.slider} a`)].reverse();
    const input = box.querySelector("input"), output = box.querySelector("output");
    box.hidden = links.length < 2;
    if (box.hidden) return;
    input.max = links.length - 1;
    const say = () => { output.textContent = links[input.value]?.closest("li").textContent.trim().replace(/\s+/g, " ") ?? ""; };
    if (document.activeElement !== input) input.value = Math.max(0, links.findIndex((one) => one.hasAttribute("aria-current")));
    say();
    input.oninput = say;
    input.onchange = () => { sessionStorage.setItem(slid, box.dataset.slider); location.href = links[input.value].href; };
  }
  const sliders = () => each("[data-slider]", slide);

  // --- a log that grows: its end stays in view, unless somebody has scrolled up -----------------------------------------
  const atEnd = (one) => one.scrollHeight - one.scrollTop - one.clientHeight < 40;
  const follow = () => each("[data-follow]", (one) => {
    if (one.dataset.left !== "yes") one.scrollTop = one.scrollHeight;
  });
  document.addEventListener("scroll", (event) => {
    const one = event.target;
    if (one.dataset?.follow !== undefined) one.dataset.left = atEnd(one) ? "no" : "yes";
  }, true);
  document.addEventListener("page:changed", () => { sliders(); follow(); });

  // --- keys ------------------------------------------------------------------------------------------------------------
  const rows = () => [...document.querySelectorAll("main [data-row]")].filter((one) => one.offsetParent !== null);
  function move(step) {
    const all = rows();
    if (!all.length) return;
    const at = all.indexOf(document.activeElement?.closest("[data-row]"));
    const next = all[Math.max(0, Math.min(all.length - 1, at < 0 ? (step > 0 ? 0 : all.length - 1) : at + step))];
    next.tabIndex = -1;
    next.focus();
  }
  function press(key) {
    const row = document.activeElement?.closest("[data-row]");
    row?.querySelector(`button[data-key="${key}"]`)?.click();
  }
  // What a row is about, before what only filters or folds.
  const target = (row) => row.querySelector("a.id") ?? row.querySelector("a:not(.kind)") ?? row.querySelector("summary");
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input, textarea, select, [contenteditable]")) return;
    const on = document.activeElement;
    const actions = {
      j: () => move(1),
      k: () => move(-1),
      a: () => press("a"),
      d: () => press("d"),
      "/": () => document.querySelector("[data-search]")?.focus(),
      "?": () => document.getElementById("keys").showModal(),
      Enter: on?.matches("[data-row]") ? () => target(on)?.click() : undefined,
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });

  showTimes();
  sliders();
  follow();
  // The next key goes on from here. Only as a page begins: the one that is being left may change once more.
  const sliding = sessionStorage.getItem(slid);
  sessionStorage.removeItem(slid);
  if (sliding) document.querySelector(`[data-slider="${sliding}"] input`)?.focus();
  setInterval(showTimes, 1000);
})();
