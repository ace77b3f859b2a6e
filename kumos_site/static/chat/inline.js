// One line of inline markup as DOM. While it grows it is read again from the last place where everything was closed.

import { described, spans } from "./markup.js";
import { mendedLine } from "./mend.js";
import { patch } from "./tree.js";

// What may still be the beginning of something; a dollar may until the next one, the end of its line, or 400 characters.
const UNSURE = /`|~(?!\s)|\\[([]|\$\$|\*(?!\s)|(?<![\p{L}\p{N}])_(?!\s)|\[(?![^\]\n]*\][^(])|<(?!\s|\S*\s)/u;
const DOLLAR = /\$(?!\s)[^$\n]{0,400}$/;
const STEP = 160; // characters that make it worth the while to look for such a place

/** The last place before `limit` where nothing is open, as `{ at, token, cut }`: token number, characters of it; or null. */
function restingPlace(tokens, limit) {
  let place = null;
  let at = 0;
  for (const [index, token] of tokens.entries()) {
    if (token.type === "text") {
      if (UNSURE.test(token.raw)) break;
      const raw = token.raw.slice(0, Math.max(0, limit - at));
      const cut = /[^\s]\s(?=\S*$)/.exec(raw)?.index;
      if (cut !== undefined && cut + 2 < raw.length) place = { at: at + cut + 2, token: index, cut: cut + 2 };
    } else if (token.type === "escape" && /[([]/.test(token.text)) break; // a formula, perhaps
    at += token.raw.length;
    if (at > limit) break;
  }
  return place;
}

export class Inline {
  constructor(host, reader) {
    this.host = host;
    this.reader = reader;
    this.views = [];
    this.text = "";
    this.begin();
  }

  begin() {
    this.done = 0; // characters that are finished
    this.count = 0; // views that are finished
    this.held = ""; // what the next view, a text, has of them
  }

  update(text, open) {
    if (text === this.text && open === this.open) return;
    if (this.done > 0 && !text.startsWith(this.text.slice(0, this.done))) this.begin();
    this.text = text;
    this.open = open;
    const rest = text.slice(this.done);
    const mended = open ? mendedLine(rest) : { text: rest, closed: rest.length };
    const tokens = spans(mended.text);
    if (open) unlinkLast(tokens);
    patch(this.host, this.views, this.after(tokens), this.reader, this.count);
    if (open && rest.length > STEP) this.rest(tokens, mended.closed, rest.search(DOLLAR));
  }

  /** The descriptions of `tokens`, the first joined to the text that is finished. */
  after(tokens) {
    const nodes = described(tokens, this.reader.cites);
    if (this.held === "") return nodes;
    if (typeof nodes[0] === "string") nodes[0] = this.held + nodes[0];
    else nodes.unshift(this.held);
    return nodes;
  }

  rest(tokens, closed, dollar) {
    const place = restingPlace(tokens, dollar < 0 ? closed : Math.min(closed, dollar));
    if (!place) return;
    const last = tokens[place.token];
    const before = this.after([...tokens.slice(0, place.token), { ...last, raw: last.raw.slice(0, place.cut) }]);
    this.done += place.at;
    this.count += before.length - 1;
    this.held = before.at(-1);
  }
}

/** An address that is still being written leads somewhere else with each character: no link before it has ended. */
function unlinkLast(tokens) {
  const last = tokens.at(-1);
  if (last?.type === "link" && last.autolink) tokens[tokens.length - 1] = { type: "text", raw: last.raw, text: last.raw };
}
