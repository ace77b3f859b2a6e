// One connection for many: what the tabs of a browser want to follow goes into one request, and each gets its frames.
// It runs in a SharedWorker (exchange-worker.js), or in the tab itself where there is none. line.js is a tab's end of it.
//
// Who follows a thread has a cursor of their own: the request begins at the lowest of a thread, and everybody drops what
// they have. When what is wanted changes, a new request is opened, and the old one is closed once the new one stands.

import { FrameParser, SILENCE_MS, WAIT_MS, cursorsOf, readAll } from "./stream.js";
import { TERMINAL } from "./thread.js";

export const THREADS_MAX = 64; // in one request (docs/extensions.md)
const ADDRESS = "/v1/threads/runs/stream";
const SETTLE_MS = 5; // a tab that opens another thread leaves one and follows one: that is one change
const PING_MS = 30_000;
const PINGS_MISSED = 4; // a tab that is frozen, or gone in silence, is forgotten, and comes back by itself
const TICK_MS = 5_000;
const ASLEEP_MS = 20_000; // a tick that is this late: the machine slept, and the line is dead without knowing it

/** Somebody who follows a thread: a tab that shows it, or all the marks of it in sidebars. */
class Reader {
  constructor(thread, after, { marks = false, deliver, tell, end }) {
    Object.assign(this, { thread, after, marks, deliver, tell, end });
    this.begun = after !== null; // whether it goes on behind something it knows
    this.active = this.begun ? undefined : false; // whether a run is: a stream without a cursor begins with that
    this.state = "new"; // then "open" or "broken", as it was told; "behind" is one that waits without being told
    this.batch = [];
  }

  take(seq, frame) {
    if (seq <= this.after) return;
    this.after = seq;
    this.batch.push(frame);
    const status = /^thread\.run\.(\w+)$/.exec(frame.event);
    if (status) this.active = !TERMINAL.has(status[1]);
  }

  flush() {
    if (this.batch.length) this.deliver(this.batch);
    this.batch = [];
  }
}

/** Where a refusal says the fault is: `starting_after[thread_…]`. */
function paramOf(body) {
  try {
    return JSON.parse(body).error.param ?? "";
  } catch {
    return "";
  }
}

export class Exchange {
  constructor() {
    this.tabs = new Set();
    this.readers = new Set();
    this.marked = new Map(); // thread → the Reader of its marks, which knows whether a run is active
    this.failures = 0;
    this.heldUntil = 0;
    this.pressing = false;
    this.current = null; // the request that stands, and the one that is being made
    this.opening = null;
    this.tickedAt = Date.now();
    setInterval(() => this.ping(), PING_MS);
    setInterval(() => this.tick(), TICK_MS);
  }

  // Tabs ----------------------------------------------------------------------------------------------------------

  /** A tab at the other end of a MessagePort. */
  connect(port) {
    const tab = { port, readers: new Map(), marks: new Set(), missed: 0 };
    this.tabs.add(tab);
    port.onmessage = ({ data }) => this.hear(tab, data);
    port.postMessage({ hello: true });
  }

  hear(tab, message) {
    if (!this.tabs.has(tab) && message.do !== "follow" && message.do !== "mark") {
      if (message.do !== "bye") tab.port.postMessage({ lost: true });
      return;
    }
    this.tabs.add(tab);
    tab.missed = 0;
    if (message.do === "follow") this.follow(tab, message);
    else if (message.do === "leave") this.drop(tab, message.key);
    else if (message.do === "mark") this.mark(tab, message.threads);
    else if (message.do === "bye") this.leave(tab);
    else if (message.do === "pledge") navigator.locks?.request(message.name, () => this.leave(tab)); // it is gone
    else if (message.do === "check") this.check();
    else if (message.do === "cut") this.cut(message.milliseconds);
    else if (message.do === "list") tab.port.postMessage({ list: this.list() });
  }

  leave(tab) {
    for (const key of [...tab.readers.keys()]) this.drop(tab, key);
    this.mark(tab, []);
    this.tabs.delete(tab);
  }

  ping() {
    for (const tab of [...this.tabs]) {
      tab.missed += 1;
      if (tab.missed > PINGS_MISSED) this.leave(tab);
      else tab.port.postMessage({ ping: true });
    }
  }

