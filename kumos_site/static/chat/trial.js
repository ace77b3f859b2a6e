// A talk in a frame of the admin, with an assistant that is still being written. The page around it has the form: it is
// asked before each question, and says which assistant answers, in which thread, and of which project.
//
// Between the two, always of the same origin: up go { trial: "ready" | "ask" }, down come
// { trial: "go" | "no" | "submit" | "clear" }.

import { Alert } from "./alert.js";
import { Announcer } from "./announcer.js";
import { Failure, actFor, failureOf, identity, post } from "./api.js";
import { Composer } from "./composer.js";
import { newKey } from "./delivery.js";
import { describe, harmless } from "./files.js";
import { Glance } from "./glance.js";
import { setText } from "./nodes.js";
import { Passages } from "./passages.js";
import { Past } from "./past.js";
import { Pictures } from "./pictures.js";
import { Shortcuts } from "./shortcuts.js";
import { Sources } from "./sources.js";
import { follow, whileHidden } from "./stream.js";
import { TERMINAL, Thread } from "./thread.js";
import { Timing } from "./timing.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const NO_FILES = { isEmpty: () => true, hold: () => "", release() {}, accepted() {} };

class Trial {
  passing = true; // for the transcript: nothing here is kept, so there is nothing to fork or to edit

  constructor() {
    this.names = new Map();
    this.alert = new Alert($("problem"));
    this.waiting = null; // a question that the answer under way keeps from being asked
    this.last = "";
    this.timing = new Timing();
    this.passages = new Passages({ modelOf: () => this.model });
    this.sources = new Sources($("panel"), { passages: this.passages });
    this.glance = new Glance({ passages: this.passages });
    this.pictures = new Pictures();
    this.delivery = { retry: () => this.again(), goOn: () => this.ask("Continue where you stopped.") };
    this.transcript = new Transcript({ scroller: $("scroller"), list: $("transcript"), pill: $("pill"), page: this });
    this.composer = new Composer($("composer"), { files: NO_FILES, onSend: (text) => this.ask(text), onStop: () => this.stop() });
    this.announcer = new Announcer($("status"));
    this.composer.key = "kumos.draft.trial";
    const { area } = this.composer;
    new Shortcuts([
      { keys: ["Enter"], within: area, run: () => this.composer.submit() },
      { keys: ["Mod+Enter"], run: () => this.submit() },
      { keys: ["Escape"], when: () => this.sources.isOpen(), run: () => this.sources.close() },
      { keys: ["Escape"], when: () => this.model.activeRun() !== null, run: () => this.stop() },
    ]);
    window.addEventListener("message", (event) => this.hear(event));
    window.addEventListener("online", () => this.stream?.resume());
    window.addEventListener("storage", ({ key }) => key === "theme" && this.takeColours());
    whileHidden(() => this.stream?.pause(), () => this.stream?.resume());
    this.show("");
    this.tell({ trial: "ready" });
  }

  // The page around it ----------------------------------------------------------------------------------------------

  tell(message) {
    if (window.parent !== window) window.parent.postMessage(message, location.origin);
  }

  hear({ origin, source, data }) {
    if (origin !== location.origin || source !== window.parent || source === window) return;
    if (data.trial === "go") this.go(data);
    else if (data.trial === "no") this.refuse(data.words);
    else if (data.trial === "submit") this.submit();
    else if (data.trial === "clear") this.clear();
  }

  /** What stands in the box, else the last question once more, in a talk that begins with it. */
  submit() {
    if (!this.composer.isEmpty()) this.composer.submit();
    else if (this.last) this.ask(this.last, true);
    else this.composer.area.focus();
  }

  again() {
    this.ask(this.last, true);
  }

  ask(text, fresh = false) {
    if (this.model.activeRun()) {
      this.composer.note.textContent = "The answer is still on its way.";
      return;
    }
    if (!text || this.composer.sending) return;
    this.forgive();
    this.composer.setSending(true);
    this.tell({ trial: "ask", text, fresh });
  }

  refuse(words) {
    this.composer.setSending(false);
    this.complain(new Failure(words));
  }

  clear() {
    this.forgive();
    this.show("");
    this.last = "";
    this.composer.area.focus();
  }

  // Asking ----------------------------------------------------------------------------------------------------------

  /** The form is fine: this frame's side of the question, which was asked here or in the frame beside it. */
  async go(job) {
    this.names.set(job.assistant, job.name);
    actFor(job.project);
    if (job.thread !== this.model.id) {
      this.waiting = null;
      this.show(job.thread);
    }
    if (this.model.activeRun()) this.waiting = job;
    else await this.run(job);
  }

