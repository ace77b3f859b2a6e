// Where citations lie in a text, and how they get through the markdown: in what is read each one is a placeholder that
// cannot be written, 【 + U+FDD0 + number + 】. It counts as punctuation, as the marker 【0:1†source】 did in its place.
// A file that a tool made is one of them: its marker is the path that the model knows it by, "sandbox:/mnt/data/x.csv".

import { harmless } from "./files.js";

const HOLDER = /【\ufdd0(\d+)】/;
const HOLDERS = new RegExp(HOLDER, "g");
const NAME_MAX = 40;
const ALONE = new RegExp(`^${HOLDER.source}$`);

/** A character offset of the API (it counts code points) as an index into a JavaScript string (it counts UTF-16 units). */
export function unitOffset(text, points) {
  let at = 0;
  for (let count = 0; count < points && at < text.length; count += 1) at += text.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

export class Citations {
  constructor() {
    this.found = []; // by the annotation's index; null where it cites nothing that can be shown
    this.sorted = [];
  }

  /**
   * Take in what is new of `annotations`, whose offsets count in `raw`; `placed(unit)` is where that unit lies in `text`,
   * the text that is shown. Returns the new citations, `{ start, end, text, fileId, made, annotation, index }`; `made` is the
   * name of the file where a tool made it.
   */
  read(raw, text, placed, annotations, growing) {
    const fresh = [];
    for (let index = 0; index < annotations.length; index += 1) {
      const annotation = annotations[index];
      if (!annotation || this.found[index] !== undefined) continue;
      const cite = this.locate(raw, text, placed, annotation, growing);
      if (cite === undefined) continue; // its marker may still be on its way
      this.found[index] = cite;
      if (!cite) continue;
      fresh.push(Object.assign(cite, { index }));
      this.sorted.splice(this.sorted.findLastIndex((other) => other.start < cite.start) + 1, 0, cite);
    }
    return fresh;
  }

  locate(raw, text, placed, annotation, growing) {
    const { type, text: marker } = annotation;
    if ((type !== "file_citation" && type !== "file_path") || !marker) return null;
    let start = placed(unitOffset(raw, annotation.start_index));
    if (growing && start + marker.length > text.length) return undefined;
    const free = (at) => !this.sorted.some((other) => other.start < at + marker.length && at < other.end);
    if (text.slice(start, start + marker.length) !== marker || !free(start)) start = text.indexOf(marker);
    while (start >= 0 && !free(start)) start = text.indexOf(marker, start + 1);
    if (start < 0) return undefined;
    const made = type === "file_path" ? harmless(marker.split("/").at(-1), NAME_MAX) : "";
    return { start, end: start + marker.length, text: marker, fileId: annotation[type].file_id, made, annotation };
  }

  /** The range of `text` with placeholders; `origin(at)` leads from an index of it back to one of `text`. */
  filled(text, from, to = text.length) {
    const cites = this.sorted.filter((cite) => cite.start >= from && cite.end <= to);
    if (cites.length === 0) return { source: text.slice(from, to), origin: (at) => from + at };
    let source = "";
    let at = from;
    const ends = cites.map((cite) => {
      source += `${text.slice(at, cite.start)}【\ufdd0${cite.index}】`;
      at = cite.end;
      return source.length;
    });
    const origin = (place) => {
      const before = ends.findLastIndex((end) => end <= place);
      return before < 0 ? from + place : cites[before].end + place - ends[before];
    };
    return { source: source + text.slice(at, to), origin };
  }

  /** Text with placeholders as strings and `{ cite }`. */
  pieces(text) {
    if (!text.includes("\ufdd0")) return [text];
    const pieces = text.split(HOLDER).map((piece, index) => (index % 2 ? { cite: this.found[piece] } : piece));
    return pieces.filter((piece) => piece !== "");
  }

  /** The file that an address stands for, as a citation; null where it stands for itself. */
  madeAt(address) {
    const cite = this.found[ALONE.exec(address)?.[1]];
    return cite?.made ? cite : null;
  }

  /** Text where a chip has no place (code, maths, addresses): the marker stands there as it was written. */
  plain(text) {
    return text.includes("\ufdd0") ? text.replace(HOLDERS, (_, index) => this.found[index].text) : text;
  }
}
