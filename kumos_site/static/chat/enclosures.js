// What came with a message, drawn: pictures as thumbnails, other files as chips with name, size and a download.

import { addressOf, describe, harmless, mayDownload, sizeInWords } from "./files.js";
import { drawing, element, setText } from "./nodes.js";

const SHEET = "M4 1.5h5.5l3 3v10H4zM9.5 1.5v3h3";

/** A stored file as a link that downloads it. */
export function fileChip(fileId, words = "") {
  const name = element("span", { className: "file-name" }, words || "…");
  const size = element("span", { className: "file-size" });
  const address = mayDownload() ? { href: addressOf(fileId), download: "" } : {};
  const link = element("a", { className: "file", ...address }, drawing("file-sign", SHEET), name, size);
  describe(fileId).then((file) => {
    if (file) {
      setText(name, words || harmless(file.filename, 40));
      setText(size, sizeInWords(file.bytes));
      if (mayDownload()) link.title = `Download ${harmless(file.filename, 300)}`;
    } else if (file === undefined) {
      setText(name, words || "A file");
    } else {
      setText(name, words || "A file");
      setText(size, "no longer kept");
      link.removeAttribute("href");
    }
  });
  return link;
}

/** The node for a content part that is no text; null for one that is. */
export function partNode(part, pictures, what) {
  if (part.type === "image_file") return pictures.ofFile(part.image_file.file_id, what);
  if (part.type === "image_url") return pictures.ofAddress(part.image_url.url, what);
  return null;
}

export class Enclosures {
  constructor(pictures) {
    this.pictures = pictures;
    this.element = element("div", { className: "enclosures", hidden: true });
    this.drawn = "";
  }

  update(message) {
    const parts = message.content.filter((part) => part.type === "image_file" || part.type === "image_url");
    const files = (message.attachments ?? []).map((attachment) => attachment.file_id);
    const now = JSON.stringify([parts, files]);
    if (now === this.drawn) return;
    this.drawn = now;
    const nodes = parts.map((part) => partNode(part, this.pictures, "Attached picture"));
    this.element.replaceChildren(...nodes, ...files.map((id) => fileChip(id)));
    this.element.hidden = nodes.length + files.length === 0;
  }
}

/** The files that a text says a tool made ("sandbox:/mnt/data/x.csv"), each once, as functions that make their chips. */
export function madeFiles(message) {
  const paths = message.content.flatMap((part) => part.text?.annotations ?? []).filter((one) => one?.type === "file_path");
  const names = new Map(paths.map((one) => [one.file_path.file_id, harmless(one.text.split("/").at(-1), 40)]));
  return [...names].map(([fileId, name]) => () => fileChip(fileId, name));
}
