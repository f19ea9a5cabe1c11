// Puts what the server rendered in place, and keeps ages young. Knows nothing of the content.
(() => {
  "use strict";
  const live = document.getElementById("live");
  const link = document.getElementById("link");
  const linkText = document.getElementById("link-text");
  const QUIET_MS = 10000;
  let skew = Number(live.dataset.now) - Date.now();
  let heard = 0;
  let source = null;
  let retry = 0;

  const age = (ms) => {
    const s = Math.max(0, Math.floor(ms / 1000));
    if (s < 2) return "just now";
    if (s < 60) return s + "\u00a0s ago";
    if (s < 3600) return Math.floor(s / 60) + "\u00a0min ago";
    if (s < 86400) return Math.floor(s / 3600) + "\u00a0h ago";
    return Math.floor(s / 86400) + "\u00a0d ago";
  };

  const setText = (node, text) => {
    if (node.textContent !== text) node.textContent = text;
  };

  const tick = () => {
    const now = Date.now() + skew;
    for (const time of document.querySelectorAll("time[data-ms]")) {
      setText(time, age(now - Number(time.dataset.ms)));
    }
    const quiet = Date.now() - heard;
    const state = heard === 0 ? "off" : quiet < QUIET_MS ? "on" : "lost";
    link.dataset.state = state;
    document.body.classList.toggle("lost", state === "lost");
    setText(linkText, { off: "Connecting", on: "Live", lost: "Connection lost, trying again" }[state]);
  };

  // Replaces an element and leaves unfolded what a reader unfolded, and the focus where it was.
  const replace = (id, put) => {
    const open = Array.from(document.querySelectorAll("details[open]"), (details) => details.id);
    const focused = document.activeElement;
    const summary = focused && focused.closest("details") ? focused.closest("details").id : "";
    const target = document.getElementById(id);
    if (!target) return;
    const scrolled = Array.from(target.querySelectorAll(".scroll"), (box) => box.scrollLeft);
    put(target);
    for (const name of open) {
      const details = document.getElementById(name);
      if (details) details.open = true;
    }
    const renewed = document.getElementById(id);
    if (!renewed) return;
    renewed.querySelectorAll(".scroll").forEach((box, at) => { box.scrollLeft = scrolled[at] || 0; });
    if (summary && !document.contains(focused)) {
      const again = document.querySelector("#" + CSS.escape(summary) + " > summary");
      if (again) again.focus({ preventScroll: true });
    }
  };

  const receive = (message) => {
    const update = JSON.parse(message.data);
    skew = update.now - Date.now();
    heard = Date.now();
    if (update.main) replace("live", (main) => { main.innerHTML = update.main; });
    for (const part of update.parts || []) {
      replace(part.id, (element) => { element.outerHTML = part.html; });
    }
    tick();
  };

  const connect = () => {
    clearTimeout(retry);
    if (source) source.close();
    source = new EventSource("/stats/events");
    source.onmessage = receive;
    // The browser tries again by itself unless the server refused; then we do, more slowly.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, 5000);
    };
  };

  // A page that nobody looks at does not take one of the server's places.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(retry);
      if (source) source.close();
      source = null;
    } else if (!source) {
      connect();
    }
  });

  connect();
  tick();
  setInterval(tick, 1000);
})();
