// Server-sent events over fetch: bytes to frames, and a connection of its own that goes on after every break (what the
// tabs of a browser share is exchange.js). What a frame means is thread.js's business. (EventSource cannot start at a
// cursor and hides why it failed.)

export const SILENCE_MS = 45_000; // three heartbeats missed: the line is dead, whatever the socket says
export const WAIT_MS = { first: 250, most: 4_000 };
const HIDDEN_MS = 20_000;

const DATED = " created_at "; // the comment before an event, with `include_created_at=true`

/**
 * Bytes in any pieces → frames `{ id, event, data, at }` in order. A frame that was cut off is never handed on.
 * `at` is when the event was written, in seconds, 0 where the stream does not say. onHeartbeat(): the log has no more.
 */
export class FrameParser {
  constructor(onFrame, onHeartbeat = () => {}) {
    this.onFrame = onFrame;
    this.onHeartbeat = onHeartbeat;
    this.decoder = new TextDecoder(); // keeps the first bytes of a character that is split between two pieces
    this.rest = "";
    this.forget();
  }

  forget() {
    this.id = "";
    this.event = "";
    this.data = [];
    this.at = 0;
  }

  push(bytes) {
    const lines = (this.rest + this.decoder.decode(bytes, { stream: true })).split("\n");
    this.rest = lines.pop();
    for (const line of lines) this.take(line.endsWith("\r") ? line.slice(0, -1) : line);
  }

  take(line) {
    if (line === "") {
      const frame = { id: this.id, event: this.event || "message", data: this.data.join("\n"), at: this.at };
      const empty = this.data.length === 0;
      this.forget();
      if (!empty) this.onFrame(frame);
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) {
      if (line.startsWith(DATED, 1)) this.at = Number(line.slice(1 + DATED.length));
      else this.onHeartbeat();
      return;
    }
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "id") this.id = value;
    else if (field === "event") this.event = value;
    else if (field === "data") this.data.push(value);
  }
}

/** Behind which event of its log each thread of a response was read, or begins: id → number. */
export function cursorsOf(response) {
  const pairs = (response.headers.get("Kumos-Cursors") ?? "").split(", ").filter(Boolean);
  return new Map(pairs.map((pair) => pair.split("=")).map(([thread, cursor]) => [thread, Number(cursor)]));
}

/** Hand on the pieces of a response until it ends; throws where it is cut, or says nothing for too long. */
export async function readAll(response, request, onPiece) {
  const reader = response.body.getReader();
  let silence = 0;
  try {
    for (;;) {
      clearTimeout(silence);
      silence = setTimeout(() => request.abort(), SILENCE_MS);
      const piece = await reader.read();
      if (piece.done) return;
      onPiece(piece.value);
    }
  } finally {
    clearTimeout(silence);
  }
}

/**
 * Follow `url` until `done`, `close()` or an answer that no retry can cure.
 *
 * onOpen(resumed)   the connection stands; `resumed` says whether it went on behind a known event
 * onFrames(frames)  all but `done` and `error`, in order, as many as there are; after a break nothing is missing and
 *                   nothing repeats
 * onBreak()         the connection broke and is being made again
 * onEnd(response)   over: the refusing Response, or null after `done`
 * request           what fetch is given besides: `identity()` of api.js, where a token speaks instead of the cookie
 */
export function follow(url, { onOpen, onFrames, onBreak, onEnd, request: given = {} }) {
  let lastId = "";
  let closed = false;
  let paused = false;
  let breaks = 0;
  let request = new AbortController();
  let wake = () => {};

  async function connection() {
    request = new AbortController();
    const response = await fetch(url, {
      ...given,
      headers: { ...given.headers, ...(lastId ? { "Last-Event-ID": lastId } : {}) },
      cache: "no-store",
      signal: request.signal,
    });
    if (!response.ok) {
      const curable = response.status >= 500 || response.status === 429 || response.status === 408;
      return curable ? undefined : response;
    }
    onOpen(lastId !== "");
    let done = false;
    let frames = [];
    const parser = new FrameParser((frame) => {
      if (frame.event === "done") done = true;
      else if (frame.event !== "error") frames.push(frame);
      if (frame.id) lastId = frame.id;
    });
    try {
      await readAll(response, request, (piece) => {
        breaks = 0;
        parser.push(piece);
        if (frames.length && !closed) onFrames(frames);
        frames = [];
        if (done) request.abort();
      });
    } catch (failure) {
      if (!done) throw failure;
    }
    return done ? null : undefined;
  }

  function pause(milliseconds) {
    return new Promise((resolve) => {
      wake = resolve;
      if (milliseconds !== Infinity) setTimeout(resolve, milliseconds);
    });
  }

  async function loop() {
    while (!closed) {
      if (paused) await pause(Infinity);
      if (closed) return;
      let end;
      try {
        end = await connection();
      } catch {
        end = undefined; // refused, cut or aborted: all the same here
      }
      if (closed) return;
      if (end !== undefined) {
        onEnd(end);
        return;
      }
      if (paused) continue;
      onBreak();
      const wait = Math.min(WAIT_MS.most, WAIT_MS.first * 2 ** breaks);
      breaks += 1;
      await pause(wait * (0.75 + Math.random() / 2));
    }
  }

  loop();
  return {
    close() {
      closed = true;
      request.abort();
      wake();
    },
    /** Give the connection back (a hidden tab: browsers allow six per host) … */
    pause() {
      paused = true;
      request.abort();
    },
    /** … and go on behind the last event; also cuts a wait short when the network is back. */
    resume() {
      paused = false;
      wake();
    },
  };
}

/** A tab of its own line that is hidden for a while gives it back: `leave()`, and `back()` when it is seen again. */
export function whileHidden(leave, back) {
  let leaving = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(leaving);
    if (document.hidden) leaving = setTimeout(leave, HIDDEN_MS);
    else back();
  });
}
