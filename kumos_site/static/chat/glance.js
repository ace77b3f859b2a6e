// A glance at a source: a small card beside the number of a citation while the pointer or the focus is there. It says
// which file and what is written there; the whole, with everything else that was found, is in the panel (sources.js).

import { defused } from "./characters.js";
import { describe, harmless } from "./files.js";
import { element } from "./nodes.js";

const WAIT_MS = 120; // a pointer that only crosses the text opens nothing
const LINGER_MS = 200; // and one may go over to the card
const GAP = 6;
const QUOTED = 320; // characters

export class Glance {
  constructor({ passages }) {
    this.passages = passages;
    this.card = element("div", { id: "glance", className: "glance", role: "tooltip", hidden: true });
    document.body.append(this.card);
    this.chip = null;
    this.timer = 0;
    this.card.addEventListener("pointerenter", () => clearTimeout(this.timer));
    this.card.addEventListener("pointerleave", () => this.later(() => this.hide(), LINGER_MS));
    document.addEventListener("scroll", (event) => this.scrolled(event), { capture: true, passive: true });
    document.addEventListener(
      "keydown",
      (event) => {
        if (event.key !== "Escape" || !this.chip) return;
        event.stopPropagation(); // it closes the card and nothing below it
        this.hide();
      },
      { capture: true },
    );
  }

  /** `source()` gives `{ run, cite, number }`, once it is looked at. */
  watch(chip, source) {
    chip.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && this.later(() => this.show(chip, source()), WAIT_MS));
    chip.addEventListener("pointerleave", () => this.later(() => this.hide(), LINGER_MS));
    chip.addEventListener("focus", () => chip.matches(":focus-visible") && this.show(chip, source()));
    chip.addEventListener("blur", () => this.hide());
    chip.addEventListener("click", () => this.hide());
  }

  /** The card goes with its chip: focus itself may bring a chip into sight. */
  scrolled(event) {
    if (!this.chip || event.target === this.card) return;
    const { top, bottom } = this.chip.getBoundingClientRect();
    if (!this.chip.isConnected || bottom < 0 || top > innerHeight) this.hide();
    else this.place(this.chip);
  }

  later(action, milliseconds) {
    clearTimeout(this.timer);
    this.timer = setTimeout(action, milliseconds);
  }

  async show(chip, { run, cite, number }) {
    clearTimeout(this.timer);
    if (this.chip === chip) return;
    this.chip = chip;
    this.fill(chip, element("p", { className: "quiet" }, "Looking up the passage…"));
    const [file, found] = await Promise.allSettled([describe(cite.fileId), this.passages.of(run)]);
    if (this.chip !== chip) return;
    if (found.status === "rejected") this.fill(chip, element("p", {}, `The passage cannot be shown: ${found.reason.message}`));
    else this.fill(chip, ...this.content(found.value, cite, file.value, number));
  }

  content(found, cite, file, number) {
    const passage = found.cited(cite);
    const name = harmless(file?.filename || found.all().find((one) => one.fileId === cite.fileId)?.fileName || "A file");
    const title = element("p", { className: "glance-title" }, element("span", {}, `${number} · ${name}`));
    if (!passage) return [title, element("p", { className: "quiet" }, "The passage behind this statement is no longer kept.")];
    title.append(element("span", { className: "score" }, `Score ${passage.score.toFixed(2)}`));
    const text = passage.text.length > QUOTED ? `${passage.text.slice(0, QUOTED).trimEnd()}…` : passage.text;
    return [title, element("blockquote", {}, defused(text) || "Its text is no longer kept.")];
  }

  fill(chip, ...nodes) {
    this.card.replaceChildren(...nodes);
    this.card.hidden = false; // no popover: keys go on working where they are (shortcuts.js)
    chip.setAttribute("aria-describedby", this.card.id);
    this.place(chip);
  }

  /** Above the chip where there is room, else below; never out of the window. */
  place(chip) {
    const at = chip.getBoundingClientRect();
    const { width, height } = this.card.getBoundingClientRect();
    const left = Math.min(Math.max(GAP, at.left + at.width / 2 - width / 2), innerWidth - width - GAP);
    const above = at.top - height - GAP;
    this.card.style.left = `${left}px`;
    this.card.style.top = `${above >= GAP ? above : Math.min(at.bottom + GAP, innerHeight - height - GAP)}px`;
  }

  hide() {
    clearTimeout(this.timer);
    this.chip?.removeAttribute("aria-describedby");
    this.chip = null;
    this.card.hidden = true;
  }
}
