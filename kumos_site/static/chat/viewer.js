// One picture, large, in a dialog; fetched with the first that somebody opens (pictures.js).

import { mayDownload } from "./files.js";
import { element, setText } from "./nodes.js";

export class Viewer {
  constructor() {
    this.large = element("img", { alt: "" });
    this.title = element("h2", { id: "viewer-title" });
    this.save = element("a", { className: "button", download: "" }, "Download");
    const close = element("button", { type: "button", className: "icon", "aria-label": "Close" }, "✕");
    const head = element("header", {}, this.title, this.save, close);
    const dialog = element("dialog", { className: "viewer", "aria-labelledby": this.title.id }, head, this.large);
    this.dialog = dialog;
    document.body.append(dialog);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside the picture
    dialog.addEventListener("close", () => this.large.removeAttribute("src"));
    dialog.addEventListener("keydown", (event) => event.key === "Escape" && event.stopPropagation());
  }

  show(image, name, address) {
    this.large.src = image.src;
    this.large.alt = image.alt;
    setText(this.title, name);
    this.save.href = address;
    this.save.hidden = !mayDownload();
    if (!this.dialog.open) this.dialog.showModal();
  }
}
