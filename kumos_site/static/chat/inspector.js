// The event inspector beside the chat: a panel with the tabs Events, Steps and Context, and what ties an
// event to the part of the transcript that it changed. The pieces are modules of their own; this one joins them.

import { Context } from "./context.js";
import { EventDetail } from "./eventdetail.js";
import { EventLog, readLog } from "./events.js";
import { EventList, sizeInWords } from "./eventlist.js";
import { element, setText } from "./nodes.js";
import { Plug } from "./plug.js";
import { Replay } from "./replay.js";
import { Spans } from "./spans.js";
import { TERMINAL } from "./thread.js";
import { Timeline } from "./timeline.js";

const OPEN = "kumos.inspector";
const TABS = { events: "Events", steps: "Steps", context: "Context" };
const FAMILIES = { message: "Messages", step: "Steps", run: "Runs" };
const REDRAW_MS = 250;
const SHEET = matchMedia("(max-width: 46rem)"); // there it covers the page

export class Inspector {
  constructor({ panel, button, bar, page }) {
    Object.assign(this, { panel, button, page });
    this.transcript = page.transcript.list;
    this.tab = "events";
    this.counted = element("p", { className: "event-count" });
    this.plug = new Plug(page.line, { onNote: () => this.list.rebuild() });
    this.list = new EventList({
      onSelect: (entry) => this.chosen(entry),
      onOpen: (entry) => this.detail.show(this.model.id, entry),
      onCount: (count) => this.count(count),
    });
    this.detail = new EventDetail({ onClose: () => this.closeDetail() });
    this.timeline = new Timeline({ onSelect: (seq) => this.reveal(this.log.at(seq)) });
    this.context = new Context({ assistantName: (id) => page.assistantName(id) });
    this.replay = new Replay(bar, {
      transcript: page.transcript,
      live: () => page.model,
      onMove: (entry) => this.moved(entry),
      onEnd: (hadFocus) => this.replayed(hadFocus),
    });
    this.build();
    this.listen();
  }

  // Building ------------------------------------------------------------------------------------------------------

  build() {
    const close = element("button", { type: "button", className: "icon", "aria-label": "Close the inspector" }, "✕");
    close.addEventListener("click", () => this.close());
    this.tabs = Object.entries(TABS).map(([name, words]) => this.makeTab(name, words));
    const list = element("div", { role: "tablist", className: "tabs", "aria-label": "Inspector" }, ...this.tabs);
    list.addEventListener("keydown", (event) => this.tabPressed(event));
    this.panels = {
      events: [this.buildFilter(), this.list.element, this.detail.element],
      steps: [this.timeline.element],
      context: [this.context.element],
    };
    const panels = Object.entries(this.panels).map(([name, parts]) =>
      element("div", { id: `inspector-${name}`, role: "tabpanel", className: `tab-${name}`, "aria-labelledby": `tab-${name}` }, ...parts),
    );
    this.panel.append(element("header", {}, list, close), ...panels);
    this.select("events");
  }

