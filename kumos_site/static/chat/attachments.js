// The files that go with the next message: chosen by button, dropped on the page or pasted; as chips above the box.
// A draft of them per thread survives a reload. The bytes are upload.js's business, the vector store shelf.js's.

import { FILES_MAX, LIMITS, ACCEPTED, harmless, refusalOf, sizeInWords, toolsFor } from "./files.js";
import { drawing, element, setText } from "./nodes.js";
import { Shelf } from "./shelf.js";
import { Upload } from "./upload.js";

const DRAFT = "kumos.files.";
const AT_ONCE = 3;
const SHEET = "M4 1.5h5.5l3 3v10H4zM9.5 1.5v3h3";

/** What goes with one message, as the API wants it. */
class Enclosed {
  constructor(uploads, resources) {
    this.uploads = uploads;
    this.resources = resources; // that its thread has to be given before
  }

  get names() {
    return this.uploads.map((upload) => upload.name);
  }

  /** The message's body; without files just what it always was. */
  message(text, assistant) {
    const pictures = this.uploads.filter((upload) => upload.picture);
    const others = this.uploads.filter((upload) => !upload.picture);
    const parts = pictures.map((upload) => ({ type: "image_file", image_file: { file_id: upload.fileId } }));
    const body = { role: "user", content: text };
    if (parts.length) body.content = text ? [{ type: "text", text }, ...parts] : parts;
    const tools = toolsFor(assistant);
    if (others.length) body.attachments = others.map((upload) => ({ file_id: upload.fileId, tools }));
    return body;
  }
}

class Chip {
  constructor(upload, { onRemove, onRetry }) {
    this.name = element("span", { className: "attachment-name", title: harmless(upload.name, 300) }, harmless(upload.name, 40));
    this.words = element("span", { className: "attachment-state" });
    this.bar = element("progress", { max: 1, "aria-label": `Upload of ${harmless(upload.name)}` });
    this.again = element("button", { type: "button", className: "attachment-again" }, "Retry");
    this.close = element("button", { type: "button", className: "icon attachment-remove" }, "✕");
    this.again.setAttribute("aria-label", `Retry ${harmless(upload.name)}`);
    this.again.addEventListener("click", onRetry);
    this.close.addEventListener("click", onRemove);
    const text = element("span", { className: "attachment-text" }, this.name, this.words, this.bar);
    this.element = element("li", { className: "attachment" }, this.sign(upload), text, this.again, this.close);
  }

  sign(upload) {
    if (!upload.picture || !upload.file) return drawing("attachment-sign", SHEET);
    this.address = URL.createObjectURL(upload.file);
    return element("img", { className: "attachment-sign", src: this.address, alt: "" });
  }

  update(upload) {
    this.element.dataset.phase = upload.phase;
    setText(this.words, this.inWords(upload));
    this.bar.hidden = upload.phase !== "sending";
    this.bar.value = upload.progress;
    this.again.hidden = !upload.canRetry;
    const over = upload.phase === "ready" || upload.phase === "failed";
    this.close.setAttribute("aria-label", `${over ? "Remove" : "Cancel"} ${harmless(upload.name)}`);
  }

  inWords({ phase, progress, size, reason }) {
    if (phase === "failed") return reason;
    if (phase === "indexing") return `${sizeInWords(size)} · indexing…`;
    if (phase === "waiting") return `${sizeInWords(size)} · waiting…`;
    // Whole tenths: a screen reader that follows the chip would read each percent.
    return phase === "sending" ? `${Math.floor(progress * 10) * 10} % of ${sizeInWords(size)}` : sizeInWords(size);
  }

  forget() {
    if (this.address) URL.revokeObjectURL(this.address);
    this.element.remove();
  }
}

/** The files of one thread's next message. It stays while another thread is open, so that uploads go on. */
class Draft {
  constructor(threadId) {
    this.key = DRAFT + threadId;
    this.uploads = [];
    const kept = JSON.parse(sessionStorage.getItem(this.key) ?? "{}");
    this.stored = kept.files ?? [];
    this.shelf = new Shelf(threadId, kept.store ?? "", () => this.keep());
  }

  keep() {
    const files = this.uploads.map(({ fileId, name, size }) => ({ fileId, name, size }));
    if (files.length) sessionStorage.setItem(this.key, JSON.stringify({ store: this.shelf.storeId, files }));
    else sessionStorage.removeItem(this.key);
  }

  settled() {
    return this.uploads.every((upload) => upload.phase === "ready" || upload.phase === "failed");
  }
}

