// What a file is to people and to tools: its name and size in words, what the page takes, and which tool reads it.
// Names are other people's text: they are shown without the characters that turn or hide what stands beside them.

import { get, identity } from "./api.js";

export const FILES_MAX = 10; // for one message
export const FILE_BYTES_MAX = 512 * 1024 ** 2; // the server's own limit may be lower; its refusal then says so
export const PICTURE_BYTES_MAX = 20 * 1024 ** 2; // the largest that a model is shown
export const LIMITS =
  `Up to ${FILES_MAX} files for a message: pictures (PNG, JPEG, GIF, WebP) up to 20 MB; ` +
  "PDF, Word, PowerPoint, web pages, text, tables and source code up to 512 MB.";

const SEARCHED = new Set(
  ("c cc cfg conf cpp cs css csv doc docx go h hpp htm html ini java js json jsonl jsx kt log lua markdown md mjs pdf php" +
    " pl pptx py r rb rs rst scala sh sql svg swift tex toml ts tsv tsx txt vue xhtml xml yaml yml").split(" "),
);
const PICTURES = new Set(["png", "jpg", "jpeg", "gif", "webp"]);
const SECRETIVE = /(?![\u200c\u200d\s])[\p{Cc}\p{Cf}\p{Cs}]/gu; // but the joiners that scripts and emoji need
const MARK_MAX = 80;

/** Text of others on one line, where each character that is invisible or turns the line shows as �. */
export function harmless(text, most = MARK_MAX) {
  const clean = String(text).replace(SECRETIVE, "�").replace(/\s+/g, " ").trim();
  const characters = [...clean];
  if (characters.length <= most) return clean;
  const tail = Math.min(16, Math.floor(most / 3)); // the ending says what kind of file it is
  return `${characters.slice(0, most - tail - 1).join("")}…${characters.slice(-tail).join("")}`;
}

export function sizeInWords(bytes) {
  if (bytes < 1000) return bytes === 1 ? "1 byte" : `${bytes} bytes`;
  const units = ["kB", "MB", "GB"];
  let value = bytes / 1000;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

export function suffixOf(name) {
  return /\.([^.\\/]+)$/.exec(name)?.[1].toLowerCase() ?? "";
}

export const ACCEPTED = [...PICTURES, ...SEARCHED].map((suffix) => `.${suffix}`).join(",");

export function isPicture(name) {
  return PICTURES.has(suffixOf(name));
}

/** The media type of a picture by its first bytes; "" for anything but PNG, JPEG, GIF and WebP. */
export function pictureKind(bytes) {
  const head = String.fromCharCode(...bytes.subarray(0, 12));
  if (head.startsWith("\x89PNG\r\n\x1a\n")) return "image/png";
  if (head.startsWith("\xff\xd8\xff")) return "image/jpeg";
  if (head.startsWith("GIF87a") || head.startsWith("GIF89a")) return "image/gif";
  if (head.startsWith("RIFF") && head.slice(8) === "WEBP") return "image/webp";
  return "";
}

/** Why the page does not even send a chosen file, in words; "" where it does. */
export async function refusalOf(file) {
  const suffix = suffixOf(file.name);
  if (file.size === 0) return "It is empty, or a folder.";
  if (file.size > FILE_BYTES_MAX) return `It has ${sizeInWords(file.size)}; at most 512 MB can be sent.`;
  if (!isPicture(file.name)) {
    return SEARCHED.has(suffix) ? "" : `Files of the kind “${harmless(suffix || "none", 20)}” can be neither read nor seen.`;
  }
  if (file.size > PICTURE_BYTES_MAX) return `A picture may have up to 20 MB; this one has ${sizeInWords(file.size)}.`;
  const kind = pictureKind(new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return kind ? "" : "It is not the picture that its name says.";
}

/** The tools of an assistant that can read an attached file. Tables and the like go to code, too, where there is any. */
export function toolsFor(assistant) {
  const own = new Set((assistant?.tools ?? []).map((tool) => tool.type));
  return ["file_search", "code_interpreter"].filter((type) => own.has(type)).map((type) => ({ type }));
}

/** Where the bytes of a stored file are; the server always hands them out as a download. */
export function addressOf(fileId) {
  return `/v1/files/${encodeURIComponent(fileId)}/content`;
}

/** A link is followed with the cookie of a login; who reads by a token (shared.js) has none to show there. */
export function mayDownload() {
  return identity().headers === undefined;
}

const known = new Map(); // file id → promise of the file object; null where it was deleted, undefined where nobody knows

export function describe(fileId) {
  if (!known.has(fileId)) {
    const asked = get(`/files/${encodeURIComponent(fileId)}`).catch((failure) => {
      if (failure.status !== 404) known.delete(fileId); // a lost line is no deletion: the next one asks again
      return failure.status === 404 ? null : undefined;
    });
    known.set(fileId, asked);
  }
  return known.get(fileId);
}