  follow(tab, { key, thread, after }) {
    const say = (what) => tab.port.postMessage({ key, ...what });
    const reader = new Reader(thread, after, {
      deliver: (frames) => say({ frames }),
      tell: (what) => say(what),
      end: (response) => {
        tab.readers.delete(key);
        say({ end: response });
      },
    });
    this.drop(tab, key);
    tab.readers.set(key, reader);
    this.readers.add(reader);
    this.changed();
  }

  drop(tab, key) {
    const reader = tab.readers.get(key);
    if (!reader) return;
    tab.readers.delete(key);
    this.readers.delete(reader);
    this.changed();
  }

  /** The threads of which a tab wants to know whether a run is active. */
  mark(tab, threads) {
    tab.marks = new Set(threads);
    const wanted = new Set([...this.tabs].flatMap((one) => [...one.marks]));
    for (const [thread, reader] of this.marked) {
      if (wanted.has(thread)) continue;
      this.marked.delete(thread);
      this.readers.delete(reader);
    }
    for (const thread of wanted) if (!this.marked.has(thread)) this.addMark(thread);
    const known = threads.map((thread) => this.marked.get(thread)).filter((reader) => reader.state === "open");
    if (known.length) tab.port.postMessage({ marks: known.map((reader) => [reader.thread, reader.active]) });
    this.changed({ canWait: true }); // a page wants them soon after its thread
  }

  addMark(thread) {
    const reader = new Reader(thread, null, {
      marks: true,
      deliver: () => this.showMark(reader),
      tell: () => {},
      end: () => {
        this.marked.delete(thread);
        reader.active = false;
        this.showMark(reader);
      },
    });
    // Whoever shows the thread may know already, and goes on from there.
    const known = [...this.readers].find((one) => one.thread === thread && one.state === "open" && one.active !== undefined);
    if (known) Object.assign(reader, { after: known.after, active: known.active, begun: true, state: "open" });
    this.marked.set(thread, reader);
    this.readers.add(reader);
  }

  showMark(reader) {
    if (reader.shown === reader.active) return;
    reader.shown = reader.active;
    for (const tab of this.tabs) {
      if (tab.marks.has(reader.thread)) tab.port.postMessage({ marks: [[reader.thread, reader.active]] });
    }
  }

  // What is wanted ------------------------------------------------------------------------------------------------

  /** Thread → `{ after, marks }`: those that are shown, then as many marks as there is room for. */
  wanted() {
    const wanted = new Map();
    const inOrder = [...this.readers].sort((one, other) => one.marks - other.marks);
    for (const { thread, after, marks } of inOrder) {
      const known = wanted.get(thread);
      if (!known && wanted.size === THREADS_MAX) continue;
      if (!known) wanted.set(thread, { after, marks });
      else if (after === null || known.after === null) known.after = null; // the server says where that is
      else known.after = Math.min(known.after, after);
    }
    return wanted;
  }

  /** Something else is wanted. What `canWait` does not take the place of a request that is just being made. */
  changed({ canWait = false } = {}) {
    this.pressing ||= !canWait;
    this.settling ??= setTimeout(() => {
      const { pressing } = this;
      this.settling = undefined;
      this.pressing = false;
      if (this.waiting) return; // it is tried again soon anyway
      if (this.opening && !pressing) this.opening.outdated = true;
      else this.renew();
    }, SETTLE_MS);
  }

  list() {
    return [...this.wanted()].map(([thread, { marks }]) => ({ thread, marks }));
  }

  // The request ---------------------------------------------------------------------------------------------------

  address(wanted) {
    const cursors = [...wanted].map(([thread, { after, marks }]) => {
      const name = marks ? "status_after" : "starting_after";
      return `${name}[${encodeURIComponent(thread)}]=${after ?? ""}`;
    });
    return `${ADDRESS}?include_created_at=true&${cursors.join("&")}`;
  }