  makeTab(name, words) {
    const tab = element("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `inspector-${name}` }, words);
    tab.addEventListener("click", () => this.select(name));
    return tab;
  }

  buildFilter() {
    this.text = element("input", { type: "search", id: "event-text", placeholder: "Filter", autocomplete: "off", spellcheck: false });
    this.text.addEventListener("input", () => this.filter({ text: this.text.value.trim().toLowerCase() }));
    this.runs = element("select", { "aria-label": "Events of", className: "event-runs" });
    this.runs.addEventListener("change", () => {
      this.filter({ run: this.runs.value });
      this.drawReplay();
    });
    const { families } = this.list.filter;
    const kinds = Object.entries(FAMILIES).map(([family, words]) =>
      this.toggleButton(words, (on) => this.filter({ families: on ? families.add(family) : (families.delete(family), families) }), family),
    );
    const deltas = this.toggleButton("Deltas", (on) => this.filter({ deltas: on }));
    this.replayButton = element("button", { type: "button", className: "small", disabled: true }, "Replay the run");
    this.replayButton.addEventListener("click", () => this.enterReplay());
    const first = element("div", { className: "event-row" }, element("label", { for: "event-text", className: "hidden" }, "Filter events"), this.text, this.runs);
    const second = element("div", { className: "event-row", role: "group", "aria-label": "Kinds of events" }, ...kinds, deltas);
    const third = element("div", { className: "event-row" }, this.replayButton, this.plug.button, this.counted);
    return element("div", { className: "event-filter" }, first, second, third);
  }

  toggleButton(words, action, family = "") {
    const button = element("button", { type: "button", className: "small", "aria-pressed": "true", "data-family": family }, words);
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      action(on);
    });
    return button;
  }

  listen() {
    this.panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault();
      event.stopPropagation(); // it closes what lies on top here, and stops no run
      if (!this.detail.element.hidden) this.closeDetail();
      else this.close();
    });
    this.transcript.addEventListener("click", (event) => this.clicked(event));
    SHEET.addEventListener("change", () => this.cover());
  }

  // Open and closed -----------------------------------------------------------------------------------------------

  get isOpen() {
    return !this.panel.hidden;
  }

  toggle(how) {
    if (this.isOpen) this.close();
    else this.open(how);
  }

  open({ focus = true } = {}) {
    this.panel.hidden = false;
    this.button.setAttribute("aria-expanded", "true");
    localStorage.setItem(OPEN, "open");
    this.cover();
    if (this.model && !this.log) this.begin();
    this.redraw();
    if (focus) this.tabs.find((tab) => tab.tabIndex === 0).focus();
  }

  close() {
    const hadFocus = this.panel.contains(document.activeElement);
    this.panel.hidden = true;
    this.button.setAttribute("aria-expanded", "false");
    localStorage.setItem(OPEN, "closed");
    this.cover();
    this.point(null);
    if (hadFocus) this.button.focus();
  }

  /** On a phone it lies over everything: what is below is out of reach. */
  cover() {
    const covered = this.isOpen && SHEET.matches;
    for (const other of document.querySelectorAll(".main, #sidebar")) other.inert = covered;
  }

  select(name) {
    this.tab = name;
    for (const tab of this.tabs) {
      const chosen = tab.id === `tab-${name}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    for (const other of this.panel.querySelectorAll('[role="tabpanel"]')) other.hidden = other.id !== `inspector-${name}`;
    this.redraw();
  }

  tabPressed(event) {
    const at = this.tabs.findIndex((tab) => tab.tabIndex === 0);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = this.tabs.at(to % this.tabs.length);
    this.select(tab.id.slice("tab-".length));
    tab.focus();
  }

  // The thread and its events -------------------------------------------------------------------------------------

  /** Another thread. Of a `fresh` one every event comes live. */
  show(model, fresh) {
    this.model = model;
    this.fresh = fresh;
    this.reading?.abort();
    this.replay.forget();
    this.plug.reset();
    this.log = null;
    this.list.show(null);
    this.detail.element.hidden = true;
    this.timeline.clear();
    this.point(null);
    this.context.show(model);
    this.drawRuns();
    if (this.isOpen) this.begin();
  }

  /** From now on every event is kept: those that were are read, those to come are taken in. */
  begin() {
    this.log = new EventLog();
    this.log.cuts = this.plug.cuts;
    this.log.whole = !this.model.id || (this.fresh && this.model.seq === 0);
    this.spans = new Spans();
    this.log.onEntry = (entry, object) => {
      this.spans.take(entry, object);
      if (entry.family === "run") this.drawRuns();
      this.grow();
    };
    this.list.show(this.log);
    this.reading = new AbortController();
    readLog(this.model.id, this.log, this.reading.signal);
  }

  /** A frame of the page's line. */
  take(frame) {
    this.log?.live(frame);
  }

  grow() {
    this.growing ||= requestAnimationFrame(() => {
      this.growing = 0;
      this.list.grow();
      if (this.tab !== "events") this.redrawing ||= setTimeout(() => this.redraw(), REDRAW_MS);
    });
  }

  /** What is not the list of events; often enough while a run writes. */
  redraw() {
    clearTimeout(this.redrawing);
    this.redrawing = 0;
    if (!this.isOpen || !this.model) return;
    if (this.tab === "steps" && this.spans) this.timeline.draw(this.spans);
    if (this.tab === "context") this.context.draw();
  }

  /** The line broke, and is there again. */
  broke(seq) {
    this.plug.broke(Math.max(seq, this.log?.last ?? 0)); // of a thread that rests the page knows no event
  }

  back() {
    this.plug.back();
  }

  count({ shown, bytes, all }) {
    setText(this.counted, shown === all ? `${all} events · ${sizeInWords(bytes)}` : `${shown} of ${all} · ${sizeInWords(bytes)}`);
  }

  filter(change) {
    Object.assign(this.list.filter, change);
    const { selected } = this.list;
    this.list.rebuild();
    if (selected) this.list.select(selected);
  }

  drawRuns() {
    const runs = this.log?.runs ?? [];
    if (this.runs.options.length !== runs.length + 1) {
      const chosen = runs.includes(this.runs.value) ? this.runs.value : "";
      const options = runs.map((run, index) => element("option", { value: run }, `Run ${index + 1}`));
      this.runs.replaceChildren(element("option", { value: "" }, "All runs"), ...options);
      this.runs.value = chosen;
      this.list.filter.run = chosen;
    }
    this.drawReplay();
  }

  // Events and what they drew -------------------------------------------------------------------------------------

  /** The reader moved to an entry of the list. */
  chosen(entry) {
    if (!this.detail.element.hidden) this.detail.show(this.model.id, entry);
    this.drawReplay();
    if (this.replay.active && entry.run === this.replay.run) this.replay.to(this.replay.entries.indexOf(entry) + 1);
    else this.point(entry, { scroll: true });
  }

  /** Outline what an event changed, and nothing else. */
  point(entry, { scroll = false } = {}) {
    for (const node of this.transcript.querySelectorAll(".pointed")) node.classList.remove("pointed");
    if (!entry) return;
    const nodes = [...this.transcript.querySelectorAll(`[data-${entry.part.kind}="${CSS.escape(entry.part.id)}"]`)];
    nodes.forEach((node) => node.classList.add("pointed"));
    if (scroll) nodes.at(-1)?.scrollIntoView({ block: "nearest" });
  }

  clicked(event) {
    if (!this.isOpen || !this.log || this.replay.active) return;
    const node = event.target.closest("[data-message], [data-step], [data-run]");
    if (!node) return;
    const kind = ["message", "step", "run"].find((one) => node.dataset[one]);
    this.reveal(this.log.lastOf(kind, node.dataset[kind]), { scroll: false });
  }

  reveal(entry, { scroll = true } = {}) {
    if (!entry) return;
    this.select("events");
    this.list.select(entry);
    if (!this.detail.element.hidden) this.detail.show(this.model.id, entry);
    this.drawReplay();
    this.point(entry, { scroll });
  }

  closeDetail() {
    this.detail.element.hidden = true;
    this.list.box.focus();
  }

  // Replay --------------------------------------------------------------------------------------------------------

  /** The run that would be replayed: that of the selected event, of the filter, or the newest one that is over. */
  replayable() {
    const over = (run) => TERMINAL.has(this.model.runs.get(run)?.status) || TERMINAL.has(this.spans?.runs.get(run)?.status);
    const asked = this.list.selected?.run ?? this.runs.value;
    if (asked) return over(asked) ? asked : "";
    return this.log?.runs.findLast(over) ?? "";
  }

  drawReplay() {
    const run = this.log ? this.replayable() : "";
    this.replayButton.disabled = run === "";
    setText(this.replayButton, run ? `Replay run ${this.log.runs.indexOf(run) + 1}` : "Replay");
  }

  enterReplay() {
    const run = this.replayable();
    if (!run) return;
    if (SHEET.matches) this.close();
    this.replay.enter(this.page.model, this.log.ofRun(run));
  }

  moved(entry) {
    if (!this.isOpen) return;
    if (entry) this.list.select(entry);
    if (entry && !this.detail.element.hidden) this.detail.show(this.model.id, entry);
    requestAnimationFrame(() => this.point(entry)); // once it is drawn
  }

  replayed(hadFocus) {
    this.point(null);
    if (hadFocus) (this.isOpen ? this.replayButton : this.button).focus();
  }
}
