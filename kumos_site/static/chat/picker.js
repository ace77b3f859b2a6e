// Which assistant answers: the picker in the head, and its face and starters on the empty page.

import { get } from "./api.js";
import { element, setText } from "./nodes.js";

const CHOICE = "kumos.assistant";
const STARTERS = 4;

function startersOf(assistant) {
  try {
    const starters = JSON.parse(assistant.metadata.starters);
    return Array.isArray(starters) ? starters.filter((starter) => typeof starter === "string").slice(0, STARTERS) : [];
  } catch {
    return [];
  }
}

export class Picker {
  /** `nodes` are select, description, title, text and starters; `onStart(question)` asks a starter. */
  constructor({ onStart, ...nodes }) {
    Object.assign(this, { onStart, ...nodes });
    this.assistants = new Map();
    this.select.addEventListener("change", () => {
      localStorage.setItem(CHOICE, this.select.value);
      this.draw();
    });
  }

  async load() {
    const page = await get("/assistants?limit=100");
    this.assistants = new Map(page.data.map((assistant) => [assistant.id, assistant]));
    const options = [...this.assistants.values()].map((one) => element("option", { value: one.id }, one.name || one.id));
    this.select.replaceChildren(...options);
    const asked = new URLSearchParams(location.search).get("assistant"); // the admin's "Open in chat"
    const choice = this.assistants.get(asked ?? localStorage.getItem(CHOICE));
    // A newcomer meets the oldest assistant that has questions to start with: the list is newest first.
    const first = choice ?? [...this.assistants.values()].findLast((one) => startersOf(one).length > 0);
    if (first) this.select.value = first.id;
    this.draw();
  }

  /** The id of the assistant that is picked; empty where there is none. */
  get choice() {
    return this.select.value;
  }

  /** The assistant that is picked, as the API describes it. */
  get picked() {
    return this.assistants.get(this.choice);
  }

  has(id) {
    return this.assistants.has(id);
  }

  nameOf(id) {
    return this.assistants.get(id)?.name ?? "";
  }

  pick(id) {
    this.select.value = id;
    this.draw();
  }

  draw() {
    const assistant = this.assistants.get(this.choice);
    setText(this.description, assistant?.description ?? "");
    setText(this.title, assistant?.name ?? "Kumos");
    setText(this.text, assistant ? (assistant.description ?? "Ask anything.") : "There is no assistant yet.");
    const buttons = (assistant ? startersOf(assistant) : []).map((starter) => {
      const button = element("button", { type: "button", className: "starter" }, starter);
      button.addEventListener("click", () => this.onStart(starter));
      return element("li", {}, button);
    });
    this.starters.replaceChildren(...buttons);
  }
}