  /** Make the request for what is wanted now. The one that stands goes on until this one does. */
  async renew() {
    clearTimeout(this.waiting);
    this.waiting = undefined;
    this.opening?.abort();
    this.opening = null;
    const wanted = this.wanted();
    if (!wanted.size) {
      this.current?.abort();
      this.current = null;
      return;
    }
    const held = this.heldUntil - Date.now();
    if (held > 0) {
      this.waiting = setTimeout(() => this.renew(), held);
      return;
    }
    const request = Object.assign(new AbortController(), { outdated: false });
    this.opening = request;
    const late = setTimeout(() => request.abort(), SILENCE_MS);
    let response;
    try {
      response = await fetch(this.address(wanted), { cache: "no-store", signal: request.signal });
    } catch {
      response = null; // refused, cut or aborted: all the same here
    }
    clearTimeout(late);
    if (this.opening !== request) return request.abort(); // meanwhile something else is wanted
    this.opening = null;
    if (!response || response.status >= 500 || response.status === 429 || response.status === 408) this.broken();
    else if (!response.ok) await this.refused(response, wanted);
    else this.stands(request, response);
  }

  stands(request, response) {
    this.current?.abort();
    this.current = request;
    const starts = cursorsOf(response);
    for (const reader of this.readers) {
      const start = starts.get(reader.thread);
      if (start === undefined) continue;
      reader.after ??= start;
      if (reader.after < start) {
        reader.state = "behind";
        continue;
      }
      if (reader.state !== "open") reader.tell({ open: true, resumed: reader.begun, after: reader.after });
      reader.state = "open";
      reader.begun = true;
      if (reader.marks) this.showMark(reader);
    }
    // A newcomer begins at the active run; who was cut off before that still lacks what came in between.
    if (request.outdated || [...this.readers].some((reader) => reader.state === "behind")) this.changed();
    this.read(request, response);
  }

  async read(request, response) {
    let over = false;
    const parser = new FrameParser((frame) => {
      if (frame.event === "done") over = true;
      else if (this.current === request) this.give(frame);
    });
    try {
      await readAll(response, request, (piece) => {
        this.failures = 0;
        parser.push(piece);
        for (const reader of this.readers) reader.flush();
      });
    } catch {
      // cut, or silent for too long
    }
    if (this.current !== request) return;
    this.current = null;
    if (over) this.changed();
    else this.broken();
  }

  give(frame) {
    if (frame.event === "thread.deleted") {
      this.end(JSON.parse(frame.data).id, null);
      return;
    }
    const colon = frame.id.lastIndexOf(":");
    if (colon < 0) return; // `error`: what follows is the break
    const thread = frame.id.slice(0, colon);
    const seq = Number(frame.id.slice(colon + 1));
    for (const reader of this.readers) {
      if (reader.thread === thread && reader.state === "open") reader.take(seq, { ...frame, id: String(seq) });
    }
  }

  /** Nobody can follow this thread any more. */
  end(thread, response) {
    for (const reader of [...this.readers].filter((one) => one.thread === thread)) {
      reader.flush();
      this.readers.delete(reader);
      reader.end(response);
    }
  }

  /** An answer that no retry can cure: for the thread that it names, or else for all. */
  async refused(response, wanted) {
    const body = await response.text().catch(() => "");
    const named = /\[(.*)\]$/.exec(paramOf(body))?.[1];
    const headers = [...response.headers].filter(([name]) => name === "content-type" || name === "x-request-id");
    const answer = { status: response.status, headers, body };
    const ended = wanted.has(named) ? [named] : [...wanted.keys()];
    for (const thread of ended) this.end(thread, answer);
    this.changed();
  }

  // Breaks --------------------------------------------------------------------------------------------------------

  broken() {
    this.current?.abort();
    this.current = null;
    for (const reader of this.readers) {
      if (reader.state !== "broken") reader.tell({ broken: true });
      reader.state = "broken";
    }
    if (this.opening) return; // the next one is on its way
    const wait = Math.min(WAIT_MS.most, WAIT_MS.first * 2 ** this.failures) * (0.75 + Math.random() / 2);
    this.failures += 1;
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.renew(), wait);
  }

  /** The network came or went, or somebody looks again: is the line alive? A new one takes its place, or it is broken. */
  check() {
    this.renew();
  }

  tick() {
    const late = Date.now() - this.tickedAt - TICK_MS;
    this.tickedAt = Date.now();
    if (late > ASLEEP_MS) this.check();
  }

  /** Pull the plug: the line breaks, and stays so for a while. */
  cut(milliseconds = 0) {
    this.heldUntil = Date.now() + milliseconds;
    this.opening?.abort();
    this.opening = null;
    this.failures = 0;
    this.broken();
  }
}
