// The tab "Context": what a run worked with, as the run object of the API says, and how much of the conversation came
// before it. Nothing here is worked out beyond counting.

import { curl, Copyable } from "./eventdetail.js";
import { element } from "./nodes.js";

const PLAIN = {
  model: "Model",
  temperature: "Temperature",
  top_p: "Top p",
  max_prompt_tokens: "Most tokens of the prompt",
  max_completion_tokens: "Most tokens of the answer",
  parallel_tool_calls: "Parallel tool calls",
  tool_choice: "Tool choice",
  response_format: "Response format",
  truncation_strategy: "Truncation",
};

function inWords(value) {
  if (value === null || value === undefined) return "not set";
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

function usageInWords(usage) {
  if (!usage) return "known when the run is over";
  return `${usage.prompt_tokens} prompt + ${usage.completion_tokens} completion = ${usage.total_tokens} tokens`;
}

/** How many messages stood before a run's answer; "at least" where older ones were not loaded. */
function messagesBefore(model, runId) {
  const count = model.before(runId).listed.length;
  return model.earlier ? `at least ${count}` : String(count);
}

export class Context {
  constructor({ assistantName }) {
    this.assistantName = assistantName;
    this.picker = element("select", { id: "context-run" });
    this.picker.addEventListener("change", () => this.draw());
    this.body = element("div", { className: "context-body" });
    const label = element("label", { for: "context-run" }, "Run");
    this.head = element("div", { className: "context-head" }, label, this.picker);
    this.element = element("div", { className: "context" }, this.head, this.body);
  }

  show(model) {
    this.model = model;
    this.drawn = "";
    this.draw();
  }

  draw() {
    const runs = [...this.model.runs.values()];
    const known = [...this.picker.options].map((option) => option.value).join();
    if (known !== runs.map((run) => run.id).join()) this.list(runs);
    const run = this.model.runs.get(this.picker.value);
    this.head.hidden = !run;
    const state = run ? `${run.id} ${run.version} ${this.model.listed.length} ${this.assistantName(run.assistant_id)}` : "";
    if (this.drawn === state && state) return;
    this.drawn = state;
    if (run) this.body.replaceChildren(...this.of(run));
    else this.body.replaceChildren(element("p", { className: "quiet" }, "Nothing ran yet."));
  }

  list(runs) {
    const chosen = this.picker.value;
    const followed = chosen === this.picker.options[0]?.value || !this.model.runs.has(chosen);
    const options = runs.map((run, index) => element("option", { value: run.id }, `Run ${index + 1} · ${run.status.replace("_", " ")}`));
    this.picker.replaceChildren(...options.reverse());
    if (!followed) this.picker.value = chosen;
  }

  of(run) {
    const facts = [
      ["Assistant", `${this.assistantName(run.assistant_id) || "deleted"} (${run.assistant_id})`],
      ["Messages before it", messagesBefore(this.model, run.id)],
      ["Usage", usageInWords(run.usage)],
      ...Object.entries(PLAIN).map(([field, words]) => [words, inWords(run[field])]),
      ["Metadata", inWords(run.metadata)],
    ];
    const list = facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
    const tools = new Copyable(run.tools.length === 1 ? "1 tool" : `${run.tools.length} tools`);
    tools.show(JSON.stringify(run.tools, null, 2));
    const instructions = new Copyable("Instructions");
    instructions.show(run.instructions || "None.");
    const request = new Copyable("Ask for this run");
    request.show(curl(`/threads/${this.model.id}/runs/${run.id}`));
    return [element("dl", { className: "facts" }, ...list), instructions.element, tools.element, request.element];
  }
}
