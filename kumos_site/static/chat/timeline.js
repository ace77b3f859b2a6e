// The tab "Steps": runs, their steps and tool calls as bars. Every run begins at zero of one common axis, so that their
// lengths compare. A click shows the first event of what was clicked.

import { secondsInWords } from "./eventlist.js";
import { element, setText } from "./nodes.js";

const TICKS = 4;

function percent(part, whole) {
  return `${whole > 0 ? Math.min(100, (100 * part) / whole) : 0}%`;
}

export class Timeline {
  /** onSelect(seq) */
  constructor({ onSelect }) {
    this.onSelect = onSelect;
    this.axis = element("div", { className: "axis", "aria-hidden": "true" });
    this.list = element("ol", { className: "spans" });
    this.empty = element("p", { className: "quiet", hidden: true }, "Nothing ran yet.");
    this.element = element("div", { className: "timeline" }, this.axis, this.list, this.empty);
    this.rows = new Map();
  }

  clear() {
    this.rows.clear();
    this.list.replaceChildren();
  }

  draw(spans) {
    const end = spans.longest();
    this.empty.hidden = spans.runs.size > 0;
    this.axis.replaceChildren(...(end ? Array.from({ length: TICKS + 1 }, (_, tick) => this.tick(tick, end)) : []));
    for (const run of spans.runs.values()) {
      this.row(run, 0, run.from, end, spans.now);
      for (const step of run.inside.values()) {
        this.row(step, 1, run.from, end, spans.now);
        for (const call of step.inside.values()) this.row(call, 2, run.from, end, spans.now);
      }
    }
  }

  tick(tick, end) {
    const mark = element("span", {}, secondsInWords((end * tick) / TICKS));
    mark.style.left = percent(tick, TICKS);
    return mark;
  }

  row(span, level, zero, end, now) {
    const row = this.rows.get(span.key) ?? this.make(span, level);
    const to = span.to ?? now;
    row.button.dataset.status = span.status;
    setText(row.time, secondsInWords(Math.max(0, to - span.from)));
    setText(row.state, span.status.replace("_", " "));
    row.bar.style.left = percent(span.from - zero, end);
    row.bar.style.width = percent(to - span.from, end);
    const waits = span.waits.filter((wait) => (wait.to ?? now) > wait.from);
    while (row.bar.childElementCount > waits.length) row.bar.lastChild.remove();
    waits.forEach((wait, index) => {
      const mark = row.bar.children[index] ?? row.bar.appendChild(element("span", { className: "wait" }));
      mark.style.left = percent(wait.from - span.from, to - span.from);
      mark.style.width = percent((wait.to ?? now) - wait.from, to - span.from);
    });
  }

  make(span, level) {
    const time = element("span", { className: "span-time" });
    const state = element("span", { className: "hidden" });
    const bar = element("span", { className: "bar" });
    const track = element("span", { className: "track", "aria-hidden": "true" }, bar);
    const button = element("button", { type: "button", "data-level": level }, element("span", { className: "span-name" }, span.words), time, state, track);
    button.addEventListener("click", () => this.onSelect(span.seq));
    // Steps come after their run, and a run after the ones before it: the end is the place.
    this.list.append(element("li", {}, button));
    const row = { button, time, state, bar };
    this.rows.set(span.key, row);
    return row;
  }
}
