// What the events say about time: from when to when each run waited and worked, each step and each tool call of it.
// Pure. timeline.js draws it.

import { TERMINAL, nameOf } from "./thread.js";

const ENDED = new Set(["completed", "failed", "cancelled", "expired"]);

export class Spans {
  constructor() {
    this.runs = new Map(); // id → span; a span is { key, part, words, status, from, to, waits, seq, inside }
    this.steps = new Map();
    this.now = 0;
  }

  /** One entry of the log and the object that its event carried. */
  take(entry, object) {
    this.now = entry.at;
    if (entry.family === "run") this.takeRun(entry, object);
    else if (entry.family === "step" && entry.delta) this.takeCalls(entry, object.id, object.delta.step_details?.tool_calls);
    else if (entry.family === "step") this.takeStep(entry, object);
  }

  begin(key, words, entry, part = entry.part) {
    return { key, part, words, status: "in_progress", from: entry.at, to: null, waits: [], seq: entry.seq, inside: new Map() };
  }

  takeRun(entry, run) {
    if (!this.runs.has(run.id)) this.runs.set(run.id, this.begin(run.id, `Run ${this.runs.size + 1}`, entry));
    const span = this.runs.get(run.id);
    const waiting = run.status === "queued" || run.status === "requires_action";
    const open = span.waits.at(-1)?.to === null;
    if (waiting && !open) span.waits.push({ from: entry.at, to: null, status: run.status });
    if (!waiting && open) span.waits.at(-1).to = entry.at;
    span.status = run.status;
    if (TERMINAL.has(run.status)) span.to = entry.at;
  }

  takeStep(entry, step) {
    const run = this.runs.get(entry.run);
    if (!run) return;
    if (!run.inside.has(step.id)) {
      const words = step.type === "tool_calls" ? "Tool calls" : "Message";
      run.inside.set(step.id, this.begin(step.id, words, entry));
      this.steps.set(step.id, run.inside.get(step.id));
    }
    const span = run.inside.get(step.id);
    span.status = step.status;
    this.takeCalls(entry, step.id, step.step_details.tool_calls);
    if (!ENDED.has(step.status)) return;
    span.to = entry.at;
    for (const call of span.inside.values()) Object.assign(call, { to: entry.at, status: step.status });
  }

  takeCalls(entry, stepId, calls) {
    const step = this.steps.get(stepId);
    calls?.forEach((call, place) => {
      const key = `${stepId}.${call.index ?? place}`;
      if (step && !step.inside.has(key)) step.inside.set(key, this.begin(key, nameOf(call) || call.type, entry));
    });
  }

  /** How long the longest run took: the end of the common axis. */
  longest() {
    return Math.max(0, ...[...this.runs.values()].map((run) => (run.to ?? this.now) - run.from));
  }
}
