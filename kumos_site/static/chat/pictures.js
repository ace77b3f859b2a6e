// Pictures of messages and tools: fetched when they come into sight, checked by their first bytes, drawn from a blob,
// and shown large in a dialog (viewer.js). The server hands files out as downloads only, so no address of a file is ever
// an image's.

import { failureOf, identity } from "./api.js";
import { addressOf, describe, harmless, pictureKind } from "./files.js";
import { element } from "./nodes.js";

const MARGIN = "400px"; // this far below what can be seen they are fetched already
const DATA_URL = /^data:(image\/(?:png|jpeg|gif|webp));base64,[A-Za-z0-9+/=\s]+$/i;

async function fetched(fileId) {
  const response = await fetch(addressOf(fileId), identity()).catch(() => null);
  if (response === null) throw new Error("The server cannot be reached.");
  if (response.status === 404) throw new Error("This picture was deleted.");
  if (!response.ok) throw new Error((await failureOf(response)).message);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const type = pictureKind(bytes);
  if (!type) throw new Error("This is no picture that can be shown.");
  return URL.createObjectURL(new Blob([bytes], { type }));
}

export class Pictures {
  constructor() {
    this.addresses = new Map(); // file id → promise of a blob's address
    this.waiting = new Map();
    this.eye = new IntersectionObserver((seen) => this.noticed(seen), { rootMargin: MARGIN });
  }

  /** Another thread: what was fetched for the one left is given back. */
  forget() {
    this.eye.disconnect();
    this.waiting.clear();
    for (const address of this.addresses.values()) address.then((blob) => URL.revokeObjectURL(blob), () => {});
    this.addresses.clear();
  }

  noticed(seen) {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      this.eye.unobserve(target);
      this.waiting.get(target)?.();
      this.waiting.delete(target);
    }
  }

  /** A picture kept as a file; `what` says whose it is, for those who do not see it. */
  ofFile(fileId, what) {
    const image = element("img", { alt: "", draggable: false });
    const button = element("button", { type: "button", className: "picture", "aria-label": what }, image);
    let name = "";
    describe(fileId).then((file) => {
      name = file ? harmless(file.filename) : "";
      image.alt = name ? `${what}: ${name}` : what;
      button.setAttribute("aria-label", `${image.alt}. Open large`);
      button.title = name;
    });
    button.addEventListener("click", () => this.open(image, name || what, addressOf(fileId)));
    this.waiting.set(button, () => this.load(fileId, button, image));
    this.eye.observe(button);
    return button;
  }

  async load(fileId, button, image) {
    if (!this.addresses.has(fileId)) this.addresses.set(fileId, fetched(fileId));
    try {
      image.src = await this.addresses.get(fileId);
    } catch (error) {
      this.addresses.delete(fileId);
      const again = element("button", { type: "button", className: "more" }, "Try again");
      const gone = element("p", { className: "picture-gone quiet" }, `${error.message} `, again);
      again.addEventListener("click", () => {
        gone.replaceWith(button);
        this.load(fileId, button, image);
      });
      button.replaceWith(gone);
    }
  }

  /** A picture that the message names by an address. One elsewhere is never loaded; who wants to see it goes there. */
  ofAddress(url, what) {
    if (DATA_URL.test(url)) {
      const image = element("img", { alt: what, draggable: false, src: url });
      const button = element("button", { type: "button", className: "picture", "aria-label": `${what}. Open large` }, image);
      button.addEventListener("click", () => this.open(image, what, url));
      return button;
    }
    let host = "";
    try {
      const address = new URL(url);
      if (address.protocol === "https:" || address.protocol === "http:") host = address.host;
    } catch {
      // no address at all
    }
    if (!host) return element("p", { className: "picture-gone quiet" }, "A picture without a usable address.");
    const link = element("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, `Picture at ${harmless(host)}`);
    return element("p", { className: "picture-gone" }, link);
  }

  async open(image, name, address) {
    if (!image.getAttribute("src")) return; // not here yet
    const { Viewer } = await import("./viewer.js");
    this.viewer ??= new Viewer();
    this.viewer.show(image, name, address);
  }
}
