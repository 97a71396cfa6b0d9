// Times in the reader's zone, seconds that count down, and what a page says when it cannot be kept up to date.
"use strict";

const formats = (time, old) => ({
  short: new Intl.DateTimeFormat([], time),
  long: new Intl.DateTimeFormat([], { day: "numeric", month: "short", ...time }),
  old: new Intl.DateTimeFormat([], { dateStyle: "medium", ...old }),
});
const MINUTES = formats({ hour: "2-digit", minute: "2-digit" });
const SECONDS = formats({ hour: "2-digit", minute: "2-digit", second: "2-digit" }, { timeStyle: "medium" });
const ON_PAPER = new Intl.DateTimeFormat([], { dateStyle: "long", timeStyle: "short" });

function showTimes(within) {
  const now = new Date();
  for (const element of within.querySelectorAll("time")) {
    const time = new Date(element.dateTime);
    const isToday = time.toDateString() === now.toDateString();
    const isNear = Math.abs(now - time) < 300 * 86400e3;
    const isOfSheet = element.closest(".sheet") && !element.closest("h1");
    const { short, long, old } = "exact" in element.dataset ? SECONDS : MINUTES;
    const isShort = isToday && !element.closest("[data-dated]");
    element.textContent = (isOfSheet ? ON_PAPER : isShort ? short : isNear ? long : old).format(time);
    element.title = time.toLocaleString([], { dateStyle: "full", timeStyle: "long" });
  }
  for (const element of within.querySelectorAll("[data-zone]")) element.textContent = MINUTES.short.resolvedOptions().timeZone;
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

// A request that is over keeps its place for some seconds; what asks below it moves up after that.
function showWhatIsOver(within) {
  for (const card of within.querySelectorAll("[data-over]")) {
    setTimeout(() => {
      const before = places(), title = titleOfFocus();
      const empty = card.closest("section")?.querySelector(".empty");
      card.remove();
      if (empty) empty.hidden = document.querySelector(".request") !== null;
      noteMoves(before);
      keepFocus(title);
    }, 1000 * card.dataset.over);
  }
}

// No press counts in the second after something has moved: it was meant for what was there before.
let moved = -Infinity;
const places = () => new Map([...document.querySelectorAll(".request")].map(
  (card) => [card.dataset.request, { top: card.offsetTop, height: card.getBoundingClientRect().height }]));
function noteMoves(before) {
  for (const card of document.querySelectorAll("[data-over]")) {
    card.style.minHeight = `${before.get(card.dataset.request)?.height ?? 0}px`; // it has lost its form
  }
  const now = places();
  if ([...before].some(([id, { top }]) => now.has(id) && now.get(id).top !== top)) moved = performance.now();
}
document.addEventListener("submit", (event) => {
  if (!event.target.closest(".request") || performance.now() - moved > 1000) return;
  event.preventDefault();
  event.stopImmediatePropagation();
  event.target.querySelector("[role=status]").textContent = "This request has just moved here. Read it, then press again.";
}, true);

// If the element with the focus is gone, the title of its part of the page gets the focus.
const titleOfFocus = () => document.activeElement?.closest("[aria-labelledby]")?.getAttribute("aria-labelledby");
function keepFocus(id) {
  if (!id || document.activeElement !== document.body) return;
  const title = document.getElementById(id);
  const next = title?.offsetParent ? title : document.querySelector("main h1"); // an empty part is hidden
  next.tabIndex = -1;
  next.focus({ preventScroll: true });
}

// A screen reader says which logins have ended.
const announcement = document.getElementById("announcement");
const openLogins = () => new Map([...document.querySelectorAll("[data-login]")].map(({ dataset: { login, of } }) => [login, of]));
function sayWhatEnded(before) {
  const now = openLogins(), ended = [...before].filter(([id]) => !now.has(id)).map(([, of]) => `${of}: ended.`);
  if (!ended.length) return;
  if (!rings()) announcement.textContent = ""; // elsewhere, the answer has its text
  announcement.append(ended.length > 3 ? `${ended.length} logins have ended.` : ended.join(" "));
}

let before = null; // as the page is before an answer changes it
document.addEventListener("htmx:beforeSwap", () => { before = { places: places(), title: titleOfFocus(), logins: openLogins() }; });
document.addEventListener("htmx:afterSwap", () => {
  if (!before) return;
  noteMoves(before.places);
  keepFocus(before.title);
  sayWhatEnded(before.logins);
  before = null;
});

// The number of requests in the title, where the page shows them, and whether there are any in the icon.
const ownTitle = document.title.replace(/^\(\d+\) /, "");
function countRequests() {
  if (!document.getElementById("rings")) return;
  const number = document.querySelectorAll(".request:not(.over)").length;
  const icon = document.querySelector("link[rel=icon]");
  document.title = number ? `(${number}) ${ownTitle}` : ownTitle;
  icon.href = number ? icon.dataset.asks : icon.dataset.quiet;
}

// A link to something that is folded up unfolds it.
document.addEventListener("click", (event) => {
  const fold = document.getElementById(event.target.closest("a[href^='#']")?.hash.slice(1));
  if (!fold?.matches("details")) return;
  event.preventDefault();
  fold.open = true;
  fold.querySelector("summary").focus();
});

document.documentElement.toggleAttribute("data-copies", Boolean(navigator.clipboard));
document.addEventListener("click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).innerText);
  const before = button.innerHTML;
  button.textContent = "Copied";
  setTimeout(() => { button.innerHTML = before; }, 2000);
});

