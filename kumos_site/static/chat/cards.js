// Tool calls as cards: one slim row with name, main argument, clock and state; unfolded, what went in and what came out.
// The calls of one step stand together. What is in a card is the business of bodies.js, its words of tools.js.

import { Asking } from "./asking.js";
import { Bounded } from "./bounded.js";
import { CodeBody, FunctionBody, SearchBody } from "./bodies.js";
import { drawing, element, setText } from "./nodes.js";
import { mainArgument, signOf, titleOf, took } from "./tools.js";

const BODIES = { file_search: SearchBody, code_interpreter: CodeBody };

/** Where the admin shows a run; null for those who may not go there. */
function adminAddress(runId) {
  const link = document.querySelector(".account > a"); // the shell gives it to staff alone
  return link ? `${link.getAttribute("href")}runs/run/${encodeURIComponent(runId)}/change/` : null;
}

export class Card {
  /** `page` has pictures and passages. */
  constructor(call, step, page) {
    this.name = element("span", { className: "card-name" }, titleOf(call));
    this.main = element("span", { className: "card-main" });
    this.clock = element("span", { className: "card-clock" });
    this.state = element("span", { className: "card-state" });
    const sign = drawing("card-sign", signOf(call));
    const summary = element("summary", {}, sign, this.name, this.main, this.state, this.clock);
    this.body = new (BODIES[call.type] ?? FunctionBody)(page);
    this.inner = element("div", { className: "card-body" }, this.body.element);
    this.element = element("details", { className: "card" }, summary, this.inner);
    this.element.addEventListener("toggle", () => this.element.open && this.body.opened?.());
    this.foot(step);
  }

  foot(step) {
    const address = adminAddress(step.run_id);
    if (address) this.inner.append(element("p", { className: "card-foot" }, element("a", { href: address }, "View in admin")));
  }

  update(call, step, waiting, form) {
    const status = waiting ? "waiting" : step.status;
    this.element.dataset.status = status;
    setText(this.name, titleOf(call));
    this.body.update(call, step);
    setText(this.main, mainArgument(call, this.body.printer));
    setText(this.state, status === "completed" ? "" : status === "waiting" ? "waits for an answer" : status.replace("_", " "));
    this.state.classList.toggle("hidden", status === "in_progress");
    if (step.last_error) this.fail(step.last_error.message);
    this.ask(call, waiting, form);
  }

  fail(message) {
    if (!this.error) {
      this.error = new Bounded({ label: "Error" });
      this.inner.insertBefore(element("div", { className: "card-error" }, element("p", { className: "card-label" }, "Error"), this.error.element), this.body.element.nextSibling);
    }
    this.error.update(message);
  }

  /** A box for the output of a call the run waits for; it belongs to the one form of the run, which sends them all. */
  ask(call, waiting, form) {
    if (!waiting) {
      this.asking?.forget();
      this.asking = null;
    } else if (!this.asking) {
      this.asking = new Asking(call, form);
      this.inner.insertBefore(this.asking.element, this.body.element.nextSibling);
      this.element.open = true;
    }
  }

  tick(step, now) {
    setText(this.clock, took(step, now));
  }
}

/** The calls that a model made in one turn. */
export class Cards {
  constructor(page) {
    this.page = page;
    this.cards = [];
    this.element = element("div", { className: "calls" });
  }

  /** `isWaiting(call)`: the run waits for its output, and `form` will bring it. */
  update(step, isWaiting, form) {
    step.step_details.tool_calls.forEach((call, index) => {
      if (!this.cards[index]) {
        this.cards[index] = new Card(call, step, this.page);
        this.element.append(this.cards[index].element);
      }
      this.cards[index].update(call, step, isWaiting(call), form);
    });
    if (this.cards.length < 2) return;
    this.element.setAttribute("role", "group");
    this.element.setAttribute("aria-label", `${this.cards.length} tool calls at once`);
  }

  tick(step, now) {
    for (const card of this.cards) card.tick(step, now);
  }
}
