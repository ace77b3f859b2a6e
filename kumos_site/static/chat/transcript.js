// The transcript: a Thread as list items. Draws at most once per frame, touches only what changed since the last time,
// and follows the end only while the reader is there.

import { Cards } from "./cards.js";
import { Editor } from "./editing.js";
import { Enclosures, madeFiles, partNode } from "./enclosures.js";
import { AnswerFoot, BriefFoot, QuestionFoot } from "./foot.js";
import { element, setText, withCode } from "./nodes.js";
import { Problem } from "./problems.js";
import { Prose } from "./prose.js";
import { TERMINAL, inWords } from "./thread.js";

const NEAR = 32; // pixels from the end that still count as the end

function textOf(message) {
  const texts = message.content.filter((part) => part.type === "text" || part.type === "refusal");
  return texts.map((part) => part.text?.value ?? part.refusal ?? "").join("\n");
}

class Question {
  constructor(page) {
    this.page = page;
    this.body = element("div", { className: "bubble" });
    this.enclosures = new Enclosures(page.pictures);
    this.article = element("article", { "aria-label": "You" }, this.enclosures.element, this.body);
    this.foot = page.readOnly || page.passing ? null : new QuestionFoot(page, () => this.edit());
    if (this.foot) this.article.append(this.foot.element);
    this.element = element("li", { className: "question" }, this.article);
  }

  update({ message }) {
    this.message = message;
    const text = textOf(message);
    setText(this.body, text);
    this.body.hidden = text === "" && message.content.length > 0;
    this.enclosures.update(message);
    this.element.dataset.message = message.id; // data-message, -step, -run: what an event changed (inspector.js)
  }

  updateFoot(turn, model, versions) {
    this.foot?.update(turn, versions);
  }

  /** Its text in a box; the question comes back when the editing ends. */
  edit() {
    if (this.editor) return;
    this.editor = new Editor(textOf(this.message), {
      onSend: (text) => this.page.branches.ask(this.message, text),
      onClose: () => this.closeEditor(),
    });
    this.article.classList.add("editing");
    this.article.append(this.editor.element);
    this.editor.begin();
  }

  closeEditor() {
    this.editor.element.remove();
    this.editor = null;
    this.article.classList.remove("editing");
    this.foot.element.querySelector("button:last-child").focus();
  }
}

/** Everything one run did: cards and text in their order, one line for its state, the sources at the end. */
class Answer {
  constructor(page, key) {
    this.page = page;
    this.numbers = new Map(); // file id → number of its chips
    this.views = new Map();
    this.versions = "";
    this.name = element("h2", { className: "who" });
    this.parts = element("div", { className: "parts" });
    this.form = element("form", { id: `outputs-${key}`, className: "outputs", hidden: true });
    this.form.append(element("button", { type: "submit", className: "button" }, "Send the output"));
    this.form.addEventListener("submit", (event) => this.submit(event));
    this.state = element("p", { className: "state" });
    this.sources = element("ul", { className: "sources", hidden: true, "aria-label": "Sources" });
    this.problem = page.readOnly ? null : new Problem(page);
    this.foot = page.readOnly ? null : page.passing ? new BriefFoot(page) : new AnswerFoot(page);
    const article = element("article", { className: "answer-body" }, this.name, this.parts, this.form, this.state);
    article.append(...[this.problem?.element, this.sources, this.foot?.element].filter(Boolean));
    this.element = element("li", { className: "answer" }, article);
  }

  /** What is drawn depends on the versions of these objects alone. */
  fingerprint({ run, parts, messages }) {
    const seen = parts.map((part) => `${part.key}.${(part.step ?? part.message).version}`);
    return `${run?.id}.${run?.version}.${this.writer({ run, messages })} ${seen.join(" ")}`;
  }

  /** Who answered; of a copy whose run nobody has any more only the message knows. */
  writer({ run, messages }) {
    const id = run?.assistant_id ?? messages[0]?.assistant_id;
    return id ? this.page.assistantName(id) : "";
  }

