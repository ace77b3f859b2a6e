// Tool calls as cards: name, main argument, clock, and what came of it; a box for the output where a run waits for one.

import { drawing, element, setText } from "./nodes.js";
import { nameOf } from "./thread.js";

const SIGNS = {
  file_search: "M7 2.5a4.5 4.5 0 1 1 0 9a4.5 4.5 0 1 1 0-9M10.3 10.3 14 14",
  code_interpreter: "M3 4.5 6.5 8 3 11.5M8.5 12H13",
  function: "M12 3.2c-2.6-1-3.800.1-4.1 2.3L6.900 11.2c-.3 1.900-1.400 2.500-3.200 1.800M5.200 6.700h5.400",
};
const TITLES = { file_search: "Search files", code_interpreter: "Run code" };

function parsed(json) {
  try {
    return JSON.parse(json);
  } catch {
    return null; // still arriving, or not JSON at all
  }
}

/** The one thing that tells a call from another of the same tool. */
function mainArgument(call) {
  if (call.type === "file_search") return found(call);
  if (call.type !== "function") return "";
  const values = Object.values(parsed(call.function.arguments) ?? {});
  const first = values.find((value) => typeof value !== "object") ?? "";
  return String(first).slice(0, 80);
}

function found(call) {
  const results = call.file_search?.results ?? [];
  if (results.length === 0) return "";
  const files = new Set(results.map((result) => result.file_id)).size;
  const passages = results.length === 1 ? "1 passage" : `${results.length} passages`;
  return `${passages} in ${files === 1 ? "1 file" : `${files} files`}`;
}

function took(step, now) {
  const end = step.completed_at ?? step.failed_at ?? step.cancelled_at ?? step.expired_at ?? null;
  if (step.status !== "in_progress" && end === null) return "";
  const seconds = Math.max(0, (end ?? Math.floor(now / 1000)) - step.created_at);
  if (seconds < 1) return step.status === "in_progress" ? "" : "under 1 s";
  return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

function pretty(json) {
  const value = parsed(json);
  return value === null ? json : JSON.stringify(value, null, 2);
}

export class Card {
  constructor(call) {
    this.sign = drawing("card-sign", SIGNS[call.type] ?? SIGNS.function);
    this.name = element("span", { className: "card-name" });
    this.main = element("span", { className: "card-main" });
    this.clock = element("span", { className: "card-clock" });
    this.state = element("span", { className: "hidden" });
    this.body = element("div", { className: "card-body" });
    const summary = element("summary", {}, this.sign, this.name, this.main, this.clock, this.state);
    this.element = element("details", { className: "card" }, summary, this.body);
    this.sections = new Map();
  }

  update(call, step, waiting, form) {
    this.element.dataset.status = waiting ? "waiting" : step.status;
    setText(this.name, TITLES[call.type] ?? nameOf(call));
    setText(this.main, mainArgument(call));
    setText(this.state, waiting ? "waits for an answer" : step.status.replace("_", " "));
    if (call.type === "function") {
      this.block("Arguments", pretty(call.function.arguments || "{}"));
      if (call.function.output !== null && call.function.output !== undefined) this.block("Output", pretty(call.function.output));
    } else if (call.type === "code_interpreter") {
      this.block("Code", call.code_interpreter?.input ?? "");
      const logs = (call.code_interpreter?.outputs ?? []).map((output) => output.logs ?? "[image]");
      if (logs.length) this.block("Output", logs.join("\n"));
    } else if (call.type === "file_search") {
      this.results(call.file_search?.results ?? [], step.status);
    }
    if (step.last_error) this.block("Error", step.last_error.message);
    this.ask(call, waiting, form);
  }

  tick(step, now) {
    setText(this.clock, took(step, now));
  }

  block(title, text) {
    let pre = this.sections.get(title);
    if (!pre) {
      pre = element("pre", { tabIndex: 0 });
      this.sections.set(title, pre);
      this.body.append(element("h4", {}, title), pre);
    }
    setText(pre, text);
  }

  results(results, status) {
    if (status === "in_progress" || this.sections.has("Results")) return;
    const rows = results.map((result) =>
      element("li", {}, element("span", {}, result.file_name), element("span", { className: "score" }, result.score.toFixed(2))),
    );
    const list = rows.length ? element("ol", { className: "results" }, ...rows) : element("p", {}, "Nothing was found.");
    this.sections.set("Results", list);
    this.body.append(element("h4", {}, "Passages and scores"), list);
  }

  /** A box for the output of a call the run waits for; it belongs to the one form of the run, which sends them all. */
  ask(call, waiting, form) {
    if (!waiting) {
      this.box?.remove();
      this.box = null;
    } else if (!this.box) {
      const id = `output-${call.id}`;
      const area = element("textarea", { id, rows: 2, required: true, form: form.id, name: call.id });
      this.box = element("div", { className: "card-ask" }, element("label", { for: id }, `Output of ${nameOf(call)}`), area);
      this.body.append(this.box);
      this.element.open = true;
    }
  }
}
