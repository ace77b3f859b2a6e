// Pull the plug: a button that cuts the page's line as a bad network would, and the note in the list of events that
// says where a line was cut and where it went on, by the plug or by itself.

import { element } from "./nodes.js";

const AWAY_MS = 1_500; // long enough to be seen

export class Plug {
  constructor(line, { onNote }) {
    this.onNote = onNote;
    this.button = element("button", { type: "button", className: "small" }, "Drop my connection");
    this.button.title = "Cuts the page's line to the server in mid-word. The run goes on, and so does the page.";
    this.button.addEventListener("click", () => line.cut(AWAY_MS));
    this.cuts = []; // { seq, words } in their order
  }

  reset() {
    this.cuts = [];
  }

  /** The line broke, after this event. Several failures to come back are one cut. */
  broke(seq) {
    if (this.cuts.at(-1)?.open) return;
    this.cuts.push({ seq, words: "line was cut here, reconnecting…", open: true });
    this.onNote();
  }

  back() {
    const cut = this.cuts.at(-1);
    if (!cut?.open) return;
    cut.open = false;
    cut.words = cut.seq ? `line was cut here, went on behind event ${cut.seq}` : "line was cut here, and is back";
    this.onNote();
  }
}
