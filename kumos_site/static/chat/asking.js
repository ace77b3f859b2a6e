// The box for the output of a function call that a run waits for. What was typed survives a reload; under it stands
// what will be sent, because a broken bracket is easier to see here than in the model's answer.

import { element, setText } from "./nodes.js";
import { titleOf } from "./tools.js";

const DRAFT = "kumos.output.";

export function inWords(text) {
  const trimmed = text.trim();
  if (trimmed === "") return "An empty output will be sent.";
  if (!/^[[{]/.test(trimmed)) return "Will be sent as text.";
  try {
    const value = JSON.parse(trimmed);
    const count = Object.keys(value).length;
    const kind = Array.isArray(value) ? "list" : "object";
    return `Will be sent as JSON: ${kind === "list" ? "a list" : "an object"} with ${count} ${count === 1 ? "entry" : "entries"}.`;
  } catch (error) {
    return `This is no valid JSON and will be sent as text. ${error.message}.`;
  }
}

export class Asking {
  constructor(call, form) {
    this.key = DRAFT + call.id;
    const id = `output-${call.id}`;
    this.words = element("p", { className: "quiet", id: `${id}-words` });
    this.area = element("textarea", { id, rows: 2, form: form.id, name: call.id, "aria-describedby": this.words.id });
    this.area.value = sessionStorage.getItem(this.key) ?? "";
    this.area.addEventListener("input", () => this.changed());
    const label = element("label", { for: id }, `Output of ${titleOf(call)}`);
    this.element = element("div", { className: "card-ask" }, label, this.area, this.words);
    setText(this.words, inWords(this.area.value));
  }

  changed() {
    sessionStorage.setItem(this.key, this.area.value);
    const words = inWords(this.area.value);
    setText(this.words, words);
    this.words.dataset.doubtful = String(words.startsWith("This is no"));
  }

  /** The run goes on: here, in another tab or through the API. */
  forget() {
    sessionStorage.removeItem(this.key);
    this.element.remove();
  }
}
