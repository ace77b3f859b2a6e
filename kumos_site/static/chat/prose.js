// Text of one message as DOM. While it grows only its last block is looked at, and in there only what changed is touched.

import { blocks, citation, inline } from "./markup.js";
import { element } from "./nodes.js";

/** One run of inline tokens inside `host`; equal tokens keep their nodes, a longer text grows in place. */
class Line {
  constructor(host, cites) {
    this.host = host;
    this.cites = cites;
    this.tokens = [];
  }

  update(tokens) {
    let same = 0;
    while (same < tokens.length && this.fits(same, tokens[same])) same += 1;
    while (this.host.childNodes.length > same) this.host.lastChild.remove();
    for (const token of tokens.slice(same)) this.host.append(this.node(token));
    this.tokens = tokens;
  }

  fits(index, token) {
    const known = this.tokens[index];
    if (known?.kind !== token.kind) return false;
    if (known.text === token.text) return true;
    if (token.kind === "cite" || !token.text.startsWith(known.text)) return false;
    const node = this.host.childNodes[index];
    (node.nodeType === Node.TEXT_NODE ? node : node.firstChild).appendData(token.text.slice(known.text.length));
    return true;
  }

  node(token) {
    if (token.kind === "text") return document.createTextNode(token.text);
    if (token.kind === "cite") return this.cites.chip(token.cite);
    return element(token.kind, {}, token.text);
  }
}

const TAGS = { paragraph: "p", heading: "h3", bullets: "ul", numbers: "ol", code: "pre" };

class Block {
  constructor(block, cites) {
    this.kind = block.kind;
    this.cites = cites;
    this.element = document.createElement(TAGS[block.kind]);
    if (block.kind === "numbers") this.element.start = block.first;
    if (block.kind === "code") this.element.tabIndex = 0; // it may scroll sideways: the keyboard must reach it
    this.lines = [];
  }

  update(text, block, cites, growing) {
    block.lines.forEach((range, index) => {
      const line = (this.lines[index] ??= this.begin());
      const last = growing && index === block.lines.length - 1;
      if (this.kind === "code") line.update([{ kind: "text", text: text.slice(range.start, range.end) }]);
      else line.update(inline(text, range, cites, last));
    });
  }

  begin() {
    if (this.kind !== "bullets" && this.kind !== "numbers") return new Line(this.element, this.cites);
    const item = document.createElement("li");
    this.element.append(item);
    return new Line(item, this.cites);
  }
}

export class Prose {
  /** `cites.chip(cite)` gives the node that stands for a citation. */
  constructor(cites) {
    this.cites = cites;
    this.element = element("div", { className: "prose" });
    this.reset();
  }

  reset() {
    this.element.replaceChildren();
    this.text = "";
    this.settled = 0; // blocks before the last two, which a growing last line can still change ("-" becomes an item)
    this.from = 0;
    this.drawn = [];
    this.found = [];
  }

  update(text, annotations, growing) {
    if (!text.startsWith(this.text)) this.reset(); // a taken-over run wrote it anew
    this.text = text;
    for (let index = this.found.length; index < annotations.length; index += 1) {
      this.found.push(citation(text, annotations[index]));
    }
    const cites = this.found.filter(Boolean).sort((one, other) => one.start - other.start);
    const parsed = blocks(text, this.from);
    parsed.forEach((block, index) => {
      const at = this.settled + index;
      if (this.drawn[at] && this.drawn[at].kind !== block.kind) this.cut(at);
      if (!this.drawn[at]) {
        this.drawn[at] = new Block(block, this.cites);
        this.element.append(this.drawn[at].element);
      }
      this.drawn[at].update(text, block, cites, growing && index === parsed.length - 1);
    });
    this.cut(this.settled + parsed.length);
    if (parsed.length > 2) {
      this.settled += parsed.length - 2;
      this.from = parsed.at(-2).start;
    }
  }

  cut(at) {
    for (const block of this.drawn.splice(at)) block.element.remove();
  }
}
