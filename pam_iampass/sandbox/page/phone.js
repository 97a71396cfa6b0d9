// The phone page: connection, requests and lists.

import { Lists } from "./lists.js";
import { Requests } from "./requests.js";
import { Stream } from "./stream.js";
import { announce, announceAtOnce, seconds, text } from "./words.js";

const STORED = "iampass-phone-key";
const TITLE = "Phone · IAMPASS sandbox";
const at = (id) => document.getElementById(id);

let offset = 0; // the sandbox's clock, less ours
const now = () => performance.now() / 1000 + offset;

const requests = new Requests((number, verb) => stream.post(`/phone/requests/${number}/${verb}`), now);
const lists = new Lists(register, lose, move, now);
let lostUntil = 0;

function showConnection(state, words) {
  at("connection").dataset.state = state;
  text(at("connection-text"), words);
}

function showEmpty(title, words) {
  text(at("empty-title"), title);
  text(at("empty-text"), words);
}

function showCount() {
  const count = requests.waiting;
  document.title = count ? `(${count}) ${TITLE}` : TITLE;
  at("empty").hidden = at("requests").children.length > 0;
}
requests.changed = showCount;

const stream = new Stream({
  view(data) {
    offset = data.now - performance.now() / 1000;
    requests.show(data);
    lists.show(data);
    requests.setStale(false);
    showCount();
    const noUsers = "There are no users yet. Add one with pam-iampass enroll, then register a phone.";
    const ready = data.users_total ? "A request appears here when a user logs in." : noUsers;
    showEmpty("Nothing to answer", ready);
  },
  connected() {
    if (!at("lost").hidden) announce("Connected again.");
    moveFocusFrom(at("lost"));
    moveFocusFrom(at("locked"));
    at("lost").hidden = at("locked").hidden = true;
    at("phone").hidden = false;
    lostUntil = 0;
    showConnection("connected", "Connected");
  },
  lost(pause) {
    if (at("lost").hidden) announceAtOnce("The connection to the sandbox is lost. Trying again.");
    at("lost").hidden = false;
    lostUntil = performance.now() + pause;
    requests.setStale(true);
    showEmpty("No connection", "There may be requests that this page cannot show now.");
    showConnection("lost", "Not connected");
    tick();
  },
  locked() {
    showLocked("The sandbox was restarted, or this address is incomplete. Use the address that it printed last.");
  },
});

// Hiding a part must not lose the focus.
function moveFocusFrom(part) {
  if (part.contains(document.activeElement)) setTimeout(() => at("requests-title").focus());
}

function showLocked(reason) {
  localStorage.removeItem(STORED);
  if (reason) {
    text(at("locked-reason"), reason);
    announceAtOnce(reason);
    setTimeout(() => at("locked-title").focus());
  }
  at("phone").hidden = at("lost").hidden = true;
  at("locked").hidden = false;
  showConnection("locked", "Locked");
}

function tick() {
  lists.tick();
  if (at("lost").hidden) return;
  const left = lostUntil - performance.now();
  text(at("retry"), left > 0 ? `Trying again in ${seconds(Math.ceil(left / 1000))}.` : "Trying now.");
}
setInterval(tick, 1000);

async function register(token) {
  const result = at("register-result");
  try {
    const { user } = await stream.post(`/phone/register/${encodeURIComponent(token)}`);
    text(result, `Registered: ${user} can now approve logins.`);
    at("link").value = "";
  } catch (error) {
    text(result, `Not registered: ${error.message}.`);
  }
}

async function lose(quoted, lost) {
  try {
    await stream.post(`/phone/devices/${lost ? "lost" : "found"}/${quoted}`);
  } catch (error) {
    announceAtOnce(`Not done: ${error.message}`);
  }
}

async function move(number, verb) {
  try {
    await stream.post(`/phone/sessions/${number}/${verb}`);
  } catch (error) {
    announceAtOnce(`Not done: ${error.message}`);
  }
}

at("register").addEventListener("submit", (event) => {
  event.preventDefault();
  const match = /\/register\/([\w-]+)\/?$/.exec(at("link").value.trim());
  if (match) register(match[1]);
  else text(at("register-result"), "Not registered: this is not a registration link.");
});

at("retry-now").addEventListener("click", () => stream.again());

at("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  open(at("key").value.trim().split("#").pop());
  at("key").value = "";
});

// Remove the key from the address bar: it must not appear in the history or in screenshots.
function open(key) {
  localStorage.setItem(STORED, key);
  stream.open(key);
}

function start() {
  const given = location.hash.slice(1);
  if (given) history.replaceState(null, "", location.pathname);
  const key = given || localStorage.getItem(STORED);
  if (key) open(key);
  else showLocked("");
}
addEventListener("hashchange", start);
start();
