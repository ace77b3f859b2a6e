// The text of one message as DOM, while it grows and after. Finished blocks are frozen: neither they nor their nodes are
// touched again (a citation that comes late is set into them), only the end of the text is read anew.

import { defused } from "./characters.js";
import { Citations } from "./citations.js";
import { block, blocks, deeper } from "./markup.js";
import { mendedBlocks } from "./mend.js";
import { element } from "./nodes.js";
import { patch } from "./tree.js";

const OPEN = 2; // blocks, items or rows at the end that text to come may still change

function tokensOf(source) {
  try {
    return blocks(source);
  } catch {
    return [{ type: "paragraph", raw: source, text: source }]; // nested deeper than anything that is meant to be read
  }
}

/** Where each part of `tokens` begins that can be finished by itself: blocks, and the items or rows inside of them. */
function partsOf(tokens, start, skip) {
  const parts = [];
  let at = start;
  tokens.forEach((token, index) => {
    const before = index === 0 ? skip : 0;
    const pieces = token.type === "list" ? token.items.map((item) => item.raw) : [];
    if (token.type === "table") {
      const lines = token.raw.split("\n").map((line) => `${line}\n`);
      pieces.push(lines.splice(0, 3).join(""), ...lines.slice(0, Math.max(0, token.rows.length - 1)));
    }
    let inside = at;
    (pieces.length > 0 ? pieces : [token.raw]).forEach((raw, piece) => {
      parts.push({ token: index, at: inside, inner: before + piece });
      inside += raw.length;
    });
    at += token.raw.length + token.after;
  });
  return parts;
}

export class Prose {
  /** `chip(cite)` gives the node that stands for a citation. */
  constructor({ chip }) {
    this.chip = chip;
    this.element = element("div", { className: "prose" });
    this.reset();
  }

  reset() {
    this.element.replaceChildren();
    this.raw = ""; // as it came
    this.text = ""; // as it is read: its line ends are alike, its control characters visible
    this.dropped = []; // where `raw` had a character more
    this.cites = new Citations();
    this.growing = true;
    this.views = [];
    this.frozen = []; // { start, end, outline } of the blocks that are finished
    this.outline = []; // of the headings in them
    this.from = 0; // where the rest begins; inside a list or table when `skip` of its parts are finished too
    this.skip = 0;
    this.head = ""; // what makes a table of the rest of one
    this.begin = 0; // where the block begins that `from` lies in
  }

  update(text, annotations, growing) {
    if (!text.startsWith(this.raw)) this.reset(); // a taken-over run wrote it anew
    const same = text.length === this.raw.length && growing === this.growing;
    this.read(text, growing);
    const fresh = this.cites.read(this.raw, this.text, (unit) => this.placed(unit), annotations, growing);
    if (same && fresh.length === 0) return;
    this.growing = growing;
    fresh.forEach((cite) => this.admit(cite));
    this.draw();
  }

  read(text, growing) {
    const whole = growing && text.endsWith("\r") ? text.slice(0, -1) : text; // its \n may be on its way
    const piece = whole.slice(this.raw.length);
    if (piece === "") return;
    if (piece.includes("\r")) {
      for (const { index } of piece.matchAll(/\r\n/g)) this.dropped.push(this.raw.length + index);
    }
    this.text += defused(piece.replace(/\r\n?/g, "\n"));
    this.raw = whole;
  }

  placed(unit) {
    return unit - this.dropped.filter((index) => index < unit).length;
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  draw() {
    const { source, origin } = this.cites.filled(this.text, this.from);
    const whole = this.head + source;
    const shown = this.growing ? mendedBlocks(whole) : whole;
    const found = tokensOf(shown);
    const tokens = [];
    for (const token of found) {
      if (token.type !== "space") tokens.push(Object.assign(token, { after: 0 }));
      else if (tokens.length > 0) tokens.at(-1).after += token.raw.length;
    }
    if (this.skip > 0 && !this.goesOn(tokens[0])) {
      this.rewind();
      this.draw();
      return;
    }
    this.patch(tokens, this.growing && !/\n[ \t]*\n[ \t]*$/.test(shown));
    const length = found.reduce((sum, token) => sum + token.raw.length, 0);
    if (length !== shown.length) return; // never seen: nothing is called finished that cannot be told apart
    const lead = found[0]?.type === "space" ? found[0].raw.length : 0;
    this.freeze(tokens, lead, origin);
  }

  /** Whether the rest of a list or table is read as one too. */
  goesOn(token) {
    return this.head ? token?.type === "table" : token?.type === "list";
  }

  rewind() {
    this.from = this.begin;
    this.skip = 0;
    this.head = "";
  }

  patch(tokens, open) {
    let { outline } = this;
    const nodes = tokens.map((token, index) => {
      const node = block(token, outline, open && index === tokens.length - 1, index === 0 ? this.skip : 0);
      if (token.type === "heading") outline = deeper(outline, token.depth);
      return node;
    });
    patch(this.element, this.views, nodes, this, this.frozen.length);
  }

  freeze(tokens, lead, origin) {
    const parts = partsOf(tokens, lead, this.skip);
    const next = parts.at(-OPEN);
    if (parts.length <= OPEN) return;
    const place = (at) => origin(Math.max(0, at - this.head.length));
    let at = lead;
    tokens.slice(0, next.token).forEach((token, index) => {
      const start = index === 0 ? this.start(place(at)) : place(at);
      at += token.raw.length + token.after;
      this.frozen.push({ start, end: place(at), outline: this.outline });
      if (token.type === "heading") this.outline = deeper(this.outline, token.depth);
    });
    const token = tokens[next.token];
    const from = place(next.at);
    this.begin = next.token === 0 ? this.start(place(at)) : place(at);
    if (next.token > 0 || next.inner === 0) this.head = "";
    if (token.type === "table" && next.inner > 0) this.head = `${token.raw.split("\n", 2).join("\n")}\n`;
    this.skip = next.inner;
    this.from = from;
  }

  start(place) {
    return this.skip > 0 ? this.begin : place;
  }

  // Citations -------------------------------------------------------------------------------------------------------

  /** A citation whose place is drawn already: its block is read again, and changed where the marker stood. */
  admit(cite) {
    const index = this.frozen.findIndex(({ start, end }) => start <= cite.start && cite.end <= end);
    if (index >= 0) this.redraw(index);
    else if (cite.start < this.from) this.rewind();
  }

  redraw(index) {
    const { start, end, outline } = this.frozen[index];
    const tokens = tokensOf(this.cites.filled(this.text, start, end).source).filter((token) => token.type !== "space");
    if (tokens.length !== 1) return;
    const views = [this.views[index]];
    patch(this.element, views, [block(tokens[0], outline, false)], this);
    this.views[index] = views[0];
  }
}