export class Attachments {
  /** `page`: assistant(), the one that will be asked; said(words), for the status line; filesChanged(); threadId(). */
  constructor({ tray, button, input, limits, note, page }) {
    Object.assign(this, { tray, button, input, note, page });
    this.drafts = new Map();
    this.chips = new Map();
    this.enclosing = [];
    this.asked = false; // to send, once all files are there
    input.accept = ACCEPTED;
    setText(limits, LIMITS);
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...input.files]);
      input.value = ""; // the same file may be chosen again
    });
    this.show("");
  }

  get uploads() {
    return this.draft.uploads;
  }

  isEmpty() {
    return this.uploads.length === 0;
  }

  /** Another thread has other files; those of the one left go on. */
  show(threadId) {
    for (const chip of this.chips.values()) chip.forget();
    this.chips.clear();
    this.release();
    if (!this.drafts.has(threadId)) this.drafts.set(threadId, new Draft(threadId));
    this.draft = this.drafts.get(threadId);
    for (const stored of this.draft.stored.splice(0)) this.draft.uploads.push(this.upload({ stored }));
    this.uploads.forEach((upload) => this.enter(upload));
    this.next();
    this.draw();
  }

  upload(source) {
    const { draft } = this;
    return new Upload({
      ...source,
      shelve: (fileId, isOver) => draft.shelf.hold(fileId, isOver),
      onChange: (upload) => this.changed(upload, draft),
    });
  }

  // Adding and removing -------------------------------------------------------------------------------------------

  async add(files) {
    const room = FILES_MAX - this.uploads.length;
    const refused = files.length > room ? [`A message takes up to ${FILES_MAX} files.`] : [];
    const { draft } = this;
    for (const file of files.slice(0, Math.max(0, room))) {
      const reason = await refusalOf(file);
      if (this.draft !== draft) return; // another thread was opened meanwhile
      if (reason) {
        refused.push(`“${harmless(file.name)}” is not attached. ${reason}`);
        continue;
      }
      const upload = this.upload({ file });
      this.uploads.push(upload);
      this.enter(upload);
    }
    setText(this.note, refused.join(" "));
    if (refused.length) this.page.said(refused.join(" "));
    this.next();
    this.draw();
  }

  enter(upload) {
    const chip = new Chip(upload, { onRemove: () => this.remove(upload), onRetry: () => this.retry(upload) });
    this.chips.set(upload, chip);
    this.tray.append(chip.element);
    chip.update(upload);
  }

  remove(upload) {
    upload.remove();
    const index = this.uploads.indexOf(upload);
    this.drop([upload]);
    setText(this.note, "");
    const neighbour = this.uploads[index] ?? this.uploads.at(-1);
    (neighbour ? this.chips.get(neighbour).close : this.button).focus();
    this.page.said(`${harmless(upload.name)} removed.`);
    this.next();
  }

  retry(upload) {
    setText(this.note, "");
    upload.turn("waiting");
    this.chips.get(upload)?.close.focus(); // Retry goes; focus stays with the file
    this.next();
  }

  drop(uploads) {
    for (const upload of uploads) {
      this.chips.get(upload)?.forget();
      this.chips.delete(upload);
    }
    this.draft.uploads = this.uploads.filter((upload) => !uploads.includes(upload));
    this.draw();
  }

  /** Browsers have six connections for a host; three leave the page room to live. */
  next() {
    const busy = this.uploads.filter((upload) => upload.phase === "sending").length;
    const waiting = this.uploads.filter((upload) => upload.phase === "waiting");
    for (const upload of waiting.slice(0, Math.max(0, AT_ONCE - busy))) upload.start();
  }

  changed(upload, draft) {
    const moves = upload.phase === "sending" && upload.progress > 0;
    if (!moves) draft.keep();
    if (draft !== this.draft) return;
    this.chips.get(upload)?.update(upload);
    if (moves) return;
    if (upload.phase === "ready") this.page.said(`${harmless(upload.name)} is attached.`);
    if (upload.phase === "failed") this.page.said(`${harmless(upload.name)} could not be attached: ${upload.reason}`);
    if (upload.phase !== "waiting") this.next();
    this.draw();
    if (this.asked && draft.settled()) this.goOn();
  }

  draw() {
    this.tray.hidden = this.isEmpty();
    this.draft.keep();
    this.page.filesChanged();
  }

  // Sending -------------------------------------------------------------------------------------------------------

  goOn() {
    this.asked = false;
    const { resume } = this;
    this.resume = null;
    setText(this.note, "");
    resume();
  }

  /** Whether a message may consist of its files alone: a picture speaks for itself, a document is asked about. */
  speak() {
    return this.uploads.some((upload) => upload.picture);
  }

  /**
   * Why a message cannot be sent yet, in words, or "". Files on their way are waited for: `resume` is called once all
   * are there. Asked a second time it lets go of those that are merely being indexed.
   */
  hold(resume, text) {
    const failed = this.uploads.find((upload) => upload.phase === "failed");
    const names = (uploads) => uploads.map((upload) => harmless(upload.name)).join(", ");
    if (failed) return `${harmless(failed.name)} could not be attached. Try it again or remove it, then send.`;
    const documents = this.uploads.filter((upload) => !upload.picture);
    if (documents.length && toolsFor(this.page.assistant()).length === 0) {
      return `This assistant has no tool that reads files. Choose another one, or remove ${names(documents)}.`;
    }
    if (documents.length && !text && !this.speak()) return "Write what you want to know about it.";
    const open = this.uploads.filter((upload) => upload.phase !== "ready");
    if (open.length === 0 || (this.asked && open.every((upload) => upload.phase === "indexing"))) {
      this.asked = false;
      return "";
    }
    this.asked = true;
    this.resume = resume;
    const indexing = open.every((upload) => upload.phase === "indexing");
    return indexing
      ? `Sent as soon as ${names(open)} can be read. Send again to wait no longer.`
      : `Sent as soon as ${names(open)} ${open.length === 1 ? "is" : "are"} there.`;
  }

  /** Nobody waits for a message any more that is written on. */
  release() {
    if (!this.asked) return;
    this.asked = false;
    setText(this.note, "");
  }

  enclosed() {
    this.enclosing = [...this.uploads];
    const documents = this.uploads.some((upload) => !upload.picture);
    return new Enclosed([...this.uploads], documents ? this.draft.shelf.resources() : null);
  }

  /** The server has the message with what was enclosed last, or it is queued: these files leave the box. */
  accepted() {
    for (const draft of this.drafts.values()) {
      draft.uploads = draft.uploads.filter((upload) => !this.enclosing.includes(upload));
      draft.keep();
    }
    this.drafts.forEach((draft, id) => draft.uploads.length === 0 && this.drafts.delete(id)); // its store is the thread's
    this.enclosing = [];
    this.show(this.page.threadId());
  }
}
