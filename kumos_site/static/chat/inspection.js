// The door to the event inspector: its button, its key, and whether it was left open. What is behind it is fetched when
// it opens for the first time, for most people never ask for it; it reads what went before from the log.

import { drawing } from "./nodes.js";

const SIGN = "M2 3.5h6M2 8h12M5 12.5h9";
const OPEN = "kumos.inspector";
const SHEET = matchMedia("(max-width: 46rem)"); // there it would cover the page

export class Inspection {
  constructor(parts) {
    this.parts = parts;
    this.inspector = null;
    parts.button.append(drawing("sign", SIGN));
    parts.button.addEventListener("click", () => this.toggle());
    if (localStorage.getItem(OPEN) === "open" && !SHEET.matches) this.toggle({ focus: false });
  }

  async toggle(how) {
    if (!this.inspector) {
      const { Inspector } = await import("./inspector.js");
      if (!this.inspector) {
        this.inspector = new Inspector(this.parts);
        this.inspector.show(this.parts.page.model, false);
      }
    }
    this.inspector.toggle(how);
  }

  /** Another thread. Of a `fresh` one every event comes live. */
  show(model, fresh) {
    this.inspector?.show(model, fresh);
  }

  /** A frame of the page's line. */
  take(frame) {
    this.inspector?.take(frame);
  }

  /** The line broke, and is there again. */
  broke(seq) {
    this.inspector?.broke(seq);
  }

  back() {
    this.inspector?.back();
  }

  /** The moment that the transcript shows, in milliseconds since the epoch. */
  now() {
    const replay = this.inspector?.replay;
    return replay?.active ? replay.now() : Date.now();
  }

  /** Back from a replay to the present. */
  leave() {
    this.inspector?.replay.leave();
  }
}
