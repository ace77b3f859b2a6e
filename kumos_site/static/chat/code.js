// A block of code: its language, a button that copies it, and its text as one text node that only grows. Colours are laid
// over it by colours.js and change no node. Language and button are no text, so that copying an answer copies words only.

import { drawing, element } from "./nodes.js";

const COPIED_MS = 2000;
const SHEETS = "M5.5 5.5v-3h8v8h-3m-8-5h8v8h-8z";

/** Without a clipboard (pages that are not served over HTTPS have none) the text is selected and copied as by hand. */
async function copy(text, node) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    getSelection().selectAllChildren(node);
    document.execCommand("copy");
  }
}

export class Code {
  constructor(node, reader) {
    this.text = "";
    this.words = document.createTextNode("");
    this.code = element("code", {}, this.words);
    this.scroller = element("pre", { tabIndex: 0, dir: "ltr" }, this.code); // it may scroll sideways: for the keyboard
    this.button = element("button", { type: "button", className: "copy", title: "Copy", "aria-label": "Copy code" });
    this.button.append(drawing("copy-sign", SHEETS));
    this.button.addEventListener("click", () => this.copy());
    this.head = element("div", { className: "code-head" }, this.button);
    this.dom = element("figure", { className: "code" }, this.head, this.scroller);
    this.update(node, reader);
  }

  fits(node) {
    return node.code !== undefined;
  }

  update({ code: source, language, open }, { cites }) {
    const code = cites.plain(source);
    if (code === this.text && language === this.language && open === this.open) return;
    if (code.startsWith(this.text)) this.words.appendData(code.slice(this.text.length));
    else this.words.data = code;
    this.text = code;
    this.open = open;
    if (language !== this.language) {
      this.language = language;
      this.head.dataset.language = language || "text";
      this.dom.setAttribute("aria-label", language ? `Code, ${language}` : "Code");
    }
    if (language || this.coloured) this.colour();
  }

  /** What colours it is fetched with the first block that has a language; without a line it stays as it is. */
  async colour() {
    this.coloured = true;
    const colours = await import("./colours.js").catch(() => null);
    if (this.language) colours?.paint(this);
    else colours?.forget(this);
  }

  async copy() {
    await copy(this.text, this.code);
    this.button.setAttribute("aria-label", "Copied");
    this.button.dataset.copied = "";
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.button.setAttribute("aria-label", "Copy code");
      delete this.button.dataset.copied;
    }, COPIED_MS);
  }
}
