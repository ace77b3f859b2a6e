// The source panel: the file a citation names, the passage behind the statement, and what else was found there.

import { defused } from "./characters.js";
import { addressOf, describe, harmless, mayDownload } from "./files.js";
import { element } from "./nodes.js";

export class Sources {
  constructor(panel, { passages }) {
    this.panel = panel;
    this.passages = passages;
    this.title = panel.querySelector("h2");
    this.body = panel.querySelector(".panel-body");
    panel.querySelector(".panel-close").addEventListener("click", () => this.close());
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // Esc in the panel closes it; it must not stop the run as well
      this.close();
    });
  }

  /** Asks what the run's searches found: the page may not know its steps yet. `from` gets the focus back. */
  async open({ run, cite, number, from }) {
    this.from = from;
    this.asked = cite;
    this.panel.hidden = false;
    this.title.textContent = `Source ${number}`;
    this.body.replaceChildren(element("p", { className: "quiet" }, "Looking up the passage…"));
    this.title.focus();
    const [file, found] = await Promise.allSettled([describe(cite.fileId), this.passages.of(run)]);
    if (this.asked !== cite) return;
    if (found.status === "rejected") this.say(`The passage cannot be shown: ${found.reason.message}`);
    else this.show(found.value, cite, file.value, number);
  }

  say(...content) {
    this.body.replaceChildren(element("p", { className: "quiet" }, ...content));
  }

  show(found, cite, file, number) {
    const own = found.all().filter((passage) => passage.fileId === cite.fileId);
    const cited = found.cited(cite);
    const name = file?.filename || own[0]?.fileName;
    if (name) this.title.textContent = harmless(name, 120);
    const nodes = [];
    if (file && mayDownload()) nodes.push(element("p", {}, element("a", { href: addressOf(cite.fileId), download: "" }, "Download the file")));
    else if (file === null) nodes.push(element("p", { className: "quiet" }, "The file itself was deleted."));
    if (cited) nodes.push(element("p", { className: "quiet" }, `Source ${number}: the passage behind this statement`), this.passage(cited));
    else nodes.push(element("p", { className: "gone" }, "The passage behind this statement is no longer kept."));
    const others = own.filter((passage) => passage !== cited);
    if (others.length) nodes.push(element("h3", {}, "Also found in this file"), ...others.map((passage) => this.passage(passage)));
    this.body.replaceChildren(...nodes);
    this.body.scrollTop = 0;
  }

  passage({ text, score }) {
    const words = text || "Its text is no longer kept.";
    return element("figure", {}, element("blockquote", {}, defused(words)), element("figcaption", {}, `Score ${score.toFixed(2)}`));
  }

  isOpen() {
    return !this.panel.hidden;
  }

  isOpen() {
    return !this.panel.hidden;
  }

  close() {
    this.panel.hidden = true;
    this.asked = null;
    this.from?.focus();
  }
}
