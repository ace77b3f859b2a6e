// Markdown as plain data. `marked` reads it (GFM), and only its tokens are used: no HTML is made anywhere, so there is
// nothing to clean. What comes out are descriptions of nodes for tree.js:
//   "text"   { tag, attributes, children }   { tag, attributes, line, open }   { code, language, open }
//   { maths, display }   { cite }
// A `line` is text whose inline markup is read only where it changed. HTML in an answer is text. Reference definitions
// are text too: one that comes late would change paragraphs that are finished.

import { Lexer, Marked } from "../vendor/marked/marked.esm.js";
import { decoded, defused } from "./characters.js";
import { image, link, made } from "./links.js";
import { BLOCK_MATHS, INLINE_MATHS } from "./maths.js";

const gfm = new Marked({
  gfm: true,
  extensions: [BLOCK_MATHS, INLINE_MATHS],
  tokenizer: { html() {}, tag() {}, def() {} },
});
const DEEPEST = 6;

/** The blocks of `source`: marked's tokens, the lines in them not read yet. */
export function blocks(source) {
  return new Lexer(gfm.defaults).blockTokens(source);
}

// Blocks --------------------------------------------------------------------------------------------------------------

/** The depths of the headings above, and this one's: levels without gaps, whatever the answer begins with. */
export function deeper(outline, depth) {
  return [...outline.filter((other) => other < depth), depth];
}

function heading(token, outline, open) {
  const level = Math.min(2 + deeper(outline ?? [], token.depth).length, DEEPEST);
  const ended = token.raw.endsWith("\n");
  if (!outline) return { tag: "p", attributes: { class: "heading", dir: "auto" }, line: token.text, open: open && !ended };
  return { tag: `h${level}`, attributes: { dir: "auto" }, line: token.text, open: open && !ended };
}

function paragraph(text, open) {
  return { tag: "p", attributes: { dir: "auto" }, line: text, open };
}

function inner(tokens, open) {
  const shown = tokens.filter((token) => token.type !== "space" && token.type !== "checkbox");
  return shown.map((token, index) => block(token, null, open && index === shown.length - 1));
}

function item(token, open) {
  const children = inner(token.tokens, open);
  if (!token.task) return { tag: "li", attributes: {}, children };
  const attributes = { type: "checkbox", disabled: "", "aria-label": token.checked ? "Done" : "To do" };
  if (token.checked) attributes.checked = "";
  if (children[0]?.line !== undefined) children[0].line = children[0].line.replace(/^\[[ xX]\][ \t]+/, "");
  return { tag: "li", attributes: { class: "task" }, children: [{ tag: "input", attributes, children: [] }, ...children] };
}

function list(token, open, skip) {
  const children = token.items.map((one, index) => item(one, open && index === token.items.length - 1));
  const attributes = { dir: "auto" };
  if (token.ordered && token.start !== 1) attributes.start = String(token.start);
  return { tag: token.ordered ? "ol" : "ul", attributes, children, skip };
}

function cells(tag, row, openAt) {
  return row.map((cell, index) => {
    const attributes = { dir: "auto" };
    if (cell.align) attributes.class = `align-${cell.align}`;
    return { tag, attributes, line: cell.text, open: index === openAt };
  });
}

function table(token, open, skip) {
  const growing = open && !token.raw.endsWith("\n");
  const lastCell = (row) => Math.max(0, row.findLastIndex((cell) => cell.text !== ""));
  const rows = token.rows.map((row, index) => {
    const openAt = growing && index === token.rows.length - 1 ? lastCell(row) : -1;
    return { tag: "tr", attributes: {}, children: cells("td", row, openAt) };
  });
  const headAt = growing && rows.length === 0 ? lastCell(token.header) : -1;
  const head = { tag: "tr", attributes: {}, children: cells("th", token.header, headAt) };
  const parts = [
    { tag: "thead", attributes: {}, children: [head] },
    { tag: "tbody", attributes: {}, children: rows, skip },
  ];
  const attributes = { class: "table", tabindex: "0", role: "region", "aria-label": "Table" };
  return { tag: "div", attributes, children: [{ tag: "table", attributes: { dir: "auto" }, children: parts }] };
}

