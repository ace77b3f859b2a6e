// A text that grows, as it will look once the next characters are here: what is half open is closed, what may be the
// beginning of a mark is held back. Only what is shown meanwhile depends on this; a finished text is read as it is.

import { formulaAt } from "./maths.js";

// Lines that say nothing yet, or something else than they will: "-", "1.", "```", "- [ ", "|--". ">" may stand before.
const HALF = /^[ \t>]*(?:[-=*+_~`#|: \t]*|\d{1,9}[.)]?[ \t]*|(?:[-*+]|\d{1,9}[.)])[ \t]+(?:\[[ xX]?\]?[ \t]*|[-*+`~#>]+[ \t]*))$/;
const HALF_LONGEST = 120;
const ROW = /^ {0,3}\|/;

function columns(line) {
  const cells = line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/);
  return cells.length;
}

/** The end of a growing text: a line that is only half a mark is left out, and the first row of a table is one. */
export function mendedBlocks(source) {
  const begin = source.lastIndexOf("\n") + 1;
  const half = source.length - begin < HALF_LONGEST && HALF.test(source.slice(begin));
  let shown = half ? source.slice(0, begin) : source;
  if (/\n[ \t]*\n$/.test(shown)) return shown;
  const lines = shown.replace(/\n$/, "").split("\n").slice(-2);
  const row = lines.at(-1);
  const alone = lines.length === 1 || lines[0].trim() === "";
  if (alone && ROW.test(row) && row.trim().length > 1) shown = `${shown.replace(/\n$/, "")}\n${"|-".repeat(columns(row))}|`;
  return shown;
}

/** `at` just after the code span, formula, escape or address that begins there; 0 where none does that is closed. */
function atom(text, at) {
  const character = text[at];
  if (character === "`") {
    const [run] = /^`+/.exec(text.slice(at));
    const closing = new RegExp(`(?<!\`)${run}(?!\`)`, "g");
    closing.lastIndex = at + run.length;
    const end = closing.exec(text);
    return end ? end.index + run.length : 0;
  }
  if (character === "$" || character === "\\") {
    const formula = formulaAt(text.slice(at), text.slice(Math.max(0, at - 2), at));
    if (formula) return at + formula.raw.length;
    return character === "\\" ? at + 2 : at + 1;
  }
  return 0;
}

function flanks(text, at, length) {
  const before = text[at - 1] ?? " ";
  const after = text[at + length] ?? " ";
  const space = /\s/;
  const punctuation = /[\p{P}\p{S}]/u;
  const left = !space.test(after) && (!punctuation.test(after) || space.test(before) || punctuation.test(before));
  const right = !space.test(before) && (!punctuation.test(before) || space.test(after) || punctuation.test(after));
  return { left, right, word: /[\p{L}\p{N}]/u.test(before) };
}

class Scan {
  constructor(text) {
    this.text = text;
    this.open = []; // { mark, length, at } of *, _, ~ and [
    this.end = text.length;
    this.tail = ""; // what closes a code span
    this.closed = -1;
  }

  run() {
    let at = 0;
    while (at < this.end) {
      const character = this.text[at];
      if (character === "`" || character === "$" || character === "\\") at = this.skip(at);
      else if (character === "*" || character === "_" || character === "~") at = this.emphasis(at);
      else if (character === "[") at = this.bracket(at);
      else if (character === "]") at = this.unbracket(at);
      else at += 1;
    }
    return this;
  }

  skip(at) {
    const end = atom(this.text, at);
    if (end > 0) return end;
    const [run] = /^`+/.exec(this.text.slice(at));
    const content = this.text.slice(at + run.length).replace(/`+$/, "");
    this.closed = at;
    this.end = content.trim() === "" ? at : at + run.length + content.length;
    this.tail = content.trim() === "" ? "" : run;
    return this.text.length;
  }

  emphasis(at) {
    const mark = this.text[at];
    const [run] = /^(?:\*+|_+|~+)/.exec(this.text.slice(at, at + 9));
    const next = at + run.length;
    const last = next === this.text.length;
    const { left, right, word } = flanks(this.text, at, run.length);
    let rest = run.length;
    while (right && rest > 0) {
      const index = this.open.findLastIndex((opener) => opener.mark === mark);
      if (index < 0) break;
      const opener = this.open[index];
      this.open.length = index + 1;
      if (last && rest < opener.length) {
        this.end = at; // half of a closing mark: the other half is on its way
        return next;
      }
      const used = Math.min(opener.length, rest);
      opener.length -= used;
      rest -= used;
      if (opener.length === 0) this.open.pop();
    }
    if (last && rest === run.length) this.end = at; // nobody knows yet what it opens
    else if (left && rest > 0 && !(word && (mark === "_" || rest === 1))) this.open.push({ mark, length: rest, at });
    return next;
  }

  bracket(at) {
    this.open.push({ mark: "[", length: 1, at: this.text[at - 1] === "!" ? at - 1 : at, label: at + 1 });
    return at + 1;
  }

  unbracket(at) {
    const index = this.open.findLastIndex((opener) => opener.mark === "[");
    if (index < 0) return at + 1;
    const after = this.text[at + 1];
    if (after === undefined) {
      this.end = at;
      return this.text.length;
    }
    const [opener] = this.open.splice(index);
    if (after !== "(") return at + 1;
    const destination = /^\((?:[^()\\\n]|\\.|\([^()\n]*\))*\)/.exec(this.text.slice(at + 1));
    if (destination) return at + 1 + destination[0].length;
    if (this.text.slice(at).includes("\n")) return at + 1; // given up
    this.open.splice(index, 0, opener);
    this.end = at; // the words are here, the address is on its way
    return this.text.length;
  }
}

/**
 * A growing line as it will look: `{ text, closed }`, `closed` being where the first mark begins that is still open
 * (the length of the line where none is).
 */
export function mendedLine(line) {
  const half = /(?:\\|&[#\w]{0,9}|【(?:\d[^】\n]{0,80})?|(?<!\S)!)$/.exec(line);
  const scan = new Scan(half ? line.slice(0, half.index) : line).run();
  const first = Math.min(scan.open[0]?.at ?? scan.end, scan.closed < 0 ? scan.end : scan.closed);
  let text = scan.text.slice(0, scan.end);
  let closers = scan.tail;
  for (const opener of scan.open.reverse()) {
    if (opener.mark === "[") {
      if (!text.includes("\n", opener.at)) text = text.slice(0, opener.at) + text.slice(opener.label);
    } else if (text.slice(opener.at + opener.length).trim() === "") {
      text = text.slice(0, opener.at);
    } else {
      if (closers === "") text = text.trimEnd();
      closers += opener.mark.repeat(opener.length);
    }
  }
  return { text: text + closers, closed: first };
}
