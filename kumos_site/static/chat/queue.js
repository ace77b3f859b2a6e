// Messages that wait until a run is over, above the message box. They are kept in the browser, per thread, so a reload
// loses none; of several tabs one sends, and the server takes each once, whichever that is.

import { element, setText } from "./nodes.js";
import { isBusy, newKey } from "./delivery.js";

const KEPT = "kumos.queue.";
const MOST = 20;
const AGAIN_MS = 1_500; // a run is active of which the page has not heard yet

const WHY = {
  answering: "Sent when the answer is there:",
  requires_action: "Waiting until the run has its tool's output:",
  cancelling: "Sent as soon as the answer has stopped:",
  stuck: "Not sent yet:",
};

/** One tab at a time; without locks (plain HTTP elsewhere than on this machine) the key of each job must do. */
function exclusively(thread, action, options = {}) {
  if (!navigator.locks) return action({});
  return navigator.locks.request(KEPT + thread, options, action);
}

export class Queue {
  /** `page` knows whether a thread is at rest (isFree), what goes on in it (model), and stops it (stop). */
  constructor(section, page) {
    Object.assign(this, { section, page });
    this.why = element("p", { className: "quiet" });
    this.list = element("ol");
    section.append(this.why, this.list);
    this.thread = "";
    this.jobs = [];
    this.rows = new Map();
    this.sending = new Set(); // threads
    this.stuck = new Set();
    this.editing = null;
    window.addEventListener("storage", (event) => event.key === KEPT + this.thread && this.reread());
    window.addEventListener("online", () => this.unstick());
  }

  show(thread) {
    this.editing?.finish();
    this.thread = thread;
    this.drawn = "";
    this.rows.clear();
    this.list.replaceChildren();
    this.reread();
  }

  reread() {
    this.jobs = this.kept(this.thread);
    this.page.changed();
  }

  kept(thread) {
    try {
      const jobs = JSON.parse(localStorage.getItem(KEPT + thread) ?? "[]");
      return Array.isArray(jobs) ? jobs : [];
    } catch {
      return [];
    }
  }

  keep(thread, jobs) {
    if (jobs.length) localStorage.setItem(KEPT + thread, JSON.stringify(jobs));
    else localStorage.removeItem(KEPT + thread);
    if (thread === this.thread) this.reread();
  }

  /** False where no more can wait. */
  add({ thread, assistant, message, text }) {
    const jobs = this.kept(thread);
    if (jobs.length >= MOST) return false;
    this.keep(thread, [...jobs, { key: newKey(), thread, assistant, message, text }]);
    setText(document.getElementById("status"), "Queued: it is sent when the answer is there.");
    return true;
  }

  forget(thread) {
    this.keep(thread, []);
  }

  remove(job) {
    this.keep(job.thread, this.kept(job.thread).filter((one) => one.key !== job.key));
  }

  // Sending ---------------------------------------------------------------------------------------------------------

  /** Called whenever something changed: the first message goes as soon as its thread is at rest. */
  async drain(thread) {
    if (!thread || this.sending.has(thread) || this.stuck.has(thread) || !this.page.isFree(thread)) return;
    if (this.kept(thread).length === 0) return;
    this.sending.add(thread);
    let again = false;
    try {
      await exclusively(thread, async () => (again = await this.sendFirst(thread)));
    } finally {
      this.sending.delete(thread);
    }
    if (thread !== this.thread) return; // another thread's rest is told of once more
    if (again) setTimeout(() => this.drain(thread), AGAIN_MS);
    this.page.changed();
  }

  async sendFirst(thread) {
    const [job] = this.kept(thread); // another tab may have been here
    if (!job || !this.page.isFree(thread)) return false;
    try {
      await this.page.delivery.run(job);
      this.remove(job);
      if (thread === this.thread) this.page.transcript.follow();
      return false;
    } catch (failure) {
      if (isBusy(failure)) return true;
      this.stuck.add(thread);
      this.page.complain(failure, () => {
        this.page.forgive();
        this.unstick();
      });
      return false;
    }
  }

  unstick() {
    const waiting = [...this.stuck];
    this.stuck.clear();
    waiting.forEach((thread) => this.drain(thread));
    this.page.changed();
  }