function begin(within) {
  showTimes(within);
  showWhatIsOver(within);
  countRequests();
}
begin(document);
document.addEventListener("htmx:load", ({ detail: { elt } }) => begin(elt));

// What happens now is asked for only while somebody can see it: a browser has few connections to one server.
const renews = ({ detail: { pathInfo: { requestPath: path } } }) => (
  path.startsWith("/rings") || path === document.getElementById("renews")?.getAttribute("hx-get"));
const rings = () => document.getElementById("rings");
let asked = -Infinity; // when a tab in the background has asked last
document.addEventListener("htmx:beforeRequest", (event) => {
  if (!document.hidden || !renews(event)) return;
  if (!event.detail.pathInfo.requestPath.startsWith("/rings") || performance.now() - asked < 30e3) event.preventDefault();
  else asked = performance.now();
});
document.addEventListener("htmx:configRequest", ({ detail }) => {
  if (document.hidden && detail.path.startsWith("/rings")) detail.parameters.brief = 1;
});
document.addEventListener("visibilitychange", () => { if (document.hidden && rings()) htmx.trigger(rings(), "htmx:abort"); });

// A part stays as it is while somebody does something in it: an act that is under way, a text that is being typed, or
// records that are being read, further down or by keyboard.
function isInUse(part) {
  const isRead = part.querySelector(".records") && part.getBoundingClientRect().top < 0;
  return isRead || part.querySelector("details[open] [role=status]:not(:empty), input:focus, select:focus, .records :focus");
}

// What takes the place of a part has the same acts unfolded, and htmx gives the focus to what has the same id.
document.addEventListener("htmx:oobBeforeSwap", (event) => {
  const { target, fragment } = event.detail;
  if (document.getElementById("renews") && isInUse(target)) event.detail.shouldSwap = false;
  for (const fold of target.querySelectorAll("details[open]")) {
    const next = fragment.querySelector(`[id="${CSS.escape(fold.id)}"]`);
    if (next) next.open = true;
  }
});

// Where IAMPASS was not asked in time, the part that waits for it says so.
document.addEventListener("htmx:afterRequest", ({ detail: { successful, elt } }) => {
  if (elt.id === "phone" && !successful) elt.textContent = "not known now";
});

const stale = document.getElementById("stale");
function say(event, problem) {
  if (!renews(event)) return;
  if (stale.textContent !== problem) stale.textContent = problem;
  stale.hidden = !problem;
}
document.addEventListener("htmx:afterRequest", (event) => { if (event.detail.successful) say(event, ""); });
document.addEventListener("htmx:sendError", (event) => say(event, "The portal does not answer. What is shown may be outdated."));
document.addEventListener("htmx:responseError", (event) => say(event, "The gateway does not answer. What is shown may be outdated."));
