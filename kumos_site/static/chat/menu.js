// A small menu beside a button: arrow keys, first letters, Esc and Tab as everywhere; a finger does as well as a mouse.

import { element } from "./nodes.js";

const GAP = 4; // pixels

export class Menu {
  constructor() {
    this.list = element("div", { className: "menu", role: "menu", popover: "auto" });
    this.list.addEventListener("keydown", (event) => this.pressed(event));
    this.list.addEventListener("toggle", (event) => event.newState === "closed" && this.closed());
    document.body.append(this.list);
  }

  /** `items` are `{ label, run, danger }`. */
  open(button, label, items) {
    if (this.button === button) return; // the click that closed it
    this.button = button;
    const entries = items.map(({ label: words, run, danger }) => {
      const entry = element("button", { type: "button", role: "menuitem", tabIndex: -1, className: danger ? "bad" : "" }, words);
      entry.addEventListener("click", () => {
        this.close();
        run();
      });
      return entry;
    });
    this.list.setAttribute("aria-label", label);
    this.list.replaceChildren(...entries);
    this.list.showPopover();
    button.setAttribute("aria-expanded", "true");
    this.place(button.getBoundingClientRect());
    entries[0].focus();
  }

  place(anchor) {
    const { width, height } = this.list.getBoundingClientRect();
    const left = Math.min(anchor.left, innerWidth - width - GAP);
    const below = anchor.bottom + GAP;
    const top = below + height > innerHeight ? Math.max(GAP, anchor.top - GAP - height) : below;
    Object.assign(this.list.style, { left: `${left}px`, top: `${top}px` });
  }

  close() {
    const { button } = this;
    this.list.hidePopover();
    button?.focus();
  }

  closed() {
    this.button?.setAttribute("aria-expanded", "false");
    // A click on the button closes the menu first and is heard by the button afterwards.
    setTimeout(() => !this.list.matches(":popover-open") && (this.button = null));
  }

  pressed(event) {
    const entries = [...this.list.children];
    const at = entries.indexOf(document.activeElement);
    const letter = event.key.length === 1 ? event.key.toLowerCase() : "";
    const after = [...entries.slice(at + 1), ...entries.slice(0, at + 1)];
    if (event.key === "ArrowDown") after[0].focus();
    else if (event.key === "ArrowUp") entries.at(at - 1).focus();
    else if (event.key === "Home") entries[0].focus();
    else if (event.key === "End") entries.at(-1).focus();
    else if (event.key === "Escape" || event.key === "Tab") this.close();
    else if (letter.trim()) after.find((entry) => entry.textContent.toLowerCase().startsWith(letter))?.focus();
    else return; // Enter and the space bar press the button
    event.preventDefault();
    event.stopPropagation();
  }
}
