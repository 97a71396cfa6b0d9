// Passkeys and the phone: what a form needs before it is sent, and the page of a link. `data-steps` of a form names what
// is to be done, in this order, and fills its hidden fields. Nothing here decides anything: the gateway does.
"use strict";

class Problem extends Error {}

const PROBLEMS = {
  NotAllowedError: "You cancelled, or it took too long. Try again.",
  InvalidStateError: "This device already has one of your passkeys.",
  SecurityError: "Your browser cannot make passkeys for this address.",
};

// What the portal answers to a form. Throws a Problem that the reader understands.
async function ask(path, fields) {
  let answer, value;
  try {
    const headers = { Accept: "application/json" };
    answer = await fetch(path, { method: "POST", headers, body: new URLSearchParams(fields) });
    value = await answer.json();
  } catch {
    throw new Problem("The portal does not answer. Try again in a moment.");
  }
  if (answer.ok) return value;
  throw Object.assign(new Problem(value.says), { status: answer.status });
}

async function approved(form, fields, phone, say) {
  for (;;) {
    let state = "";
    try {
      ({ state } = await ask(form.dataset.answer, [...fields, ["phone", phone]]));
    } catch (problem) {
      if (problem.status !== 429) throw problem;
    }
    if (state === "approved") return;
    if (state === "denied") throw new Problem("The request was denied on the phone. Nothing was changed.");
    if (state === "over") throw new Problem("Nobody answered on the phone. Nothing was changed. If the phone is lost, report it lost first, or ask the help desk.");
    if (state === "waits") say("Other requests come first. Then your phone rings.");
    await new Promise((go) => setTimeout(go, 2000)); // it is answered at once while many wait
  }
}

// Each returns whether it has taken long, or used up the reader's click: browsers ask for a passkey soon after one only.
const STEPS = {
  async ring(form, say) {
    const fields = [...new FormData(form)].filter(([name]) => name !== "phone");
    const { phone, says } = await ask(form.dataset.ring, fields);
    if (says) throw new Problem(says);
    if (!phone) return false; // there is none
    say("Your phone is ringing. Approve there.");
    await approved(form, fields, phone, say);
    form.elements.phone.value = phone;
    return true;
  },
  async create(form, say) {
    const { options } = await ask(form.dataset.create, new FormData(form));
    say("Your browser asks where to keep the passkey.");
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    form.elements.answer.value = JSON.stringify(await navigator.credentials.create({ publicKey }));
    return true;
  },
  async touch(form, say) {
    const { options } = await ask(form.dataset.touch, new FormData(form));
    say("Your browser asks for your passkey.");
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    form.elements.touch.value = JSON.stringify(await navigator.credentials.get({ publicKey }));
    return true;
  },
};

const NEXT = {
  create: "your browser makes the passkey.",
  touch: "your browser asks for the passkey of this sign-in.",
};

const left = new WeakMap(); // the steps of a form that are still to be done
const busy = new WeakSet();

async function goOn(form) {
  const status = form.querySelector("[role=status]"), button = form.querySelector("button");
  const say = (text) => { status.textContent = text; };
  const steps = left.get(form) ?? form.dataset.steps.split(" ");
  button.dataset.label ??= button.textContent;
  left.set(form, steps);
  busy.add(form);
  button.setAttribute("aria-disabled", "true");
  try {
    if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
      throw new Problem("This browser is too old for passkeys, or the page is not encrypted.");
    }
    let isFresh = true;
    while (steps.length) {
      if (!isFresh && steps[0] !== "ring") {
        button.textContent = "Continue";
        say(`Done. Press Continue: ${NEXT[steps[0]]}`);
        return;
      }
      if (await STEPS[steps.shift()](form, say)) isFresh = false;
    }
    left.delete(form);
    button.textContent = button.dataset.label;
    sent(form);
    form.submit();
  } catch (problem) {
    left.delete(form);
    button.textContent = button.dataset.label;
    say(problem instanceof Problem ? problem.message : PROBLEMS[problem.name] ?? "Your browser could not do this.");
    if (problem.status === 401 && !form.matches("[action='/sign-in']")) {
      const link = Object.assign(document.createElement("a"), { href: location.href, textContent: "Sign in again" });
      status.append(" ", link); // the page asks for the sign-in, and is shown after it
    }
  } finally {
    if (!done.has(form)) {
      busy.delete(form);
      button.removeAttribute("aria-disabled");
    }
  }
}

// What was sent is done once: the button stays as it is until the page with the answer is there.
const done = new WeakSet();
function sent(form) {
  busy.add(form);
  done.add(form);
  form.querySelector("button").setAttribute("aria-disabled", "true");
  form.querySelector("[role=status]").textContent = form.dataset.waits;
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.matches(".act")) return;
  if (busy.has(form) || form.dataset.steps) event.preventDefault();
  if (busy.has(form)) return;
  if (form.dataset.steps) goOn(form);
  else sent(form);
});

// A page that the browser has kept has ids of acts that may have been done.
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

// The page of a link. Its token is behind `#`, which browsers do not send; it stays in no history.
async function openLink(form) {
  const problem = document.getElementById("link-problem"), title = document.getElementById("title");
  const own = (title.dataset.own ??= title.textContent);
  const token = location.hash.slice(1);
  history.replaceState(null, "", location.pathname);
  problem.textContent = "";
  form.hidden = true;
  try {
    if (!token) throw new Problem("The link is not complete. Open it again from the message that has it.");
    const { person, phone } = await ask(form.dataset.create, { token });
    form.elements.token.value = token;
    form.querySelector("[data-person]").textContent = person;
    form.querySelector("[data-phone]").hidden = !phone;
    form.dataset.steps = phone ? "ring create" : "create";
    left.delete(form);
    form.hidden = false;
  } catch (error) {
    problem.textContent = error.message;
  }
  title.textContent = form.hidden ? title.dataset.problem : own;
}

const link = document.getElementById("link");
if (link) {
  openLink(link);
  addEventListener("hashchange", () => openLink(link)); // another link, in the same tab
}

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

// What is shown once is not there any more when somebody comes back to the page.
addEventListener("pagehide", () => {
  for (const shown of document.querySelectorAll("[data-once]")) shown.textContent = "This was shown once.";
});
