// The grey line under an answer: how long, how much, by which model; and all the rest of its run when asked.

import { element, setText } from "./nodes.js";

const number = new Intl.NumberFormat("en");

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

function truncation({ truncation_strategy: strategy }) {
  if (strategy?.type !== "last_messages") return strategy?.type ?? "";
  return `the last ${strategy.last_messages} messages`;
}

/** Name → value of everything there is to know; empty values are left out. */
function facts(run, times, page) {
  const usage = run.usage ?? {};
  const count = (value) => (value === undefined || value === null ? "" : number.format(value));
  return Object.entries({
    "To first word": times.first,
    "In all": times.whole,
    "Prompt tokens": count(usage.prompt_tokens),
    "of them cached": count(usage.prompt_token_details?.cached_tokens || null),
    "Completion tokens": count(usage.completion_tokens),
    "of them reasoning": count(usage.completion_tokens_details?.reasoning_tokens || null),
    Model: run.model,
    Assistant: page.assistantName(run.assistant_id) || run.assistant_id,
    Temperature: run.temperature === null ? "" : String(run.temperature),
    "Top p": run.top_p === null ? "" : String(run.top_p),
    Truncation: truncation(run),
    "At most in the prompt": count(run.max_prompt_tokens),
    "At most in the answer": count(run.max_completion_tokens),
    Asked: new Date(run.created_at * 1000).toLocaleString(),
    Run: run.id,
    Thread: run.thread_id,
    Request: page.timing.requests.get(run.id) ?? "",
  }).filter(([, value]) => value);
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

  open() {
    const rows = facts(this.run, this.page.timing.of(this.run, this.messages), this.page);
    const list = rows.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
    const title = element("h2", {}, "About this answer");
    const sheet = element("div", { className: "about", popover: "auto", role: "dialog", tabIndex: -1, "aria-label": "About this answer" });
    sheet.append(title, element("dl", {}, ...list));
    sheet.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation()); // it closes this only
    sheet.addEventListener("toggle", (event) => {
      if (event.newState !== "closed") return;
      sheet.remove();
      this.element.focus({ preventScroll: true });
    });
    document.body.append(sheet);
    sheet.showPopover();
    this.place(sheet);
    sheet.focus({ preventScroll: true });
  }

  /** Above the line where there is room, else below, and never outside the window. */
  place(sheet) {
    const line = this.element.getBoundingClientRect();
    const { height, width } = sheet.getBoundingClientRect();
    const top = line.top - height - 8 > 8 ? line.top - height - 8 : Math.min(line.bottom + 8, innerHeight - height - 8);
    sheet.style.top = `${Math.max(8, top)}px`;
    sheet.style.left = `${Math.max(8, Math.min(line.left, innerWidth - width - 8))}px`;
  }
}
