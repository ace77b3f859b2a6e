// When things happened, as far as this page saw it itself. Nothing is guessed: a run that was joined in its middle, or
// whose connection broke, has no moment of its first word here, and its whole seconds are those of the API.

import { TERMINAL } from "./thread.js";

const SETTLED_MS = 2_000; // what comes sooner after a connection stands may have happened before

export class Timing {
  constructor() {
    this.seen = new Map(); // run id → { began, first, ended } in milliseconds of the page's clock
    this.requests = new Map(); // run id → id of the request that made it
    this.stands = Infinity;
  }

  /** This page began `run` itself, with a request sent at `began`. */
  asked(run, began, requestId) {
    this.note(run.id).began = began;
    this.requests.set(run.id, requestId);
  }

  opened(resumed) {
    if (resumed) this.broke();
    this.stands = performance.now();
  }

  /** What is missing since is told later, all at once. */
  broke() {
    this.stands = Infinity;
    for (const [run, times] of this.seen) if (!times.ended) this.seen.delete(run);
  }

  /** Fold a frame into `model`. False where it was known already. */
  apply(frame, model) {
    if (!model.apply(frame)) return false;
    this.saw(frame, model);
    return true;
  }

  saw({ event, data }, model) {
    const now = performance.now();
    if (event === "thread.message.delta") {
      const run = model.activeRun();
      if (run) this.note(run.id).first ??= now;
      return;
    }
    if (!event.startsWith("thread.run.") || event.startsWith("thread.run.step.")) return;
    const run = JSON.parse(data);
    const times = this.note(run.id);
    if (event === "thread.run.created" && now - this.stands > SETTLED_MS) times.began ??= now;
    if (TERMINAL.has(run.status)) times.ended ??= now;
  }

  note(runId) {
    if (!this.seen.has(runId)) this.seen.set(runId, {});
    return this.seen.get(runId);
  }

  /** `{ first, whole }` of a run as words, each "" where it is not known. `messages` are what it wrote. */
  of(run, messages) {
    const { began: from, first, ended } = this.seen.get(run.id) ?? {};
    const began = run.created_at;
    const end = run.completed_at ?? run.failed_at ?? run.cancelled_at ?? null;
    const spoke = messages.length ? Math.min(...messages.map((message) => message.created_at)) : null;
    return {
      first: from && first ? precise(first - from) : whole(began, spoke),
      whole: from && ended ? precise(ended - from) : whole(began, end),
    };
  }
}

function precise(milliseconds) {
  const seconds = milliseconds / 1000;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : whole(0, Math.round(seconds));
}

function whole(from, to) {
  if (to === null) return "";
  const seconds = Math.max(0, to - from);
  if (seconds < 1) return "under 1 s";
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}
