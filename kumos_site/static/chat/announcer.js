// The one line for screen readers. It speaks where a run begins, calls a tool, waits or ends, never for each word; the
// transcript itself is not live.

import { setText } from "./nodes.js";
import { TERMINAL, callInWords, inWords } from "./thread.js";

export class Announcer {
  constructor(line) {
    this.line = line;
    this.forget();
  }

  /** Another thread: what it says first is new. */
  forget() {
    this.said = "";
  }

  announce(model) {
    const run = model.lastRun();
    if (!run?.live) return;
    const [boundary, words] = this.boundary(run, model.stepsOf(run.id));
    if (`${run.id} ${boundary}` === this.said) return;
    this.said = `${run.id} ${boundary}`;
    setText(this.line, words);
  }

  /** What the run has come to: a name for it, and its words. */
  boundary(run, steps) {
    if (run.status === "completed") return [run.status, "The answer is complete."];
    if (TERMINAL.has(run.status) || run.status === "requires_action") return [run.status, inWords(run, [], false)];
    const step = steps.findLast((one) => one.type === "tool_calls" && one.step_details.tool_calls.length > 0);
    if (!step) return ["active", "The assistant is answering."];
    return [`${step.id} ${step.step_details.tool_calls.length}`, callInWords(step)];
  }
}