  /** Before the others, and before the answer is there: that one is stopped. */
  async sendNow(job) {
    const others = this.kept(job.thread).filter((one) => one.key !== job.key);
    this.keep(job.thread, [job, ...others]);
    this.stuck.delete(job.thread);
    if (this.page.model.activeRun()) await this.page.stop();
    this.page.changed();
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  draw() {
    const { jobs, page } = this;
    const status = page.model.activeRun()?.status ?? "";
    const why = this.stuck.has(this.thread) ? "stuck" : status in WHY ? status : "answering";
    const drawn = `${why} ${jobs.map((job) => `${job.key}.${job.text}`).join(" ")}`;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.section.hidden = jobs.length === 0;
    setText(this.why, WHY[why]);
    const rows = jobs.map((job) => this.row(job));
    for (const [key, row] of this.rows) {
      if (rows.includes(row)) continue;
      const hadFocus = row.contains(document.activeElement);
      row.remove();
      this.rows.delete(key);
      if (hadFocus) page.composer.area.focus();
    }
    rows.forEach((row, index) => {
      if (this.list.children[index] !== row) this.list.insertBefore(row, this.list.children[index] ?? null);
    });
  }

  row(job) {
    let row = this.rows.get(job.key);
    if (!row) {
      row = element("li", { className: "waiting" });
      this.rows.set(job.key, row);
    }
    if (!row.querySelector("form") && row.dataset.text !== job.text) this.fill(row, job);
    return row;
  }

  fill(row, job) {
    row.dataset.text = job.text;
    const files = job.message.attachments?.length ? ` (+ ${job.message.attachments.length} attached)` : "";
    const button = (words, label, run) => {
      const made = element("button", { type: "button", className: "waiting-tool", "aria-label": `${label}: ${job.text.slice(0, 60)}` }, words);
      made.addEventListener("click", run);
      return made;
    };
    row.replaceChildren(
      element("span", { className: "waiting-text" }, (job.text || "A file") + files),
      button("Edit", "Edit", () => this.edit(row, job)),
      button("Send now", "Stop the answer and send", () => this.sendNow(job)),
      button("✕", "Remove", () => this.remove(job)),
    );
  }

  /** As long as somebody edits, no tab sends. */
  edit(row, job) {
    if (this.editing) return;
    exclusively(
      job.thread,
      (lock) => {
        if (lock === null || !this.kept(job.thread).some((one) => one.key === job.key)) return undefined;
        return new Promise((resolve) => this.openEditor(row, job, resolve));
      },
      { ifAvailable: true },
    ).then(() => this.page.changed());
  }

  openEditor(row, job, release) {
    const area = element("textarea", { rows: 2, value: job.text, "aria-label": "Queued message" });
    const save = element("button", { type: "submit", className: "waiting-tool" }, "Save");
    const cancel = element("button", { type: "button", className: "waiting-tool" }, "Cancel");
    const form = element("form", { className: "waiting-form" }, area, save, cancel);
    const finish = (text = "") => {
      if (this.editing?.form !== form) return;
      this.editing = null;
      if (text && text !== job.text) {
        // Another text is another request, and so has another key.
        const changed = { ...job, key: newKey(), text, message: { ...job.message, content: withText(job.message.content, text) } };
        this.keep(job.thread, this.kept(job.thread).map((one) => (one.key === job.key ? changed : one)));
      } else {
        this.fill(row, job);
      }
      release();
      this.page.composer.area.focus();
    };
    this.editing = { form, finish };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      finish(area.value.trim());
    });
    form.addEventListener("keydown", (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Enter" && !event.shiftKey && event.target === area) {
        event.preventDefault();
        finish(area.value.trim());
      } else if (event.key === "Escape") {
        event.stopPropagation(); // Esc ends the editing; it must not stop the run as well
        finish();
      }
    });
    cancel.addEventListener("click", () => finish());
    row.replaceChildren(form);
    area.focus();
  }
}

/** The content of a message with another text; pictures in it stay. */
export function withText(content, text) {
  if (typeof content === "string") return text;
  const others = content.filter((part) => part.type !== "text").map((part) => ({ ...part }));
  return [{ type: "text", text }, ...others];
}
