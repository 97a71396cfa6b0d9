// The lists beside the requests: sessions, messages, phones, and recent answers.

import { seconds, text } from "./words.js";

const OUTCOMES = {
  approved: "Approved",
  denied: "Denied",
  unrecognized: "Not recognized",
  expired: "Expired",
  withdrawn: "Withdrawn",
};

// Update a list to these items; unchanged ones keep their place and the focus.
function fill(list, items, keyOf, make, update) {
  const before = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const nodes = items.map((item) => {
    const key = String(keyOf(item));
    const node = before.get(key) ?? make(item);
    node.dataset.key = key;
    update(node, item);
    before.delete(key);
    return node;
  });
  for (const gone of before.values()) gone.remove();
  nodes.forEach((node, index) => {
    if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
  });
}

function element(name, className = "", content = "") {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.textContent = content;
  return node;
}

function row(name) {
  const node = element("li");
  node.append(element("bdi", "", name), element("span", "quiet"));
  return node;
}

function phoneWords({ device, lost }) {
  if (device === null) return "";
  if (device) return lost ? "lost the phone" : "has a phone";
  return lost ? "phone disabled: register a new one" : "no phone yet";
}

export class Lists {
  // register(token): registers a phone through a link; lose(quoted, lost): the user loses or finds the phone;
  // move(number, verb): the user ends, leaves or returns to a session; now(): the sandbox's clock in seconds
  constructor(register, lose, move, now) {
    this.register = register;
    this.lose = lose;
    this.move = move;
    this.now = now;
  }

  show(view) {
    this.showSessions(view.sessions);
    this.showMessages(view.messages);
    this.showUsers(view);
    this.showRecent(view.recent);
  }

  showSessions(sessions) {
    const part = document.getElementById("sessions-part");
    const held = part.contains(document.activeElement);
    fill(document.getElementById("sessions"), sessions, ({ number }) => number, (session) => this.session(session),
      (node, { number, user, away, lost, at }) => {
        Object.assign(node.dataset, { at, away });
        const move = node.querySelector(".move");
        text(move, away ? "I am back" : "I walk away");
        for (const button of node.querySelectorAll("button")) {
          button.hidden = lost;
          button.setAttribute("aria-label", `${button.textContent}, ${user}, session ${number}`);
        }
        this.sessionAge(node);
      });
    const lostFocus = held && document.activeElement === document.body;
    part.hidden = sessions.length === 0;
    if (lostFocus) document.getElementById(part.hidden ? "requests-title" : "sessions-title").focus();
  }

  session({ number, user }) {
    const node = row(user);
    const move = element("button", "move");
    const end = element("button", "deny", "End");
    move.type = end.type = "button";
    move.addEventListener("click", () => this.move(number, node.dataset.away === "true" ? "back" : "away"));
    end.addEventListener("click", () => this.move(number, "end"));
    const buttons = element("span", "buttons");
    buttons.append(move, end);
    node.append(buttons);
    return node;
  }

  sessionAge(node) {
    const words = node.dataset.away === "true" ? "away, began" : "active, began";
    text(node.querySelector(".quiet"), `#${node.dataset.key}, ${words} ${seconds(this.now() - Number(node.dataset.at))} ago`);
  }

  showMessages(messages) {
    document.getElementById("messages-part").hidden = messages.length === 0;
    fill(document.getElementById("messages"), messages, (message) => message.number, (message) => this.bubble(message),
      (node, message) => {
        node.querySelector("button").hidden = !message.link;
        node.querySelector(".used").hidden = Boolean(message.link);
      });
  }

  bubble(message) {
    const node = element("li", "bubble");
    const button = element("button", "", `Register this phone for ${message.user}`);
    button.type = "button";
    button.addEventListener("click", () => this.register(message.link));
    const to = element("p", "quiet", `To ${message.to}`);
    if (message.sender) to.append(", about ", element("bdi", "", message.sender));
    node.append(to, element("p", "", message.text), button, element("p", "quiet used", "The link has been used."));
    return node;
  }

  showUsers({ users, users_total: total }) {
    const more = total > users.length ? [{ user: `and ${total - users.length} more`, device: null }] : [];
    fill(document.getElementById("users"), [...users, ...more], ({ user }) => user, (user) => this.phone(user),
      (node, user) => {
        node.dataset.lost = user.lost;
        text(node.children[1], phoneWords(user));
        const button = node.querySelector("button");
        button.hidden = !user.device;
        text(button, user.lost ? "Find phone" : "Lose phone");
        button.setAttribute("aria-label", `${button.textContent}, ${user.user}`);
      });
  }

  phone({ user, quoted }) {
    const node = row(user);
    const button = element("button");
    button.type = "button";
    button.addEventListener("click", () => this.lose(quoted, node.dataset.lost !== "true"));
    node.append(button);
    return node;
  }

  showRecent(recent) {
    document.getElementById("recent-part").hidden = recent.length === 0;
    fill(document.getElementById("recent"), recent, ({ number }) => number, ({ user }) => row(user),
      (node, { outcome, at }) => {
        node.lastElementChild.dataset.outcome = outcome;
        node.dataset.at = at;
        this.age(node);
      });
  }

  // Update the ages.
  tick() {
    for (const node of document.getElementById("sessions").children) this.sessionAge(node);
    for (const node of document.getElementById("recent").children) this.age(node);
  }

  age(node) {
    const end = node.lastElementChild;
    text(end, `${OUTCOMES[end.dataset.outcome]} ${seconds(this.now() - Number(node.dataset.at))} ago`);
  }
}
