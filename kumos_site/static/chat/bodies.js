// What stands in an unfolded tool card, one body for each kind of tool: functions (the client's, the server's and those
// of MCP servers), code, file search. All of it is other people's text and goes in as text.

import { Bounded } from "./bounded.js";
import { defused } from "./characters.js";
import { Code } from "./code.js";
import { fileChip } from "./enclosures.js";
import { harmless } from "./files.js";
import { JsonPrinter, laidOut } from "./json.js";
import { element, setText } from "./nodes.js";
import { argumentsOf, found } from "./tools.js";

const CODE_SHOWN = 8_000; // characters
const NO_CITES = { cites: { plain: (text) => text } };

/** A body of headed blocks that come as there is something to show. */
class Body {
  constructor(page) {
    this.page = page;
    this.element = element("div", {});
    this.blocks = new Map();
  }

  block(title, text, options = {}) {
    if (!this.blocks.has(title)) {
      const bounded = new Bounded({ label: title, ...options });
      this.blocks.set(title, bounded);
      this.element.append(element("p", { className: "card-label" }, title), bounded.element);
    }
    this.blocks.get(title).update(text);
    return this.blocks.get(title);
  }
}

export class FunctionBody extends Body {
  constructor(page) {
    super(page);
    this.printer = new JsonPrinter();
  }

  update(call) {
    const raw = argumentsOf(call);
    if (!this.printer.continues(raw)) this.printer = new JsonPrinter(); // another worker wrote them anew
    this.block("Arguments", this.printer.update(raw) || "{}");
    const output = call.function?.output ?? call[call.type]?.output;
    if (output !== null && output !== undefined) this.block("Output", laidOut(String(output)) || "(empty)");
    const error = call[call.type]?.error;
    if (error) this.block("Error", typeof error === "string" ? error : JSON.stringify(error, null, 2));
  }
}

export class CodeBody extends Body {
  constructor(page) {
    super(page);
    this.results = new Map();
  }

  update(call, step) {
    this.call = call;
    this.step = step;
    const { input, outputs } = call.code_interpreter ?? {};
    this.code(input ?? "", step.status === "in_progress");
    const logs = (outputs ?? []).filter((output) => output?.type === "logs").map((output) => output.logs);
    if (logs.length) this.block("Output", logs.join(""), { tail: step.status === "in_progress" });
    (outputs ?? []).forEach((output, index) => {
      if (!output || output.type === "logs" || this.results.has(index)) return;
      const fileId = output.image?.file_id ?? output.file?.file_id ?? output.file_id;
      if (!fileId) return;
      const node = output.type === "image" ? this.page.pictures.ofFile(fileId, "Picture made by code") : fileChip(fileId);
      this.results.set(index, node);
      this.element.append(node);
    });
  }

  /** In colours, as in answers; what a model writes without end is shown to its end only for those who ask. */
  code(input, open) {
    const text = this.whole ? input : input.slice(0, CODE_SHOWN);
    const node = { code: defused(text), language: "python", open };
    if (this.view) {
      this.view.update(node, NO_CITES);
    } else {
      this.view = new Code(node, NO_CITES);
      this.rest = element("button", { type: "button", className: "more show-all" }, "Show all of the code");
      this.rest.addEventListener("click", () => {
        this.whole = true;
        this.update(this.call, this.step);
      });
      this.element.append(element("p", { className: "card-label" }, "Code"), element("div", { className: "prose" }, this.view.dom), this.rest);
    }
    this.rest.hidden = text.length === input.length;
  }
}

export class SearchBody extends Body {
  constructor(page) {
    super(page);
    this.words = element("p", { className: "quiet" });
    this.list = element("ol", { className: "results" });
    this.element.append(this.words, this.list);
  }

  update(call, step) {
    this.call = call;
    this.step = step;
    const results = call.file_search?.results ?? [];
    if (step.status === "in_progress") setText(this.words, "Searching…");
    else setText(this.words, results.length ? `${found(call)}, best first` : "Nothing was found.");
    for (const result of results.slice(this.list.children.length)) this.list.append(this.row(result, this.list.children.length));
  }

  /** The card was opened: what was searched for is asked of the server, because the stream does not carry it. */
  async opened() {
    if (this.step.status === "in_progress" || this.query) return;
    const { queries } = await this.page.passages.of(this.step.run_id).catch(() => ({ queries: new Map() }));
    const query = queries.get(this.call.id);
    if (!query || this.query) return;
    this.query = element("p", { className: "query" }, element("span", { className: "quiet" }, "Searched for "), harmless(query, 500));
    this.element.prepend(this.query);
  }

  row(result, index) {
    const name = element("span", { className: "result-name" }, harmless(result.file_name || result.file_id));
    const score = element("span", { className: "score" }, result.score.toFixed(2));
    const summary = element("summary", {}, name, element("span", { className: "hidden" }, "score"), score);
    const text = element("blockquote", {}, "…");
    const details = element("details", { className: "result" }, summary, text);
    details.addEventListener("toggle", () => details.open && this.unfold(index, text), { once: true });
    return element("li", {}, details);
  }

  async unfold(index, host) {
    try {
      const { calls } = await this.page.passages.of(this.step.run_id);
      setText(host, defused(calls.get(this.call.id)?.[index]?.text ?? "This passage is no longer kept."));
    } catch (failure) {
      setText(host, `The passage cannot be shown: ${failure.message}`);
    }
  }
}
