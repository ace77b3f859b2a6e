// The functions of an assistant, each in an editor of its own: examples to begin with, and a check that says what is wrong
// and where, before anything is saved. What is posted are the boxes as they stand; the server puts them together.

import { ask } from "./requests.js";

const object = (properties, required) => ({ type: "object", properties, required });
const EXAMPLES = {
  "Look something up": {
    name: "get_weather",
    description: "Current weather of a city.",
    parameters: object(
      {
        city: { type: "string", description: "Its name, for example Paris." },
        unit: { type: "string", enum: ["celsius", "fahrenheit"] },
      },
      ["city"],
    ),
  },
  "Do something that may be refused": {
    name: "refund_order",
    description: "Pays an order back. Ask the user first; the answer says whether it was done.",
    parameters: object(
      { order: { type: "string", pattern: "^[0-9]{6}$" }, amount: { type: "number", exclusiveMinimum: 0 }, reason: { type: "string" } },
      ["order", "amount"],
    ),
  },
  "A list of things": {
    name: "add_to_cart",
    description: "Puts articles into the cart.",
    parameters: object(
      { items: { type: "array", minItems: 1, items: object({ article: { type: "string" }, count: { type: "integer", minimum: 1 } }, ["article"]) } },
      ["items"],
    ),
  },
  "Without arguments": { name: "current_time", description: "The time in the user's zone.", parameters: { type: "object", properties: {} } },
};

function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function button(words, run) {
  const made = node("button", { type: "button", className: "button" }, words);
  made.addEventListener("click", run);
  return made;
}

class Editor {
  constructor(area, list) {
    Object.assign(this, { area, list });
    this.title = node("strong");
    this.faults = node("ul");
    const head = node("div", { className: "kumos-function-head" }, this.title);
    head.append(button("Tidy", () => this.tidy()), button("Remove", () => this.remove()));
    this.element = node("div", { className: "kumos-function" });
    area.replaceWith(this.element);
    this.element.append(head, area, this.faults);
    area.addEventListener("input", () => {
      this.faults.replaceChildren();
      this.name();
    });
    this.name();
  }

  name() {
    let called = "";
    try {
      const value = JSON.parse(this.area.value);
      called = value?.name ?? value?.function?.name ?? "";
    } catch {
      // half written
    }
    const place = this.list.editors.indexOf(this) + 1;
    this.title.textContent = typeof called === "string" && called ? called : `Function ${place || this.list.editors.length + 1}`;
    this.area.setAttribute("aria-label", `${this.title.textContent}, as JSON`);
    for (const tool of this.element.querySelectorAll(".kumos-function-head button")) {
      tool.setAttribute("aria-label", `${tool.textContent} ${this.title.textContent}`);
    }
  }

  tidy() {
    try {
      this.put(JSON.stringify(JSON.parse(this.area.value), null, 2));
    } catch {
      this.list.check();
    }
  }

  put(text) {
    this.area.value = text;
    this.area.dispatchEvent(new Event("input", { bubbles: true }));
  }

  remove() {
    this.element.remove();
    this.list.removed(this);
  }

  show({ names, faults }) {
    const fine = faults.length === 0 && names.length > 0 ? [node("li", { className: "kumos-fine" }, `✓ ${names.join(", ")}: nothing is wrong with it.`)] : [];
    this.faults.replaceChildren(...fine, ...faults.map((fault) => node("li", {}, this.fault(fault))));
    this.area.setAttribute("aria-invalid", String(faults.length > 0));
  }

  fault({ message, line, column }) {
    if (!line) return message;
    return Object.assign(button(`${message} at line ${line}, column ${column}`, () => this.go(line, column)), { className: "" });
  }

  go(line, column) {
    const before = this.area.value.split("\n").slice(0, line - 1).join("\n").length;
    const at = before + (line > 1 ? 1 : 0) + column - 1;
    this.area.focus();
    this.area.setSelectionRange(at, at + 1);
  }
}

export class Functions {
  constructor(box, address) {
    Object.assign(this, { box, address, editors: [] });
    for (const area of [...box.querySelectorAll("textarea")]) {
      if (area.value.trim()) this.take(area);
      else this.blank = area; // the last one, there for people without scripts
    }
    this.blank.remove();
    this.says = node("p", { role: "status" });
    const examples = node("select", {}, new Option("Insert an example…", ""), ...Object.keys(EXAMPLES).map((name) => new Option(name)));
    examples.setAttribute("aria-label", "Insert an example of a function");
    const known = JSON.parse(document.getElementById("server-functions")?.dataset.functions ?? "[]"); // what the server carries out
    if (known.length > 0) {
      const options = known.map(({ name }, place) => new Option(name, `server ${place}`));
      examples.append(node("optgroup", { label: "Carried out by this server" }, ...options));
    }
    examples.addEventListener("change", () => {
      const place = examples.value.match(/^server (\d+)$/);
      this.add(JSON.stringify(place ? known[place[1]] : EXAMPLES[examples.value], null, 2));
      examples.value = "";
    });
    this.tools = node("div", { className: "kumos-function-tools" });
    this.tools.append(button("Add a function", () => this.add("")), examples, button("Check", () => this.check()), this.says);
    box.append(this.tools);
    document.querySelector("label[for=id_functions]")?.removeAttribute("for"); // each box has its own
    this.say();
  }

  take(area) {
    const editor = new Editor(area, this);
    this.editors.push(editor);
    return editor;
  }

  add(text) {
    const area = this.blank.cloneNode();
    area.id = `id_functions_${crypto.getRandomValues(new Uint32Array(1))[0]}`;
    area.removeAttribute("aria-describedby");
    if (this.tools) this.tools.before(area);
    const editor = this.take(area);
    editor.put(text);
    area.focus();
    this.say();
  }

  removed(editor) {
    this.editors = this.editors.filter((one) => one !== editor);
    this.editors.forEach((one) => one.name());
    this.say();
    this.tools.querySelector("button").focus();
  }

  say(words = this.editors.length ? "" : "No functions yet.") {
    this.says.textContent = words;
  }

  async check() {
    const body = new FormData();
    for (const { area } of this.editors) body.append("functions", area.value);
    if (this.editors.length === 0) return this.say();
    try {
      const { functions } = await ask(this.address, { body });
      functions.forEach((verdict, index) => this.editors[index]?.show(verdict));
      const bad = functions.filter(({ faults }) => faults.length).length;
      this.say(bad ? `${bad} of ${functions.length} cannot be saved so.` : "All of them can be saved.");
    } catch (failure) {
      this.say(failure.message);
    }
  }
}
