// What to do about an answer that is not whole: why in plain words, its run, and buttons that try again or go on.

import { element, setText } from "./nodes.js";
import { TERMINAL } from "./thread.js";

const REASONS = {
  rate_limit_exceeded: "The model's provider takes no more requests at the moment. Wait a little, then try again.",
  server_error: "The model could not be reached, or broke off.",
  invalid_prompt: "The model's provider refused the conversation as it stands.",
};
const LENGTH = new Set(["max_completion_tokens", "max_tokens"]);

export class Problem {
  constructor(page) {
    this.why = element("span");
    this.run = element("code");
    this.retry = element("button", { type: "button", className: "button" }, "Retry");
    this.goOn = element("button", { type: "button", className: "button" }, "Continue");
    this.element = element("div", { className: "remedy", hidden: true }, this.why, this.run, this.goOn, this.retry);
    this.retry.addEventListener("click", () => this.once(() => page.delivery.retry(this.turn.run)));
    this.goOn.addEventListener("click", () => this.once(() => page.delivery.goOn(this.turn.run)));
  }

  /** Buttons only under the newest answer: what they do happens at the end of the thread. */
  update(turn, model, isLast) {
    this.turn = turn;
    const { run } = turn;
    this.element.hidden = !run || !TERMINAL.has(run.status) || run.status === "completed";
    if (this.element.hidden) return;
    const mendable = isLast && run.thread_id === model.id && !model.gone;
    setText(this.why, REASONS[run.last_error?.code] ?? "");
    setText(this.run, run.id);
    this.retry.hidden = !mendable;
    this.goOn.hidden = !mendable || !LENGTH.has(run.incomplete_details?.reason);
  }

  async once(action) {
    this.retry.disabled = true;
    this.goOn.disabled = true;
    await action();
    this.retry.disabled = false;
    this.goOn.disabled = false;
  }
}
