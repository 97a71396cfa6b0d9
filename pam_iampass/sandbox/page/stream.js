// The connection to the sandbox: server-sent events, and the calls of the page.
//
// EventSource can neither send the key in a header nor report why it was refused, so fetch reads the events. There is
// no cookie: cookies do not depend on the port, and another program may serve another port of this host.

const SILENCE_MS = 15000; // three heartbeats of the server
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

  // Connect now, even while connecting or waiting.
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
      // The connection is lost, whatever the error.
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

  // A connection can die silently, for example when a laptop sleeps.
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

  // Returns the JSON reply; throws an Error with the reason.
  async post(path) {
    const signal = AbortSignal.timeout(SILENCE_MS);
    const answer = await this.fetch(path, { method: "POST", signal });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.detail);
    return value;
  }
}
