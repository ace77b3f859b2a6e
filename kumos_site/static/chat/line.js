// A tab's line to the server. All tabs of a browser share one connection, in a SharedWorker, because a browser allows
// six to a host; where there is no such worker (Chrome on Android) a tab has its own, and gives it back while hidden.

import { Exchange } from "./exchange.js";
import { whileHidden } from "./stream.js";

const VERSION = 1; // of the messages: tabs that speak another version have a worker of their own

export class Line {
  /** `expected`: the thread that somebody will `follow` in a moment, without a cursor; it is asked for now. */
  constructor(expected = "") {
    this.keys = 0;
    this.follows = new Map(); // key → what is followed, with its own cursor
    this.marks = [];
    this.onMarks = () => {};
    this.away = false;
    this.heard = false; // whether anybody listens; until then the port keeps what comes
    this.expected = null;
    this.join();
    if (expected) this.expect(expected);
    window.addEventListener("online", () => this.say({ do: "check" }));
    window.addEventListener("offline", () => this.say({ do: "check" }));
    window.addEventListener("pagehide", () => this.leave());
    window.addEventListener("pageshow", (event) => event.persisted && this.comeBack());
  }

  /**
   * Follow a thread until it ends, or `close()` is called.
   *
   * after             the cursor to go on behind; null: from the first event of the active run, or from now
   * onOpen(resumed, after)  the connection stands, behind the event `after`; `resumed`: it goes on behind a known one
   * onFrames(frames)  events `{ id, event, data, at }` in order, as many as there are; after a break nothing is missing
   *                   and nothing repeats
   * onBreak()         the connection broke and is being made again
   * onEnd(response)   over: the refusing Response, or null where the thread was deleted
   */
  follow(thread, { after = null, ...handlers }) {
    const { expected } = this;
    this.expected = null;
    const isExpected = expected?.thread === thread && after === null;
    if (expected && !isExpected) this.leaveOut(expected.key);
    const { key } = isExpected ? Object.assign(expected, handlers) : this.begin({ thread, after, ...handlers });
    this.listen();
    return {
      close: () => this.leaveOut(key),
    };
  }

  expect(thread) {
    this.expected = this.begin({ thread, after: null });
  }

  begin(what) {
    const follow = { key: (this.keys += 1), ...what };
    this.follows.set(follow.key, follow);
    this.ask(follow);
    return follow;
  }

  leaveOut(key) {
    if (this.follows.delete(key)) this.say({ do: "leave", key });
  }

  /** `onChange(thread, active)` for each of these threads (the newest first) now, and whenever a run begins or ends. */
  watchActivity(threads, onChange) {
    this.onMarks = onChange;
    this.listen();
    if (threads.length === this.marks.length && threads.every((thread, at) => thread === this.marks[at])) return;
    this.marks = [...threads];
    this.say({ do: "mark", threads: this.marks });
  }

  /** Pull the plug of all tabs for so long; they go on by themselves. */
  cut(milliseconds = 0) {
    this.say({ do: "cut", milliseconds });
  }

  // The other end -------------------------------------------------------------------------------------------------

  join() {
    if (!("SharedWorker" in window)) return this.goAlone();
    try {
      const address = new URL("./exchange-worker.js", import.meta.url);
      const worker = new SharedWorker(address, { type: "module", name: `kumos-${VERSION}` });
      worker.addEventListener("error", () => !this.greeted && this.goAlone());
      this.use(worker.port);
      this.pledge();
    } catch {
      this.goAlone(); // forbidden here
    }
  }

  /** A lock that ends with this tab, however it ends: the worker waits for it (where browsers have locks, on https). */
  pledge() {
    if (!navigator.locks) return;
    const name = `kumos-tab-${crypto.randomUUID()}`;
    navigator.locks.request(name, () => {
      this.say({ do: "pledge", name });
      return new Promise(() => {});
    });
  }

  goAlone() {
    const { port1, port2 } = new MessageChannel();
    this.use(port1);
    new Exchange().connect(port2);
    this.askAll();
    whileHidden(() => this.leave(), () => this.comeBack());
  }

  use(port) {
    this.port = port;
    port.addEventListener("message", ({ data }) => port === this.port && this.hear(data));
    port.addEventListener("close", () => port === this.port && this.rejoin()); // the worker crashed, where browsers tell
    if (this.heard) port.start();
  }

  listen() {
    this.heard = true;
    this.port.start();
  }

  rejoin() {
    this.join();
    this.askAll();
  }

  say(message) {
    if (!this.away) this.port.postMessage(message);
  }

  ask({ key, thread, after }) {
    this.say({ do: "follow", key, thread, after });
  }

  askAll() {
    for (const follow of this.follows.values()) this.ask(follow);
    if (this.marks.length) this.say({ do: "mark", threads: this.marks });
  }

  /** What a tab follows is forgotten at the other end … */
  leave() {
    this.say({ do: "bye" });
    this.away = true;
  }

  /** … and goes on where it was. */
  comeBack() {
    if (!this.away) return;
    this.away = false;
    this.askAll();
  }

  hear(message) {
    if (message.hello) this.greeted = true;
    else if (message.ping) this.say({ do: "here" });
    else if (message.lost) this.askAll();
    else if (message.marks) for (const [thread, active] of message.marks) this.onMarks(thread, active);
    else if (message.key) this.pass(this.follows.get(message.key), message);
  }

  pass(follow, message) {
    if (!follow) return; // closed meanwhile
    if (message.open) {
      follow.after ??= message.after;
      follow.onOpen(message.resumed, message.after);
    } else if (message.frames) {
      follow.after = Number(message.frames.at(-1).id);
      follow.onFrames(message.frames);
    } else if (message.broken) {
      follow.onBreak();
    } else if (message.end !== undefined) {
      this.follows.delete(follow.key);
      const { status, headers, body } = message.end ?? {};
      follow.onEnd(message.end && new Response(body, { status, headers }));
    }
  }
}
