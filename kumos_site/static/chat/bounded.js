// A text of any length in a box: only its beginning (of logs that grow: its end) is in the page until somebody asks for all.

import { defused } from "./characters.js";
import { sizeInWords } from "./files.js";
import { element } from "./nodes.js";

const SHOWN = 4_000; // characters

export class Bounded {
  constructor({ label, tail = false }) {
    this.tail = tail;
    this.all = false;
    this.shown = "";
    this.node = document.createTextNode("");
    this.pre = element("pre", { tabIndex: 0, role: "region", "aria-label": label }, this.node);
    this.more = element("button", { type: "button", className: "more show-all", hidden: true });
    this.more.addEventListener("click", () => {
      this.all = true;
      this.update(this.text);
      this.pre.focus();
    });
    this.element = element("div", { className: "bounded" }, this.pre, this.more);
  }

  update(text) {
    this.text = text;
    this.put(defused(this.cut(text)));
    this.more.hidden = this.all || text.length <= SHOWN;
    if (!this.more.hidden) this.more.textContent = `Show all (${sizeInWords(text.length).replace("bytes", "characters")})`;
  }

  cut(text) {
    if (this.all || text.length <= SHOWN) return text;
    return this.tail ? `…${text.slice(-SHOWN)}` : `${text.slice(0, SHOWN)}…`;
  }

  /** What is only longer grows in place: a selection in it stays, and nothing is laid out anew. */
  put(shown) {
    if (shown === this.shown) return;
    if (shown.startsWith(this.shown)) this.node.appendData(shown.slice(this.shown.length));
    else this.node.data = shown;
    this.shown = shown;
  }
}
