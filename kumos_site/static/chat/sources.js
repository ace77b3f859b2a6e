// The source panel: which file a citation names and the passage the search found there.

import { CONTENT, get } from "./api.js";
import { element } from "./nodes.js";

const MARKER = /^【(\d+):(\d+)/;

/** What the searches found in the cited file: first the passage the marker 【step:result†…】 points at, then the others. */
function passagesOf(steps, cite) {
  const results = steps.map((step) => (step.step_details.tool_calls ?? []).flatMap((call) => call.file_search?.results ?? []));
  const [, step, result] = MARKER.exec(cite.text) ?? [];
  const cited = results[step]?.[result];
  return results.flat().filter((one) => one.file_id === cite.fileId).sort((one, other) => (other === cited) - (one === cited));
}

export class Sources {
  constructor(panel, { fileName }) {
    this.panel = panel;
    this.fileName = fileName;
    this.title = panel.querySelector("h2");
    this.body = panel.querySelector(".panel-body");
    panel.querySelector(".panel-close").addEventListener("click", () => this.close());
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation(); // Esc in the panel closes it; it must not stop the run as well
      this.close();
    });
  }

  /** Asks the run's searches for the text they found: the page may not know its steps yet. `from` gets the focus back. */
  async open({ thread, run, cite, number, from }) {
    this.from = from;
    this.asked = cite;
    this.panel.hidden = false;
    this.title.textContent = await this.fileName(cite.fileId);
    this.body.replaceChildren(element("p", { className: "quiet" }, "Looking up the passage…"));
    this.title.focus();
    try {
      const steps = await get(`/threads/${thread}/runs/${run}/steps?order=asc&limit=100&${CONTENT}`);
      if (this.asked === cite) this.show(steps.data, cite, number);
    } catch (failure) {
      this.body.replaceChildren(element("p", {}, `The passage cannot be shown: ${failure.message}`));
    }
  }

  show(steps, cite, number) {
    const passages = passagesOf(steps, cite);
    if (passages.length === 0) {
      this.body.replaceChildren(element("p", { className: "quiet" }, "The passage is no longer kept."));
      return;
    }
    const [first, ...others] = passages.map((passage) => this.passage(passage));
    const nodes = [element("p", { className: "quiet" }, `Source ${number}: the passage behind this statement`), first];
    if (others.length) nodes.push(element("h3", {}, "Also found in this file"), ...others);
    this.body.replaceChildren(...nodes);
  }

  passage(result) {
    const text = (result.content ?? []).map((part) => part.text).join("\n");
    const score = element("figcaption", {}, `Score ${result.score.toFixed(2)}`);
    return element("figure", {}, element("blockquote", {}, text), score);
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
