// Every event of a thread as the inspector lists it: what the log keeps, joined with what comes live, each event once.
// Pure but for `readLog`, which asks the public stream for the log from its first event on. How it looks: eventlist.js.

import { FrameParser } from "./stream.js";

const RETRY_MS = 2_000;
const encoder = new TextEncoder();

/** The bytes of a frame on the wire, without the comment that dates it. */
export function rawOf({ seq, event, data }) {
  return `id: ${seq}\nevent: ${event}\ndata: ${data}\n\n`;
}

function bytesOf(text) {
  return /^[\0-\x7f]*$/.test(text) ? text.length : encoder.encode(text).length;
}

function familyOf(name) {
  if (name.startsWith("thread.message.")) return "message";
  return name.startsWith("thread.run.step.") ? "step" : "run";
}

/**
 * The log of one thread. An entry is `{ seq, event, data, at, size, gap, since, family, delta, run, part }`: `at` in
 * seconds, `gap` to the event before it in its run, `since` its run began, `part` what of the transcript it changed.
 */
export class EventLog {
  constructor() {
    this.entries = [];
    this.ahead = []; // came live while what is before them is still being read
    this.runs = []; // ids in their order
    this.starts = new Map(); // run → when it began
    this.parts = new Map(); // step that writes a message → that message
    this.byPart = new Map(); // "kind id" → index of the last entry that changed it
    this.cuts = []; // numbers of the last event before the line was cut
    this.compacted = false; // whether deltas of old runs are no longer kept
    this.whole = false; // whether everything before what comes live is here
    this.size = 0;
    this.run = "";
    this.onEntry = () => {};
  }

  get last() {
    return this.entries.at(-1)?.seq ?? 0;
  }

  /** A frame of the page's own line. */
  live(frame) {
    if (this.whole) this.add(frame);
    else this.ahead.push(frame);
  }

  /** A frame of the log, which is read from its beginning. True where the live ones go on behind it. */
  read(frame) {
    this.add(frame);
    if (this.ahead.length === 0 || this.ahead[0].id > this.last) return false;
    this.join();
    return true;
  }

  join() {
    this.whole = true;
    this.ahead.forEach((frame) => this.add(frame));
    this.ahead = [];
  }

  add(frame) {
    const seq = Number(frame.id);
    if (!seq || seq <= this.last || !frame.event.startsWith("thread.")) return;
    const object = JSON.parse(frame.data);
    const delta = frame.event.endsWith(".delta");
    if (frame.event === "thread.run.created") this.begin(object.id, frame.at);
    const before = this.entries.at(-1);
    const entry = {
      seq,
      event: frame.event,
      data: frame.data,
      at: frame.at,
      gap: before?.run === this.run && before.at ? frame.at - before.at : 0,
      since: this.starts.get(this.run) ? frame.at - this.starts.get(this.run) : 0,
      family: familyOf(frame.event),
      delta,
      run: this.run,
      part: null,
    };
    entry.size = bytesOf(rawOf(entry));
    entry.part = this.partOf(entry, object);
    this.size += entry.size;
    this.entries.push(entry);
    this.byPart.set(`${entry.part.kind} ${entry.part.id}`, this.entries.length - 1);
    this.onEntry(entry, object);
  }

  /** A thread has one active run at a time, so all that follows belongs to this one. */
  begin(id, at) {
    this.run = id;
    this.runs.push(id);
    this.starts.set(id, at);
  }

  partOf({ event, family, run }, object) {
    if (family !== "step") return { kind: family, id: family === "run" ? run : object.id };
    if (event === "thread.run.step.created" && object.type === "message_creation") {
      this.parts.set(object.id, object.step_details.message_creation.message_id);
    }
    const message = this.parts.get(object.id);
    return message ? { kind: "message", id: message } : { kind: "step", id: object.id };
  }

  /** The last entry that changed a part of the transcript, or null. */
  lastOf(kind, id) {
    return this.entries[this.byPart.get(`${kind} ${id}`)] ?? null;
  }

  /** The entry with this number, or the nearest one before it. */
  at(seq) {
    return this.entries[this.indexOf(seq)] ?? null;
  }

  indexOf(seq) {
    let [low, high] = [0, this.entries.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.entries[middle].seq <= seq) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  ofRun(run) {
    return this.entries.filter((entry) => entry.run === run);
  }

  /** How many events of its run are no longer kept between an entry and the one before it. */
  missingBefore(index) {
    const [before, entry] = [this.entries[index - 1], this.entries[index]];
    return this.compacted && before?.run === entry.run ? entry.seq - before.seq - 1 : 0;
  }
}

/** Whether an entry is to be listed; `text` in lower case. */
export function passes(entry, { text, families, deltas, run }) {
  if (!families.has(entry.family) || (entry.delta && !deltas) || (run && entry.run !== run)) return false;
  return !text || entry.event.includes(text) || String(entry.seq) === text || entry.data.toLowerCase().includes(text);
}

/** Read a thread's log from its first event until the live frames go on behind it, or the log has no more for now. */
export async function readLog(threadId, log, signal) {
  while (!log.whole && !signal.aborted) {
    await readOnce(threadId, log, signal).catch(() => {});
    if (!log.whole && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

async function readOnce(threadId, log, signal) {
  const request = new AbortController();
  const stop = () => request.abort();
  signal.addEventListener("abort", stop);
  try {
    const path = `/v1/threads/${threadId}/runs/stream?include_created_at=true&starting_after=${log.last}`;
    const response = await fetch(path, { cache: "no-store", signal: request.signal });
    if (!response.ok) return;
    if (response.headers.get("last-event-id") === "earliest") log.compacted = true;
    const read = (frame) => log.whole || log.read(frame);
    const parser = new FrameParser(read, () => log.whole || log.join());
    const reader = response.body.getReader();
    while (!log.whole) {
      const piece = await reader.read();
      if (piece.done) break;
      parser.push(piece.value);
    }
  } finally {
    signal.removeEventListener("abort", stop);
    stop(); // a browser has few connections
  }
}
