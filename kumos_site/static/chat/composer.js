// The text box and its button; what was typed survives everything. Its keys are in shortcuts.js.

const DRAFT = "kumos.draft.";

export class Composer {
  /** `files` are the attachments of the message: isEmpty(), release(), and hold(resume, text), why it has to wait. */
  constructor(form, { files, onSend, onStop }) {
    this.form = form;
    this.area = form.querySelector("textarea");
    this.send = form.querySelector("[data-send]");
    this.stop = form.querySelector("[data-stop]");
    this.note = form.querySelector("[data-note]");
    this.files = files;
    this.onSend = onSend;
    this.onStop = onStop;
    this.key = DRAFT;
    this.active = false;
    this.sending = false;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.area.addEventListener("input", () => this.changed());
    this.stop.addEventListener("click", () => this.onStop());
  }

  submit() {
    if (this.sending || this.isEmpty()) return;
    const reason = this.files.hold(() => this.submit(), this.text());
    if (reason) this.note.textContent = reason;
    else this.onSend(this.text()); // while a run is active it is queued
  }

  text() {
    return this.area.value.trim();
  }

  isEmpty() {
    return this.text() === "" && this.files.isEmpty();
  }

  changed() {
    sessionStorage.setItem(this.key, this.area.value);
    this.files.release();
    this.fit();
    this.enable();
  }

  fit() {
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`; // the style sheet caps it at eight lines
  }

  /** Another thread has another draft. */
  show(threadId) {
    this.key = DRAFT + threadId;
    this.area.value = sessionStorage.getItem(this.key) ?? "";
    this.fit();
    this.enable();
  }

  /** The thread is gone, and so is what was not sent to it; what stands in the box stays there. */
  forget(threadId) {
    sessionStorage.removeItem(DRAFT + threadId);
  }

  put(text) {
    this.area.value = text;
    this.changed();
    this.area.focus();
  }

  /** The server has it: only now may it leave the box. */
  accepted() {
    this.files.accepted();
    this.area.value = "";
    this.changed();
    // Whoever has gone on to something else meanwhile, a title say, is left there.
    if (document.activeElement === document.body || this.form.contains(document.activeElement)) this.area.focus();
  }

  setSending(sending) {
    this.sending = sending;
    this.area.readOnly = sending;
    this.enable();
  }

  /** While a run is active Stop stands in Send's place, and beside it where there is something to queue. */
  setActive(active) {
    if (active === this.active) return;
    const hadFocus = document.activeElement === this.stop || document.activeElement === this.send;
    this.active = active;
    this.stop.hidden = !active;
    this.note.textContent = "";
    this.enable();
    if (hadFocus) this.area.focus();
  }

  enable() {
    this.send.disabled = this.sending || this.isEmpty();
    this.send.hidden = this.active && this.send.disabled;
    this.send.setAttribute("aria-label", this.active ? "Queue" : "Send");
    this.send.title = this.active ? "Send when the answer is there (Enter)" : "Send (Enter)";
  }
}