  async run({ assistant, thread, text }) {
    this.forgive();
    this.last = text;
    this.running = true;
    const key = newKey();
    const began = performance.now();
    try {
      const body = { assistant_id: assistant, additional_messages: [{ role: "user", content: text }] };
      const run = await post(`/threads/${thread}/runs`, body, { key });
      this.timing.asked(run, began, "");
      if (this.model.id === thread) {
        this.model.offerRun(run);
        await this.past.newest().catch(() => {});
      }
      if (this.composer.text() === text) this.accepted();
      this.transcript.follow();
    } catch (failure) {
      this.complain(failure);
    }
    this.running = false;
    this.composer.setSending(false);
    this.changed();
  }

  /** The box is empty again; whoever writes in the form beside it is left there. */
  accepted() {
    if (document.hasFocus()) this.composer.accepted();
    else {
      this.composer.area.value = "";
      this.composer.changed();
    }
  }

  async stop() {
    const run = this.model.activeRun();
    if (!run || run.status === "cancelling") return;
    await this.attempt(() => post(`/threads/${run.thread_id}/runs/${run.id}/cancel`).catch((failure) => {
      if (!TERMINAL.has(this.model.runs.get(run.id)?.status)) throw failure;
    }));
  }

  // The thread ------------------------------------------------------------------------------------------------------

  show(thread) {
    this.stream?.close();
    this.stream = null;
    this.setBanner("");
    delete document.body.dataset.following;
    $("panel").hidden = true;
    this.pictures.forget();
    this.passages.forget();
    this.announcer.forget();
    const model = (this.model = new Thread(thread));
    this.past = new Past(model, { onChange: () => this.changed(), isWanted: () => model === this.model });
    this.loaded = thread === "";
    this.transcript.show(model);
    if (thread) this.watch(model);
    this.changed();
  }

  watch(model) {
    const isOpen = () => model === this.model;
    this.stream = follow(`/v1/threads/${model.id}/runs/stream`, {
      request: identity(),
      onOpen: (resumed) => {
        if (!isOpen()) return;
        document.body.dataset.following = model.id;
        this.setBanner("");
        this.timing.opened(resumed);
        if (!resumed) this.attempt(() => this.load(model));
      },
      onFrames: (frames) => {
        if (!isOpen()) return;
        const news = frames.filter((frame) => this.timing.apply(frame, model));
        if (news.some((frame) => frame.event === "thread.run.created")) this.past.newest().catch(() => {});
        if (news.length) this.changed();
      },
      onBreak: () => {
        if (!isOpen()) return;
        this.timing.broke();
        this.setBanner("Connection lost. The answer goes on; reconnecting…");
      },
      onEnd: async (response) => {
        if (!isOpen()) return;
        if (response) this.complain(await failureOf(response));
        else this.show(""); // the trial was ended elsewhere; the next question begins another
      },
    });
  }

  async load(model) {
    const { past } = this;
    await past.begin();
    if (model === this.model) this.loaded = true;
    this.changed();
    await past.complete();
  }

  // What the transcript asks for ------------------------------------------------------------------------------------

  assistantName(id) {
    return this.names.get(id) ?? "";
  }

  fileName(id) {
    return describe(id).then((file) => (file ? harmless(file.filename) : id));
  }

  now() {
    return Date.now();
  }

  say(words) {
    setText($("status"), words);
  }

  openSource({ run, cite, number, from }) {
    this.sources.open({ run, cite, number, from });
  }

  submitOutputs(run, outputs) {
    return this.attempt(() => post(`/threads/${this.model.id}/runs/${run}/submit_tool_outputs`, { tool_outputs: outputs }));
  }

  // Drawing ---------------------------------------------------------------------------------------------------------

  changed() {
    const run = this.model.activeRun();
    this.composer.setActive(run !== null);
    $("nothing").hidden = this.model.id !== "";
    if (!this.loaded) return;
    this.announcer.announce(this.model);
    this.transcript.draw();
    if (this.waiting && !run && !this.running) {
      const job = this.waiting;
      this.waiting = null;
      this.run(job);
    }
  }

  setBanner(text) {
    $("banner").hidden = text === "";
    setText($("banner"), text);
  }

  takeColours() {
    const theme = localStorage.getItem("theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
    else delete document.documentElement.dataset.theme;
  }

  async attempt(action) {
    try {
      await action();
    } catch (failure) {
      this.complain(failure);
    }
  }

  complain(failure) {
    this.alert.complain(failure);
  }

  forgive() {
    this.alert.forgive();
  }
}

new Trial();
