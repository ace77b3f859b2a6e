// Files that are dropped on the form: each is uploaded at once and put where the form says, into the vector store that is
// searched or beside the code. A store that is made for it is named in the form, and kept with the assistant when it is saved.

import { Refusal, ask, send } from "./requests.js";

const POLL_MS = 1_500;
const WORDS = { in_progress: "being read…", completed: "ready", failed: "failed", cancelled: "stopped" };

function node(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

class Drop {
  constructor({ use, words, after, onFiles }) {
    const input = node("input", { type: "file", multiple: true, id: `drop-${use}` });
    const label = node("label", { htmlFor: input.id }, words);
    this.list = node("ul");
    this.says = node("p", { role: "status" });
    this.element = node("div", { className: "kumos-drop" }, node("p", {}, label), input, this.says, this.list);
    after.append(this.element);
    input.addEventListener("change", () => {
      onFiles([...input.files]);
      input.value = "";
    });
    this.element.addEventListener("dragover", (event) => {
      if (!event.dataTransfer.types.includes("Files")) return;
      event.preventDefault();
      this.element.classList.add("kumos-drop-over");
    });
    this.element.addEventListener("dragleave", () => this.element.classList.remove("kumos-drop-over"));
    this.element.addEventListener("drop", (event) => {
      event.preventDefault();
      this.element.classList.remove("kumos-drop-over");
      onFiles([...event.dataTransfer.files]);
    });
  }
}

class Row {
  constructor(name) {
    this.bar = node("progress", { max: 1, value: 0 });
    this.bar.setAttribute("aria-label", `Upload of ${name}`);
    this.state = node("span", { className: "kumos-badge" }, "waiting…");
    this.element = node("li", {}, node("span", {}, name), this.bar, this.state);
  }

  say(words, kind = "") {
    this.state.textContent = words;
    this.state.className = `kumos-badge kumos-${kind}`;
  }

  sent() {
    this.bar.remove();
  }
}

export class Files {
  constructor(form, base) {
    Object.assign(this, { form, base });
    this.rows = new Map(); // file id → its row in the list of the store
    this.queue = Promise.resolve(); // one after the other: the first may make the store for the rest
    const row = (name) => form.querySelector(`.form-row.field-${name} > .flex-container`);
    this.search = new Drop({
      use: "search",
      words: "Drop files here to search in them, or choose some:",
      after: row("vector_store"),
      onFiles: (files) => this.take(files, "search"),
    });
    this.code = new Drop({
      use: "code",
      words: "Drop files here for the code, or choose some:",
      after: row("code_files"),
      onFiles: (files) => this.take(files, "code"),
    });
    this.field("vector_store").addEventListener("change", () => this.showStore());
    this.showStore();
  }

  field(name) {
    return this.form.elements[name];
  }

  take(files, use) {
    for (const file of files) {
      const row = new Row(file.name);
      this[use].list.prepend(row.element);
      this.queue = this.queue.then(() => this.upload(file, use, row));
    }
  }

  async upload(file, use, row) {
    const body = new FormData();
    const store = this.field("vector_store").value.trim();
    const name = this.field("name").value.trim();
    for (const [key, value] of Object.entries({ project: this.field("project").value, use, store, name: name && `Files of ${name}` })) body.append(key, value);
    body.append("file", file);
    row.say("uploading…");
    try {
      const made = await send(`${this.base}upload/`, body, (part) => (row.bar.value = part));
      row.sent();
      if (use === "code") this.forCode(made.file, row);
      else this.inStore(made, row);
    } catch (failure) {
      if (!(failure instanceof Refusal)) throw failure;
      row.sent();
      row.say(failure.message, "failed");
    }
  }

  forCode(id, row) {
    const ids = this.field("code_files");
    ids.value = [...ids.value.split(/\s+/).filter(Boolean), id].join("\n");
    row.say("with the assistant when it is saved", "completed");
  }

  inStore({ file, store }, row) {
    if (this.field("vector_store").value.trim() !== store) {
      this.field("vector_store").value = store;
      this.search.says.textContent = "A vector store was made for them. It is the assistant's when it is saved.";
    }
    this.rows.set(file, row);
    row.say(WORDS.in_progress, "in_progress");
    this.look();
  }

  /** Another store: what is in it, the newest first. */
  showStore() {
    this.rows.clear();
    this.search.list.replaceChildren();
    this.search.says.textContent = "";
    if (this.field("vector_store").value.trim()) this.look();
  }

  async look() {
    clearTimeout(this.timer);
    const store = this.field("vector_store").value.trim();
    const query = new URLSearchParams({ store, project: this.field("project").value });
    const { files, more } = await ask(`${this.base}uploads/?${query}`).catch(() => ({ files: [], more: false }));
    if (this.field("vector_store").value.trim() !== store) return;
    for (const { file, name, status, error } of files) {
      if (!this.rows.has(file)) {
        const row = new Row(name);
        row.sent();
        this.search.list.append(row.element);
        this.rows.set(file, row);
      }
      this.rows.get(file).say(error || (WORDS[status] ?? status), status);
    }
    if (more) this.search.says.textContent = `The newest ${files.length} files of the store:`;
    if (files.some(({ status }) => status === "in_progress")) this.timer = setTimeout(() => this.look(), POLL_MS);
  }
}
