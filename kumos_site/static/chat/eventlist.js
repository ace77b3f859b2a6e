// The list of events: only the rows in view are in the document, so that twenty thousand scroll like twenty.
// A listbox: arrows move, Home and End jump, Enter opens. Follows the end while the reader is there.

import { passes } from "./events.js";
import { element, setText } from "./nodes.js";

const SPARE = 6; // rows drawn beyond each edge
const ROW = { fine: 26, coarse: 44 }; // pixels; a finger needs more
const MOVES = { ArrowUp: -1, ArrowDown: 1, PageUp: -10, PageDown: 10, Home: -Infinity, End: Infinity };

export function sizeInWords(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1_000_000 ? `${(bytes / 1000).toFixed(1)} kB` : `${(bytes / 1_000_000).toFixed(1)} MB`;
}

export function secondsInWords(seconds) {
  if (seconds === 0) return "0";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 2 : 1)} s`;
  return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** `thread.run.step.created` → `step.created`. */
export function shortName(event) {
  return event.replace(/^thread\./, "").replace(/^run\.step\./, "step.");
}

export class EventList {
  /** onSelect(entry) when the reader moves to an entry; onOpen(entry) when they want to see all of it. */
  constructor({ onSelect, onOpen, onCount }) {
    Object.assign(this, { onSelect, onOpen, onCount });
    this.height = matchMedia("(pointer: coarse)").matches ? ROW.coarse : ROW.fine;
    this.filter = { text: "", families: new Set(["message", "step", "run"]), deltas: true, run: "" };
    this.inner = element("div", { role: "presentation", className: "events-inner" });
    this.box = element("div", { className: "events", role: "listbox", tabIndex: 0, "aria-label": "Events" }, this.inner);
    this.newest = element("button", { type: "button", className: "events-newest", hidden: true }, "Follow ↓");
    this.newest.addEventListener("click", () => this.toEnd());
    this.element = element("div", { className: "events-frame" }, this.box, this.newest);
    this.drawn = new Map(); // index → node
    this.spare = [];
    this.show(null);
    this.box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.pressed(event));
    this.box.addEventListener("click", (event) => this.clicked(event));
    new ResizeObserver(() => this.resized()).observe(this.box);
  }

  show(log) {
    this.log = log;
    this.selected = null;
    this.following = true;
    this.rebuild();
  }

  /** The filter, a cut or the log itself changed: all rows anew. A row is an entry or `{ note }`. */
  rebuild() {
    this.rows = [];
    this.taken = 0;
    this.matched = 0;
    this.matchedBytes = 0;
    this.cut = 0;
    this.clear();
    this.grow();
  }

  clear() {
    for (const node of this.drawn.values()) node.remove();
    this.drawn.clear();
  }

  /** Entries were added at the end. */
  grow() {
    const { log } = this;
    for (; log && this.taken < log.entries.length; this.taken += 1) {
      const entry = log.entries[this.taken];
      this.noteCuts(entry.seq);
      const missing = log.missingBefore(this.taken);
      if (missing) this.rows.push({ note: `${missing === 1 ? "1 event is" : `${missing} events are`} no longer kept (compacted)` });
      if (!passes(entry, this.filter)) continue;
      this.rows.push(entry);
      this.matched += 1;
      this.matchedBytes += entry.size;
    }
    this.noteCuts(Infinity);
    this.onCount({ shown: this.matched, bytes: this.matchedBytes, all: log?.entries.length ?? 0 });
    this.later();
  }

  noteCuts(before) {
    const cuts = this.log?.cuts ?? [];
    for (; this.cut < cuts.length && cuts[this.cut].seq < before; this.cut += 1) this.rows.push({ note: cuts[this.cut].words });
  }

  /** The detail opened below, or the panel: what is selected stays in view. */
  resized() {
    if (this.selected) this.bringIntoView(this.rows.indexOf(this.selected));
    this.later();
  }

  later() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    this.inner.style.height = `${this.rows.length * this.height}px`;
    if (this.following) this.box.scrollTop = this.box.scrollHeight;
    const first = Math.max(0, Math.floor(this.box.scrollTop / this.height) - SPARE);
    const last = Math.min(this.rows.length, Math.ceil((this.box.scrollTop + this.box.clientHeight) / this.height) + SPARE);
    for (const [index, node] of this.drawn) {
      if (index >= first && index < last) continue;
      this.drawn.delete(index);
      node.remove();
      this.spare.push(node);
    }
    for (let index = first; index < last; index += 1) this.drawRow(index);
    this.newest.hidden = this.following || this.atEnd();
    const active = this.selected && [...this.drawn].find(([index]) => this.rows[index] === this.selected);
    if (active) this.box.setAttribute("aria-activedescendant", active[1].id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  drawRow(index) {
    const row = this.rows[index];
    let node = this.drawn.get(index);
    if (!node) {
      node = this.spare.pop() ?? this.makeRow();
      this.drawn.set(index, node);
      this.fill(node, row, index);
      this.inner.append(node);
    }
    if (node.ariaSetSize !== String(this.rows.length)) node.ariaSetSize = String(this.rows.length);
    if (node.ariaSelected !== String(row === this.selected)) node.ariaSelected = String(row === this.selected);
  }

  makeRow() {
    const cells = ["seq", "since", "name", "size", "gap"].map((name) => element("span", { className: `event-${name}` }));
    const node = element("div", { role: "option" }, ...cells);
    node.style.height = `${this.height}px`;
    return node;
  }

  fill(node, row, index) {
    const [seq, since, name, size, gap] = node.children;
    node.id = `event-row-${index}`;
    node.style.transform = `translateY(${index * this.height}px)`;
    node.setAttribute("aria-posinset", String(index + 1));
    node.className = row.note ? "event-note" : "event";
    node.dataset.family = row.family ?? "";
    node.dataset.seq = row.seq ?? "";
    if (row.note) node.setAttribute("aria-disabled", "true");
    else node.removeAttribute("aria-disabled");
    setText(seq, row.note ? "" : `${row.seq} `);
    setText(since, row.note ? "" : `${row.since.toFixed(3)} `);
    setText(name, row.note ? `— ${row.note} —` : `${shortName(row.event)} `);
    setText(size, row.note ? "" : `${sizeInWords(row.size)} `);
    setText(gap, row.note ? "" : row.gap > 0 ? `+${secondsInWords(row.gap)}` : "+0");
  }

  atEnd() {
    return this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < this.height;
  }

  scrolled() {
    this.following = this.atEnd();
    this.later();
  }

  toEnd() {
    this.following = true;
    this.later();
  }

  pressed(event) {
    const move = MOVES[event.key];
    if (event.key === "Enter" && this.selected) this.onOpen(this.selected);
    else if (move !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) this.move(move);
    else return;
    event.preventDefault();
  }

  move(by) {
    const entries = this.rows.filter((row) => !row.note);
    if (entries.length === 0) return;
    const at = this.selected ? entries.indexOf(this.selected) : by > 0 ? -1 : entries.length;
    this.select(entries[Math.min(entries.length - 1, Math.max(0, at + by))]);
    this.onSelect(this.selected);
    if (by === Infinity) this.toEnd();
  }

  clicked(event) {
    const node = event.target.closest(".event");
    const found = node && [...this.drawn].find(([, other]) => other === node);
    if (!found) return;
    this.select(this.rows[found[0]]);
    this.onSelect(this.selected);
    this.onOpen(this.selected);
  }

  /** Mark an entry and bring it into view; where the filter hides it, the nearest one before it. */
  select(entry) {
    let index = this.rows.indexOf(entry);
    if (entry && index < 0) index = this.rows.findLastIndex((row) => row.seq <= entry.seq);
    this.selected = this.rows[index] ?? null;
    if (this.selected) {
      if (index < this.rows.length - 1) this.following = false; // what is looked at stays where it is
      this.bringIntoView(index);
    }
    this.later();
  }

  bringIntoView(index) {
    const top = index * this.height;
    const { scrollTop, clientHeight } = this.box;
    if (top >= scrollTop && top + this.height <= scrollTop + clientHeight) return;
    this.inner.style.height = `${this.rows.length * this.height}px`; // it may be drawn only later
    this.box.scrollTop = Math.max(0, top - clientHeight / 2);
  }
}
