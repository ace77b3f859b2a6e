// Links and images of an answer. A model may have been told what to write: a link says where it goes, leads nowhere but
// to the web or a mailbox, and nothing is fetched before somebody asks for it.

import { decoded, defused } from "./characters.js";
import { addressOf, mayDownload } from "./files.js";

const ALLOWED = new Set(["http:", "https:", "mailto:"]);
const LONGEST = 80; // characters shown of an address that is no link

/** The address `href` names, or null where it is none that may be followed. */
export function address(href) {
  try {
    const url = new URL(decoded(href).trim());
    return ALLOWED.has(url.protocol) ? url : null;
  } catch {
    return null;
  }
}

/** Where a link leads, in a few words. Other scripts' letters show as xn--…, so that none looks like another. */
export function placeOf(url) {
  return url.protocol === "mailto:" ? decodeURI(url.pathname) : url.host;
}

function bare(host) {
  return host.replace(/^www\./, "");
}

/** Whether `words` are that address themselves: "example.org", "https://example.org/page". */
function shows(words, url) {
  const text = words.trim();
  if (!/^[!-~]+$/.test(text) || url.username || url.password) return false;
  if (url.protocol === "mailto:") return text === url.pathname || text === `mailto:${url.pathname}`;
  const shown = address(/^https?:\/\//i.test(text) ? text : `https://${text}`);
  return shown !== null && !shown.username && bare(shown.host) === bare(url.host);
}

function shortened(text) {
  return text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text;
}

function host(text) {
  return { tag: "span", attributes: { class: "host", dir: "ltr" }, children: [text] };
}

/** The nodes of a link: `children` are those of its words, `words` their text. */
export function link(href, words, children) {
  const url = address(href);
  if (!url) {
    const shown = words.trim() === href.trim() ? [] : [host(shortened(defused(href)))];
    return { tag: "span", attributes: { class: "dead-link" }, children: [...children, ...shown] };
  }
  return {
    tag: "a",
    attributes: { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow" },
    children: shows(words, url) ? children : [...children, host(placeOf(url))],
  };
}

/** The nodes of what names a file that a tool made: whoever may download it does so there. */
export function made(cite, children = [cite.made]) {
  if (!mayDownload()) return { tag: "span", attributes: { class: "made-file" }, children };
  const attributes = { class: "made-file", href: addressOf(cite.fileId), download: "", title: `Download ${cite.made}` };
  return { tag: "a", attributes, children };
}

/** An image is not loaded: whoever wrote its address would learn who reads, and could have words carried out in it. */
export function image(href, words, inLink) {
  const url = inLink ? null : address(href);
  const label = { tag: "span", attributes: { class: "remote-label" }, children: [words.trim() || "Image"] };
  const place = url && url.protocol !== "mailto:" ? placeOf(url) : address(href)?.host || "no web address";
  const children = [label, host(place)];
  if (!url || url.protocol === "mailto:") {
    return { tag: "span", attributes: { class: "remote-image", title: "Image that was not loaded" }, children };
  }
  const title = "Remote image: not loaded here, opens in a new tab";
  const attributes = { class: "remote-image", href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", title };
  return { tag: "a", attributes, children };
}
