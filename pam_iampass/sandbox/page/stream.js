// The connection to the sandbox: server-sent events, and the calls that the page makes.
//
// The browser's EventSource cannot send the key in a header, and does not tell why it was refused; so the events
// are read from a fetch. No cookie is used: cookies do not know ports, and somebody else may serve another one here.

const SILENCE_MS = 15000; // three beats of the server
const PAUSES_MS = [500, 1000, 2000, 4000, 8000];

export class Stream {
  // listener: view(data), connected(), lost(pauseMs), locked()
  constructor(listener) {
    this.listener = listener;
    this.key = "";
    this.failures = 0;
    this.run = 0;
  }

  open(key) {
    this.key = key;
    this.failures = 0;
    this.again();
  }

  // Connect now, whatever was under way.
  again() {
    this.run += 1;
    this.abort?.abort();
    clearTimeout(this.timer);
    this.listen(this.run);
  }

  async listen(run) {
    const abort = (this.abort = new AbortController());
    let refused = false;
    try {
      const answer = await this.watched(abort, () => this.fetch("/phone/events", { signal: abort.signal }));
      refused = answer.status === 401 || answer.status === 403;
      if (answer.ok) await this.read(answer.body.getReader(), abort, run);
    } catch {
      // Lost, in one way or another; what follows is the same.
    }
    abort.abort();
    if (run !== this.run) return;
    if (refused) this.listener.locked();
    else this.pause(run);
  }

  async read(reader, abort, run) {
    const decoder = new TextDecoder();
    let rest = "";
    for (;;) {
      const { done, value } = await this.watched(abort, () => reader.read());
      if (done || run !== this.run) return;
      rest += decoder.decode(value, { stream: true });
      const events = rest.split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ")) continue;
        if (this.failures !== -1) this.listener.connected();
        this.failures = -1;
        this.listener.view(JSON.parse(event.slice("data: ".length)));
      }
    }
  }

  // A connection can be dead without a word, as after a laptop's sleep.
  async watched(abort, wait) {
    const timer = setTimeout(() => abort.abort(), SILENCE_MS);
    try {
      return await wait();
    } finally {
      clearTimeout(timer);
    }
  }

  pause(run) {
    this.failures = Math.min(Math.max(this.failures, 0) + 1, PAUSES_MS.length);
    const pause = PAUSES_MS[this.failures - 1];
    this.listener.lost(pause);
    this.timer = setTimeout(() => run === this.run && this.listen(run), pause);
  }

  fetch(path, options = {}) {
    const headers = { Authorization: `Bearer ${this.key}` };
    return fetch(path, { ...options, headers, cache: "no-store", credentials: "omit", redirect: "error" });
  }

  // Answers the sandbox's object; throws an Error with its reason.
  async post(path) {
    const signal = AbortSignal.timeout(SILENCE_MS);
    const answer = await this.fetch(path, { method: "POST", signal });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.detail);
    return value;
  }
}
