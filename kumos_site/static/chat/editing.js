// A question edited in place: a box with its text, which asks anew in a fork; the old version stays where it is.

import { element } from "./nodes.js";

export class Editor {
  /** `onSend(text)` resolves to whether it was sent; until then nothing that was typed is lost. */
  constructor(text, { onSend, onClose }) {
    this.onSend = onSend;
    this.onClose = onClose;
    this.area = element("textarea", { value: text, rows: 2, "aria-label": "Your question, edited" });
    this.send = element("button", { type: "submit", className: "button" }, "Send");
    const cancel = element("button", { type: "button", className: "button" }, "Cancel");
    const row = element("div", { className: "editor-row" }, element("span", { className: "quiet" }, "The old version stays."), cancel, this.send);
    this.element = element("form", { className: "editor" }, this.area, row);
    this.element.addEventListener("submit", (event) => {
      event.preventDefault();
      this.submit();
    });
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.area.addEventListener("input", () => this.fit());
    cancel.addEventListener("click", () => this.onClose());
  }

  begin() {
    this.fit();
    this.area.focus();
    this.area.setSelectionRange(this.area.value.length, this.area.value.length);
  }

  fit() {
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight + 2}px`;
    this.send.disabled = this.area.value.trim() === "";
  }

  pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") {
      event.stopPropagation(); // Esc ends the editing; it must not stop the run as well
      this.onClose();
    } else if (event.key === "Enter" && !event.shiftKey && event.target === this.area) {
      event.preventDefault();
      this.submit();
    }
  }

  async submit() {
    const text = this.area.value.trim();
    if (text === "" || this.send.disabled) return;
    this.send.disabled = true;
    this.area.readOnly = true;
    await this.onSend(text);
    this.area.readOnly = false;
    this.send.disabled = false;
  }
}
