// One card for each request. Cards are updated, not replaced, so that focus and pointer stay in place.

import { announce, announceAtOnce, seconds, text } from "./words.js";

const DONE_MS = 4000; // how long a card shows the outcome
const SETTLE_MS = 700; // after cards moved, a click may be meant for the previous one
const SOON_SECONDS = 10;
const OUTCOMES = {
  approved: "Approved",
  denied: "Denied",
  unrecognized: "Not recognized",
  expired: "Expired: not answered in time",
  withdrawn: "Withdrawn: the login ended before an answer",
};

const LOST = "This phone is lost: nobody sees the request.";

export class Requests {
  // answer(number, verb): tells the sandbox; now(): the sandbox's clock in seconds
  constructor(answer, now) {
    this.answer = answer;
    this.now = now;
    this.list = document.getElementById("requests");
    this.title = document.getElementById("requests-title");
    this.cards = new Map();
    setInterval(() => this.tick(), 250);
  }

  get waiting() {
    return [...this.cards.values()].filter((card) => !card.outcome).length;
  }

  show(view) {
    for (const request of view.requests) {
      const card = this.cards.get(request.number) ?? this.add(request);
      card.request = request;
      this.draw(card);
    }
    const undecided = new Set(view.requests.map((request) => request.number));
    for (const card of this.cards.values()) {
      if (!card.outcome && !undecided.has(card.request.number)) this.finish(card, view.recent);
    }
    this.tick();
  }

  add(request) {
    const node = document.getElementById("request-card").content.cloneNode(true).firstElementChild;
    const part = (name) => node.querySelector(`.${name}`);
    const card = { node, part, request, outcome: "", warned: false, busy: false };
    node.dataset.number = request.number;
    part("user").textContent = request.user;
    part("picture").textContent = [...request.user][0].toUpperCase();
    part("deny").addEventListener("click", () => this.press(card, "deny"));
    part("go").addEventListener("click", () => this.press(card, this.facial(card) ? "identify" : "approve"));
    part("another").addEventListener("click", () => this.press(card, "fail"));
    part("mine").addEventListener("click", () => this.press(card, "approve"));
    text(part("go"), this.facial(card) ? "Show my face" : "Approve");
    text(part("mine"), `${request.user}’s face`);
    part("go").setAttribute("aria-label", `${part("go").textContent}, ${request.user}`);
    part("deny").setAttribute("aria-label", `Deny, ${request.user}`);
    this.cards.set(request.number, card);
    this.list.append(node);
    const left = seconds(request.answer_by - this.now());
    announce(`New request: a login as ${request.user}. ${left} to answer.`);
    return card;
  }

  facial({ request }) {
    return request.methods.includes("facial");
  }

  draw(card) {
    const { part, request } = card;
    const looking = this.facial(card) && request.identifying && !request.lost;
    text(part("what"), looking ? "Looking at your face" : request.lost ? LOST : "Are you logging in?");
    const held = document.activeElement === part("go");
    if (request.lost && card.node.contains(document.activeElement)) card.node.focus();
    part("main").hidden = request.lost;
    if (looking === !part("face").hidden) return;
    part("face").hidden = !looking;
    part("go").hidden = looking;
    part("main").classList.toggle("looking", looking);
    if (held) part("face").focus(); // not on its buttons: pressing a key twice must not answer
  }

  async press(card, verb) {
    if (card.busy || card.outcome || this.stale) return;
    card.busy = true;
    try {
      await this.answer(card.request.number, verb);
      card.busy = verb !== "identify"; // an answer is final, even if the stream reports it later
    } catch (error) {
      announceAtOnce(`Not done: ${error.message}`);
      card.busy = false;
    }
  }

  finish(card, recent) {
    const found = recent.find((each) => each.number === card.request.number);
    card.outcome = found?.outcome ?? "withdrawn";
    const held = card.node.contains(document.activeElement);
    card.node.classList.add("done");
    text(card.part("what"), `Request #${card.request.number}`);
    card.part("main").hidden = true;
    card.part("face").hidden = true;
    card.part("outcome").dataset.outcome = card.outcome;
    text(card.part("outcome"), OUTCOMES[card.outcome]);
    card.part("outcome").hidden = false;
    announce(`${card.request.user}: ${OUTCOMES[card.outcome]}.`);
    if (held) this.moveFocus();
    setTimeout(() => this.remove(card), DONE_MS);
  }

  // To the next card, never to its buttons: pressing a key twice must not approve two requests.
  moveFocus() {
    const next = [...this.cards.values()].find((card) => !card.outcome);
    (next?.node ?? this.title).focus();
  }

  remove(card) {
    const held = card.node.contains(document.activeElement);
    card.node.remove();
    this.cards.delete(card.request.number);
    if (held) this.moveFocus();
    this.list.classList.add("settling");
    setTimeout(() => this.list.classList.remove("settling"), SETTLE_MS);
    this.changed?.();
  }

  // Without a connection requests cannot be answered; the buttons keep the focus.
  setStale(stale) {
    this.stale = stale;
    for (const button of this.list.querySelectorAll("button")) button.setAttribute("aria-disabled", String(stale));
  }

  tick() {
    for (const card of this.cards.values()) {
      if (card.outcome) continue;
      const { request, part } = card;
      const left = Math.max(0, request.answer_by - this.now());
      const soon = left <= SOON_SECONDS;
      text(part("left"), `${seconds(left)} left`);
      text(part("age"), `#${request.number}, asked ${seconds(this.now() - request.started)} ago`);
      part("bar").firstElementChild.style.transform = `scaleX(${left / (request.answer_by - request.started)})`;
      card.node.classList.toggle("soon", soon);
      if (soon && !card.warned) {
        card.warned = true;
        if (request.answer_by - request.started > SOON_SECONDS) announce(`${request.user}: ${seconds(left)} left.`);
      }
    }
  }
}
