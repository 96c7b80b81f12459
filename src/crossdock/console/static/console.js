// The console's own script: live refresh, ages that grow, and a few keys. Every page works without it.
"use strict";
(() => {
  const QUIET_MILLISECONDS = 2000;
  let lastRefresh = 0;
  let pending = new Set();
  let timer = 0;

  // ------------------------------------------------------------ ages
  function ageText(at) {
    let seconds = Math.round((Date.now() - at) / 1000);
    const future = seconds < 0;
    seconds = Math.abs(seconds);
    if (seconds < 1) return "now";
    let text = seconds + " s";
    for (const [size, name, smaller, smallerName] of [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]]) {
      if (seconds >= size) {
        const whole = Math.floor(seconds / size);
        const part = Math.floor((seconds % size) / smaller);
        text = whole + " " + name + (part && whole < 10 ? " " + part + " " + smallerName : "");
        break;
      }
    }
    return future ? "in " + text : text + " ago";
  }

  function refreshAges() {
    for (const element of document.querySelectorAll("time[data-age]")) {
      const text = ageText(Date.parse(element.dateTime));
      if (element.textContent !== text) element.textContent = text;
    }
  }

  // ------------------------------------------------------------ live
  // A part that somebody is reading or filling in is not replaced under their hands; it offers to be refreshed.
  function isBusy(part) {
    const focused = document.activeElement;
    const typing = focused && part.contains(focused) && focused.matches("input, select, textarea, summary");
    return typing || part.querySelector("details[open]") !== null || part.querySelector("input:checked") !== null;
  }

  function offer(part) {
    if (!part.dataset.liveNote || part.querySelector(":scope > .offer")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "offer";
    button.textContent = part.dataset.liveNote + ". Refresh";
    button.addEventListener("click", () => location.reload());
    part.prepend(button);
  }

  function refreshParts() {
    timer = 0;
    if (document.hidden) return;
    lastRefresh = Date.now();
    const topics = pending;
    pending = new Set();
    for (const part of document.querySelectorAll("[data-live]")) {
      if (!topics.has(part.dataset.live)) continue;
      if (!part.hasAttribute("hx-get") || isBusy(part)) offer(part);
      else window.htmx.trigger(part, "live-" + part.dataset.live);
    }
  }

  function changed(topic) {
    pending.add(topic);
    if (!timer) timer = setTimeout(refreshParts, Math.max(0, lastRefresh + QUIET_MILLISECONDS - Date.now()));
  }

  function showState(word, state) {
    const element = document.querySelector("[data-live-state]");
    if (!element || element.dataset.liveState === state) return;
    element.dataset.liveState = state;
    element.querySelector(".live-word").textContent = word;
  }

  function watch() {
    if (!document.querySelector("[data-live-state]")) return;
    const source = new EventSource("/console/live");
    const seen = {};
    for (const topic of ["overview", "orders", "stock"]) {
      source.addEventListener(topic, (event) => {
        // The first event tells where things stand; the page has just been rendered from it.
        if (topic in seen && seen[topic] !== event.data) changed(topic);
        seen[topic] = event.data;
      });
    }
    source.addEventListener("open", () => showState("Live", "on"));
    source.addEventListener("error", () => showState("Reconnecting", "off"));
    window.addEventListener("pagehide", () => source.close());
  }

  // ------------------------------------------------------------ keys and choices
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches && event.target.matches("input, select, textarea");
    if (event.key === "/" && !typing) {
      const field = document.querySelector("[data-find-here]") || document.querySelector("[data-find]");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    }
  });

  document.addEventListener("change", (event) => {
    if (!event.target.matches("[data-choose-all]")) return;
    const form = event.target.closest("form");
    for (const box of form.querySelectorAll('input[type="checkbox"][name]')) box.checked = event.target.checked;
  });

  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && pending.size && !timer) refreshParts();
  });

  setInterval(refreshAges, 5000);
  watch();
})();