const CLOSED = /\n {0,3}(?:`{3,}|~{3,})[ \t]*\n?$/;

function code(token, open) {
  const fenced = token.codeBlockStyle !== "indented";
  const known = fenced && (token.raw.includes("\n") || !open); // "```py" may become "```python"
  const language = known ? /^[\w+#.-]{1,24}/.exec(token.lang ?? "")?.[0] ?? "" : "";
  return { code: known || !fenced ? token.text : "", language, open: open && !(fenced && CLOSED.test(token.raw)) };
}

/** One block token as a description. `outline` is null inside lists and quotes, whose headings are no headings. */
export function block(token, outline, open, skip = 0) {
  switch (token.type) {
    case "heading":
      return heading(token, outline, open);
    case "code":
      return code(token, open);
    case "list":
      return list(token, open, skip);
    case "table":
      return table(token, open, skip);
    case "blockquote":
      return { tag: "blockquote", attributes: { dir: "auto" }, children: inner(token.tokens, open) };
    case "hr":
      return { tag: "hr", attributes: {}, children: [] };
    case "maths":
      return token.maths ? { maths: token.maths, display: true } : paragraph(token.text, open);
    default:
      return paragraph(token.text ?? token.raw, open);
  }
}

// Lines ---------------------------------------------------------------------------------------------------------------

/** The inline tokens of `text`; what is too entangled to be read stays as it is. */
export function spans(text) {
  try {
    return new Lexer(gfm.defaults).inlineTokens(text);
  } catch {
    return [{ type: "text", raw: text, text }];
  }
}

function wordsOf(nodes) {
  return nodes.map((node) => (typeof node === "string" ? node : (node.maths ?? wordsOf(node.children ?? [])))).join("");
}

function put(nodes, node) {
  if (typeof node === "string" && typeof nodes.at(-1) === "string") nodes[nodes.length - 1] += node;
  else nodes.push(node);
}

/** Strings and chips, and what names a file that a tool made: a link to it, or its name within another link. */
function pieces(text, cites, inLink) {
  return cites.pieces(text).map((piece) => (piece.cite?.made ? (inLink ? piece.cite.made : made(piece.cite)) : piece));
}

function linked(token, nodes, cites, inLink) {
  const children = described(token.tokens ?? [], cites, true);
  const chips = children.filter((child) => child.cite); // a chip is a link itself
  const words = children.filter((child) => !child.cite);
  const file = cites.madeAt(token.href);
  if (inLink) words.forEach((word) => put(nodes, word));
  else if (file) put(nodes, made(file, words));
  else put(nodes, link(cites.plain(token.href), wordsOf(words), words));
  chips.forEach((chip) => put(nodes, chip));
}

function pictured(token, cites, inLink) {
  const words = defused(decoded(cites.plain(token.text)));
  const file = inLink ? null : cites.madeAt(token.href);
  return file ? made(file, [words.trim() || file.made]) : image(cites.plain(token.href), words, inLink);
}

/** Inline tokens as descriptions; adjoining texts are one. */
export function described(tokens, cites, inLink = false) {
  const nodes = [];
  for (const token of tokens) {
    if (token.type === "link") linked(token, nodes, cites, inLink);
    else if (token.type === "image") put(nodes, pictured(token, cites, inLink));
    else if (token.type === "maths") put(nodes, { maths: token.maths, display: token.display });
    else if (token.type === "br") put(nodes, { tag: "br", attributes: {}, children: [] });
    else if (token.type === "codespan") put(nodes, { tag: "code", attributes: {}, children: pieces(token.text, cites, inLink) });
    else if (token.type === "escape") put(nodes, token.text);
    else if (token.type === "strong" || token.type === "em" || token.type === "del") {
      put(nodes, { tag: token.type, attributes: {}, children: described(token.tokens, cites, inLink) });
    } else pieces(decoded(token.raw), cites, inLink).forEach((piece) => put(nodes, piece)); // `text` has some entities read
  }
  return nodes;
}
