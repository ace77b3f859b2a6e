// All that is known of an answer's run, on a sheet beside its grey line (usage.js); fetched when somebody asks for it.

import { element } from "./nodes.js";
import { number } from "./usage.js";

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

/** Above `line` where there is room, else below, and never outside the window. */
function place(sheet, line) {
  const { top: from, bottom, left } = line.getBoundingClientRect();
  const { height, width } = sheet.getBoundingClientRect();
  const top = from - height - 8 > 8 ? from - height - 8 : Math.min(bottom + 8, innerHeight - height - 8);
  sheet.style.top = `${Math.max(8, top)}px`;
  sheet.style.left = `${Math.max(8, Math.min(left, innerWidth - width - 8))}px`;
}

/** `line` has the focus again when the sheet is closed. */
export function openAbout(line, run, times, page) {
  const list = facts(run, times, page).map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)));
  const title = element("h2", {}, "About this answer");
  const sheet = element("div", { className: "about", popover: "auto", role: "dialog", tabIndex: -1, "aria-label": "About this answer" });
  sheet.append(title, element("dl", {}, ...list));
  sheet.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation()); // it closes this only
  sheet.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    sheet.remove();
    line.focus({ preventScroll: true });
  });
  document.body.append(sheet);
  sheet.showPopover();
  place(sheet, line);
  sheet.focus({ preventScroll: true });
}