  update(turn, model) {
    const versions = this.fingerprint(turn);
    if (versions === this.versions) return;
    this.versions = versions;
    this.turn = turn;
    const { run, parts } = turn;
    setText(this.name, this.writer(turn) || "Assistant");
    const asks = run?.status === "requires_action" && !this.page.readOnly;
    this.waiting = asks ? run.required_action.submit_tool_outputs.tool_calls : [];
    const nodes = parts.flatMap((part) => (part.step ? [this.cards(part.step)] : this.text(part.message, run)));
    nodes.forEach((node, index) => {
      if (this.parts.childNodes[index] !== node) this.parts.insertBefore(node, this.parts.childNodes[index] ?? null);
    });
    while (this.parts.childNodes.length > nodes.length) this.parts.lastChild.remove();
    this.form.hidden = this.waiting.length === 0;
    this.drawState(run, model);
    this.element.dataset.run = run?.id ?? turn.key;
    this.tick(this.page.now());
  }

  updateFoot(turn, model, versions, isLast) {
    this.problem?.update(turn, model, isLast);
    this.foot?.update(turn, versions, isLast);
  }

  cards(step) {
    const cards = this.view(step.id, () => new Cards(this.page));
    cards.update(step, (call) => this.waiting.some((other) => other.id === call.id), this.form);
    cards.element.dataset.step = step.id;
    return cards.element;
  }

  text(message, run) {
    const growing = message.status === "in_progress";
    const over = !run || TERMINAL.has(run.status);
    const nodes = message.content.map((part, index) => {
      if (part.type !== "text" && part.type !== "refusal") return this.picture(part, `${message.id}.${index}`);
      const prose = this.view(`${message.id}.${index}`, () => new Prose({ chip: (cite) => this.chip(cite) }));
      prose.update(part.text?.value ?? part.refusal ?? "", part.text?.annotations ?? [], growing);
      prose.element.dataset.message = message.id;
      prose.element.classList.toggle("growing", growing && !over);
      return prose.element;
    });
    const made = madeFiles(message);
    if (made.length) {
      const files = () => ({ element: element("div", { className: "made" }), ids: 0 });
      const view = this.view(`${message.id}.files`, files);
      made.slice(view.ids).forEach((chip) => view.element.append(chip()));
      view.ids = made.length;
      nodes.push(view.element);
    }
    if (message.incomplete_details?.reason === "run_failed" && !over) {
      const note = "interrupted, beginning again…";
      const line = () => ({ element: element("p", { className: "state", "data-state": "incomplete" }, note) });
      nodes.push(this.view(`${message.id}.note`, line).element);
    }
    return nodes;
  }

  picture(part, key) {
    const what = `Picture from ${this.name.textContent}`;
    return this.view(key, () => ({ element: element("div", {}, partNode(part, this.page.pictures, what) ?? "") })).element;
  }

  view(key, make) {
    if (!this.views.has(key)) this.views.set(key, make());
    return this.views.get(key);
  }

  drawState(run, model) {
    const writing = this.turn.parts.some((part) => part.message?.status === "in_progress" && textOf(part.message) !== "");
    const words = run ? inWords(run, model.stepsOf(run.id), writing) : "";
    if (words !== this.words) this.state.replaceChildren(...withCode(words));
    this.words = words;
    this.state.hidden = words === "";
    this.state.dataset.state = run?.status ?? "";
    this.element.dataset.status = run?.status ?? "";
  }

  chip(cite) {
    if (!this.numbers.has(cite.fileId)) {
      this.numbers.set(cite.fileId, this.numbers.size + 1);
      this.listSource(cite);
    }
    const number = this.numbers.get(cite.fileId);
    // A link, because a button may be torn from its sentence at the end of a line.
    const chip = element("a", { href: "#panel", className: "chip", "aria-label": `Source ${number}` }, String(number));
    chip.addEventListener("click", (event) => {
      event.preventDefault();
      this.open(cite, chip);
    });
    this.page.fileName(cite.fileId).then((name) => chip.setAttribute("aria-label", `Source ${number}: ${name}`));
    this.page.glance.watch(chip, () => this.source(cite));
    return chip;
  }

  listSource(cite) {
    const number = this.numbers.get(cite.fileId);
    const name = element("span", {}, "…");
    const button = element("button", { type: "button" }, element("span", { className: "chip" }, String(number)), name);
    button.addEventListener("click", () => this.open(cite, button));
    this.sources.append(element("li", {}, button));
    this.sources.hidden = false;
    this.page.fileName(cite.fileId).then((text) => setText(name, text));
  }

