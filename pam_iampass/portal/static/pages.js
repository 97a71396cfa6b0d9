// Times in the reader's zone, seconds that count down, and what a page says when it cannot be kept up to date.
"use strict";

const SHORT = new Intl.DateTimeFormat([], { hour: "2-digit", minute: "2-digit" });
const LONG = new Intl.DateTimeFormat([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const OLD = new Intl.DateTimeFormat([], { dateStyle: "medium" });
const ON_PAPER = new Intl.DateTimeFormat([], { dateStyle: "long", timeStyle: "short" });

function showTimes(within) {
  const now = new Date();
  for (const element of within.querySelectorAll("time")) {
    const time = new Date(element.dateTime);
    const isToday = time.toDateString() === now.toDateString();
    const isNear = Math.abs(now - time) < 300 * 86400e3;
    const isOfSheet = element.closest(".sheet");
    element.textContent = (isOfSheet ? ON_PAPER : isToday ? SHORT : isNear ? LONG : OLD).format(time);
    element.title = time.toLocaleString([], { dateStyle: "full", timeStyle: "long" });
  }
  for (const element of within.querySelectorAll("[data-seconds]")) {
    element.ends = performance.now() + 1000 * element.dataset.seconds;
  }
}

setInterval(() => {
  for (const element of document.querySelectorAll("[data-seconds]")) {
    const left = Math.max(0, Math.round((element.ends - performance.now()) / 1000));
    if (left < 120) element.textContent = `${left} s left`;
  }
}, 1000);

showTimes(document);
document.addEventListener("htmx:load", (event) => showTimes(event.detail.elt));

// What asks now is asked for only while somebody can see it: a browser has few connections to one server.
const isOfRings = (event) => event.detail.pathInfo.requestPath.startsWith("/rings");
const rings = () => document.getElementById("rings");
document.addEventListener("htmx:beforeRequest", (event) => { if (document.hidden && isOfRings(event)) event.preventDefault(); });
document.addEventListener("visibilitychange", () => { if (document.hidden && rings()) htmx.trigger(rings(), "htmx:abort"); });

// What takes the place of a part has the same acts unfolded, and htmx gives the focus to what has the same id.
document.addEventListener("htmx:oobBeforeSwap", ({ detail: { target, fragment } }) => {
  for (const fold of target.querySelectorAll("details[open]")) {
    const next = fragment.querySelector(`[id="${CSS.escape(fold.id)}"]`);
    if (next) next.open = true;
  }
});

const stale = document.getElementById("stale");
function say(event, problem) {
  if (!isOfRings(event)) return;
  if (stale.textContent !== problem) stale.textContent = problem;
  stale.hidden = !problem;
}
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) say(event, ""); });
document.addEventListener("htmx:sendError", (event) => say(event, "The portal does not answer. What is shown may be outdated."));
document.addEventListener("htmx:responseError", (event) => say(event, "The gateway does not answer. What is shown may be outdated."));
