// The grey line under an answer: how long, how much, by which model. The rest of its run is in about.js.

import { element, setText } from "./nodes.js";

export const number = new Intl.NumberFormat("en");

/** What the line says; what is not known is left out. */
function inShort(run, times) {
  const tokens = run.usage?.total_tokens;
  return [
    times.first && `${times.first} to first word`,
    times.whole,
    tokens ? `${number.format(tokens)} tokens` : "",
    run.model,
  ].filter(Boolean).join(" · ");
}

export class Usage {
  constructor(page) {
    this.page = page;
    this.element = element("button", { type: "button", className: "usage", hidden: true, title: "About this answer" });
    this.element.addEventListener("click", () => this.open());
  }

  /** `run` is null while it is not over, or where nobody knows it any more. */
  update(run, messages) {
    this.run = run;
    this.messages = messages;
    this.element.hidden = run === null;
    setText(this.element, run ? inShort(run, this.page.timing.of(run, messages)) : "");
  }

  async open() {
    const { openAbout } = await import("./about.js");
    openAbout(this.element, this.run, this.page.timing.of(this.run, this.messages), this.page);
  }
}