  source(cite) {
    return { run: this.turn.run?.id ?? this.turn.key, cite, number: this.numbers.get(cite.fileId) };
  }

  open(cite, from) {
    this.page.openSource({ ...this.source(cite), from });
  }

  async submit(event) {
    event.preventDefault();
    const given = new FormData(this.form);
    const outputs = this.waiting.map((call) => ({ tool_call_id: call.id, output: String(given.get(call.id) ?? "") }));
    const button = this.form.querySelector("button");
    button.disabled = true;
    await this.page.submitOutputs(this.turn.run.id, outputs);
    button.disabled = false;
  }

  tick(now) {
    for (const { key, step } of this.turn?.parts ?? []) {
      if (step) this.views.get(key)?.tick(step, now);
    }
  }
}

export class Transcript {
  /**
   * `page` answers for what lies outside: names, files, sources, pictures, passages, outputs, versions, the time;
   * `readOnly` where its reader may do nothing, `passing` where nothing that is said is kept.
   */
  constructor({ scroller, list, pill, page }) {
    Object.assign(this, { scroller, list, pill, page, log: list.closest("[role=log]") }); // a list with another role is none
    this.views = new Map();
    this.model = null;
    this.frame = 0;
    this.following = true;
    this.lastTop = 0;
    scroller.addEventListener("scroll", () => this.noticeScroll(), { passive: true });
    new ResizeObserver(() => this.following && this.toEnd()).observe(scroller); // the panel, a phone's keyboard
    pill.addEventListener("click", () => this.follow());
    setInterval(() => this.tick(), 500);
  }

  /** Another thread: everything is drawn anew, from its end. */
  show(model) {
    this.model = model;
    this.views.clear();
    this.list.replaceChildren();
    this.follow();
    this.draw();
  }

  /** The same thread at another moment (replay.js): one turn is drawn anew, and what is not there any more goes. */
  swap(model, changed) {
    this.model = model;
    const kept = new Set(model.turns().map((turn) => turn.key));
    for (const [key, view] of this.views) {
      if (key !== changed && kept.has(key)) continue;
      view.element.remove();
      this.views.delete(key);
    }
    this.drawNow();
  }

  draw() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.model) return;
    const turns = this.model.turns();
    let next = this.list.firstElementChild;
    const height = this.scroller.scrollHeight;
    const wasFirst = next;
    const versions = this.page.branches?.at(turns) ?? new Map();
    for (const turn of turns) {
      let view = this.views.get(turn.key);
      if (!view) {
        view = turn.message ? new Question(this.page) : new Answer(this.page, turn.key);
        this.views.set(turn.key, view);
      }
      view.update(turn, this.model);
      view.updateFoot(turn, this.model, versions, turn === turns.at(-1));
      if (view.element === next) next = next.nextElementSibling;
      else this.list.insertBefore(view.element, next);
    }
    this.log.setAttribute("aria-busy", String(this.model.activeRun() !== null));
    if (this.following) this.toEnd();
    else if (wasFirst && this.list.firstElementChild !== wasFirst) this.scroller.scrollTop += this.scroller.scrollHeight - height;
    this.showPill();
  }

  /** For the ↑ key. */
  editLast() {
    const last = this.model?.turns().findLast((turn) => turn.message);
    if (last) this.views.get(last.key)?.edit();
  }

  tick() {
    const run = this.model?.activeRun();
    if (run) this.views.get(run.id)?.tick?.(this.page.now());
  }

  distance() {
    return this.scroller.scrollHeight - this.scroller.scrollTop - this.scroller.clientHeight;
  }

  noticeScroll() {
    const top = this.scroller.scrollTop;
    if (top < this.lastTop - 1 && this.distance() > 2) this.following = false;
    else if (this.distance() < NEAR) this.following = true;
    this.lastTop = top;
    this.showPill();
  }

  showPill() {
    this.pill.hidden = this.following || this.distance() < NEAR;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.lastTop = this.scroller.scrollTop;
  }

  follow() {
    this.following = true;
    this.toEnd();
    this.showPill();
  }
}
