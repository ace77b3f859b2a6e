// Descriptions of nodes (markup.js) made into DOM, and changed in place: what is equal keeps its node, a longer text
// grows, what differs is replaced. A finished part that nobody describes any more is never looked at again.

import { Code } from "./code.js";
import { Inline } from "./inline.js";
import { Formula } from "./maths.js";

class Words {
  constructor(text) {
    this.text = text;
    this.dom = document.createTextNode(text);
  }

  fits(node) {
    return typeof node === "string";
  }

  update(text) {
    if (text === this.text) return;
    if (text.startsWith(this.text)) this.dom.appendData(text.slice(this.text.length));
    else this.dom.data = text;
    this.text = text;
  }
}

class Branch {
  constructor(node, reader) {
    this.tag = node.tag;
    this.lined = node.line !== undefined;
    this.dom = document.createElement(node.tag);
    this.attributes = {};
    if (this.lined) this.line = new Inline(this.dom, reader);
    else this.children = [];
    this.update(node, reader);
  }

  fits(node) {
    return node.tag === this.tag && (node.line !== undefined) === this.lined;
  }

  update(node, reader) {
    if (!node.skip) this.attribute(node.attributes); // the rest of a list does not know how it began
    if (this.lined) this.line.update(node.line, node.open);
    else patch(this.dom, this.children, node.children, reader, node.skip);
  }

  attribute(wanted) {
    for (const name of Object.keys(this.attributes)) if (!(name in wanted)) this.dom.removeAttribute(name);
    for (const [name, value] of Object.entries(wanted)) {
      if (this.attributes[name] !== value) this.dom.setAttribute(name, value);
    }
    this.attributes = wanted;
  }
}

class Chip {
  constructor({ cite }, reader) {
    this.cite = cite;
    this.dom = reader.chip(cite);
  }

  fits(node) {
    return node.cite === this.cite;
  }

  update() {}
}

function viewOf(node, reader) {
  if (typeof node === "string") return new Words(node);
  if (node.tag) return new Branch(node, reader);
  if (node.cite) return new Chip(node, reader);
  return node.maths === undefined ? new Code(node, reader) : new Formula(node, reader);
}

/**
 * Make the children of `host` what `wanted` describes. `drawn` is its views, one for each child; with
 * `skip`, the first `skip` of them are finished and `wanted` describes those after them. `reader` reads lines (prose.js).
 */
export function patch(host, drawn, wanted, reader, skip = 0) {
  wanted.forEach((node, index) => {
    const at = skip + index;
    const known = drawn[at];
    if (known?.fits(node)) {
      known.update(node, reader);
      return;
    }
    drawn[at] = viewOf(node, reader);
    if (known) known.dom.replaceWith(drawn[at].dom);
    else host.append(drawn[at].dom);
  });
  for (const view of drawn.splice(skip + wanted.length)) view.dom.remove();
}
