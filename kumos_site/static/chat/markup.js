// The little formatting answers use, as plain data: paragraphs, headings, lists, fenced code; inside a line **bold**,
// `code` and citations. Safe by construction: nothing here knows of HTML; transcript.js builds nodes from it.

const BULLET = /^ {0,3}[-*•] +/;
const NUMBER = /^ {0,3}(\d{1,3})[.)] +/;
const HEADING = /^(#{1,6}) +/;
const FENCE = /^ {0,3}```/;

/**
 * The blocks of `text` from `from` on, which must be 0 or the `start` of an earlier block.
 *
 * Text that is appended can change the last block only, so a caller goes on from there. Each block has `start`, `kind`
 * (paragraph, heading, bullets, numbers, code) and `lines`, ranges `{ start, end }` of `text`; code has one line.
 */
export function blocks(text, from = 0) {
  const found = [];
  let open = null;
  const begin = (kind, start, rest) => found.push((open = { kind, start, ...rest }));
  for (let at = from; at < text.length; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(at, end);
    let marker;
    if (open?.kind === "code") {
      if (FENCE.test(line)) open = null;
      else open.lines[0].end = end;
    } else if (FENCE.test(line)) {
      const body = Math.min(end + 1, text.length);
      begin("code", at, { lines: [{ start: body, end: body }], language: line.replace(FENCE, "").trim() });
    } else if (line.trim() === "") {
      open = null;
    } else if ((marker = HEADING.exec(line))) {
      begin("heading", at, { lines: [{ start: at + marker[0].length, end }] });
      open = null;
    } else if ((marker = BULLET.exec(line) ?? NUMBER.exec(line))) {
      const kind = marker[1] ? "numbers" : "bullets";
      if (open?.kind !== kind) begin(kind, at, { lines: [], first: Number(marker[1] ?? 1) });
      open.lines.push({ start: at + marker[0].length, end });
    } else if (open && (open.kind === "paragraph" || /^\s/.test(line))) {
      open.lines.at(-1).end = end; // a wrapped line belongs to the paragraph or item above
    } else {
      begin("paragraph", at, { lines: [{ start: at, end }] });
    }
    at = end + 1;
  }
  return found;
}

const CLOSED = /\*\*(?=\S)(.+?)\*\*|`([^`\n]+)`/gs;
const GROWING = /\*\*(?=\S)(.+?)(?:\*\*|\*?$)|`([^`\n]+)(?:`|$)/gs; // the end may still be on its way

function words(text, growing) {
  const tokens = [];
  let at = 0;
  for (const match of text.matchAll(growing ? GROWING : CLOSED)) {
    if (match.index > at) tokens.push({ kind: "text", text: text.slice(at, match.index) });
    tokens.push(match[1] === undefined ? { kind: "code", text: match[2] } : { kind: "strong", text: match[1] });
    at = match.index + match[0].length;
  }
  if (at < text.length) tokens.push({ kind: "text", text: text.slice(at) });
  return tokens;
}

/** The tokens `{ kind, text }` of one range; where a citation of `cites` (sorted, with `start`, `end`) lies, it stands. */
export function inline(text, { start, end }, cites = [], growing = false) {
  const tokens = [];
  let at = start;
  for (const cite of cites) {
    if (cite.start < at || cite.end > end) continue;
    tokens.push(...words(text.slice(at, cite.start), false), { kind: "cite", text: cite.text, cite });
    at = cite.end;
  }
  tokens.push(...words(text.slice(at, end), growing));
  return tokens;
}

/** A character offset of the API (it counts code points) as an index into a JavaScript string (it counts UTF-16 units). */
export function unitOffset(text, points) {
  let at = 0;
  for (let count = 0; count < points && at < text.length; count += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

/** Where an annotation lies in `text`, `{ start, end, text, fileId }`; null where it cites no file or fits nowhere. */
export function citation(text, annotation) {
  if (annotation?.type !== "file_citation") return null;
  const marker = annotation.text;
  let start = unitOffset(text, annotation.start_index);
  if (text.slice(start, start + marker.length) !== marker) start = text.indexOf(marker);
  if (start < 0) return null;
  return { start, end: start + marker.length, text: marker, fileId: annotation.file_citation.file_id };
}
