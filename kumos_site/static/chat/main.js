// The chat page put together. It is a client of the public /v1 API and of nothing else; what it shows comes from the
// thread's stream, so a run started elsewhere, a reload and a second tab all look the same.

import { Actions } from "./actions.js";
import { Alert } from "./alert.js";
import { Failure, failureOf, post } from "./api.js";
import { offerThemes } from "./appearance.js";
import { Announcer } from "./announcer.js";
import { Attachments } from "./attachments.js";
import { Branches } from "./branches.js";
import { Composer } from "./composer.js";
import { line, threadAt } from "./dawn.js";
import { Delivery } from "./delivery.js";
import { Drawer } from "./drawer.js";
import { Dropping } from "./dropping.js";
import { LIMITS, describe, harmless } from "./files.js";
import { Glance } from "./glance.js";
import { Head } from "./head.js";
import { Inspection } from "./inspection.js";
import { setText } from "./nodes.js";
import { Passages } from "./passages.js";
import { Past } from "./past.js";
import { Pictures } from "./pictures.js";
import { Picker } from "./picker.js";
import { Queue } from "./queue.js";
import { Search } from "./search.js";
import { Shortcuts, tableOf } from "./shortcuts.js";
import { Sidebar } from "./sidebar.js";
import { Sources } from "./sources.js";
import { Thread } from "./thread.js";
import { Timing } from "./timing.js";
import { Titles, titleFrom } from "./titles.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const HOME = document.body.dataset.home;

class Chat {
  constructor() {
    this.model = null;
    this.alert = new Alert($("problem"));
    this.line = line;
    this.stream = null;
    this.asked = null;
    this.timing = new Timing();
    this.branches = new Branches(this);
    this.delivery = new Delivery(this);
    this.passages = new Passages({ modelOf: () => this.model });
    this.sources = new Sources($("panel"), { passages: this.passages });
    this.glance = new Glance({ passages: this.passages });
    this.pictures = new Pictures();
    this.transcript = new Transcript({ scroller: $("scroller"), list: $("transcript"), pill: $("pill"), page: this });
    this.attachments = this.makeAttachments();
    this.composer = new Composer($("composer"), { files: this.attachments, onSend: (text) => this.send(text), onStop: () => this.stop() });
    this.queue = new Queue($("queue"), this);
    const rest = [document.querySelector(".skip"), document.querySelector(".main"), $("panel")];
    this.drawer = new Drawer({ sidebar: $("sidebar"), button: $("menu"), fold: $("fold"), veil: $("veil"), rest });
    this.actions = new Actions(this);
    this.titles = new Titles({ onTitle: (thread) => this.threadChanged(thread), versionsOf: (id) => this.sidebar.versionsOf(id) });
    const list = { home: HOME, actions: this.actions, page: this };
    this.sidebar = new Sidebar({ list: $("threads"), more: $("more"), ...list });
    this.head = new Head({ title: $("title"), share: $("share"), page: this });
    const lists = [$("threads"), $("more")];
    this.search = new Search({ box: $("search"), found: $("found"), more: $("found-more"), note: $("found-note"), lists, ...list });
    const onStart = (question) => {
      this.composer.put(question);
      this.composer.submit();
    };
    const face = { description: $("description"), title: $("empty-title"), text: $("empty-text"), starters: $("starters") };
    this.picker = new Picker({ select: $("assistant"), ...face, onStart });
    this.announcer = new Announcer($("status"));
    offerThemes($("themes"));
    this.inspector = new Inspection({ panel: $("inspector"), button: $("inspect"), bar: $("replay"), page: this });
    this.shortcuts = new Shortcuts(tableOf(this));
    this.listen();
  }

  listen() {
    $("new").addEventListener("click", (event) => {
      event.preventDefault();
      this.newChat();
    });
    $("earlier").addEventListener("click", () => this.attempt(() => this.past.earlier()));
    $("keys").addEventListener("click", () => this.shortcuts.show());
    window.addEventListener("popstate", () => this.show(this.threadInAddress()));
    window.addEventListener("focus", () => this.model.id && this.branches.load(this.model).catch(() => {}));
  }

  makeAttachments() {
    const page = {
      assistant: () => this.picker.picked,
      said: (words) => setText($("status"), words),
      filesChanged: () => this.composer?.enable(),
      threadId: () => this.model?.id ?? "",
    };
    new Dropping({ zone: $("drop"), onFiles: (files) => this.attachments.add(files) });
    setText($("drop-limits"), LIMITS);
    const parts = { tray: $("tray"), button: $("attach"), input: $("files"), limits: $("attach-limits") };
    return new Attachments({ ...parts, note: $("composer").querySelector("[data-note]"), page });
  }

  async start() {
    this.show(this.threadInAddress());
    if (matchMedia("(pointer: fine)").matches) this.composer.area.focus(); // on a phone it would raise the keyboard
    await this.asked; // first what was said, then whom to ask and what else there is
    await this.attempt(async () => {
      await this.picker.load();
      this.changed();
    });
    await this.attempt(() => this.sidebar.refresh());
    await this.titles.checkAll();
  }

  // Which thread --------------------------------------------------------------------------------------------------

  threadInAddress() {
    return threadAt(location);
  }

  open(threadId, fresh = false) {
    history.pushState(null, "", HOME + threadId);
    this.show(threadId, fresh);
  }

  /** Show a thread, or the empty page. A `fresh` thread was made just now: its whole log is what happens from here on. */
  show(threadId, fresh = false) {
    this.stream?.close();
    this.stream = null;
    this.drawer.shut();
    delete document.body.dataset.following;
    this.setBanner("");
    $("panel").hidden = true;
    $("earlier").hidden = true;
    if (!fresh) {
      this.forgive();
      this.composer.show(threadId);
      this.attachments.show(threadId);
    }
    this.pictures.forget();
    this.passages.forget();
    const model = (this.model = new Thread(threadId));
    this.past = new Past(model, { onChange: () => this.changed(), isWanted: () => model === this.model });
    this.inspector.show(this.model, fresh);
    this.announcer.forget();
    this.loaded = threadId === "" || fresh;
    this.chosen = false;
    this.branches.show(this.model);
    this.transcript.show(this.model);
    this.queue.show(threadId);
    this.sidebar.select(threadId);
    this.head.show(model, fresh);
    if (threadId) this.watch(this.model, fresh);
    this.changed();
  }

  newChat() {
    this.open("");
    this.composer.area.focus();
  }

  /** Follow the thread's stream, and ask meanwhile for what went before it. */
  watch(model, fresh) {
    const { past } = this;
    const asked = fresh ? null : past.begin().catch(() => {}); // then it is asked for again, or the stream is refused, too
    this.asked = asked;
    this.stream = this.line.follow(model.id, {
      after: fresh ? 0 : null,
      onOpen: (resumed, after) => {
        if (model !== this.model) return;
        document.body.dataset.following = model.id;
        model.stood = true;
        this.setBanner("");
        this.inspector.back();
        this.timing.opened(resumed);
        if (!resumed && !fresh) this.attempt(() => this.load(model, asked, after));
      },
      onFrames: (frames) => {
        if (model !== this.model) return;
        const news = frames.filter((frame) => this.fold(frame, model));
        const created = news.findLast((frame) => frame.event === "thread.run.created");
        if (created && Number(created.id) > past.cursor) past.newest().catch(() => {}); // the question that it answers
        if (news.length) this.changed();
      },
      onBreak: () => {
        if (model !== this.model) return;
        this.timing.broke();
        this.setBanner("Connection lost. The answer goes on; reconnecting…");
        this.inspector.broke(model.seq);
      },
      onEnd: (response) => model === this.model && this.streamEnded(model, response),
    });
  }

  /** False where the frame was known already. What it means for the page as a whole is `changed`. */
  fold(frame, model) {
    if (!this.timing.apply(frame, model)) return false;
    this.inspector.take(frame);
    if (this.loaded && frame.event !== "thread.message.delta") this.announcer.announce(model); // each boundary has its words
    return true;
  }

  async streamEnded(model, response) {
    if (response === null || (response.status === 404 && model.stood)) {
      model.gone = true;
      this.forgive(); // what was asked of it meanwhile
      this.setBanner("This thread was deleted. What you send now begins a new one.");
      this.forgetThread(model.id);
      this.changed();
    } else if (response.status === 400 && model.seq > 0) {
      this.show(model.id); // the log is another one than before: begin again
    } else {
      const failure = await failureOf(response);
      this.complain(failure, () => this.show(model.id));
    }
  }

  /** What was asked for at once, where it reaches up to the event behind which the stream begins: nothing falls between. */
  async load(model, asked, after) {
    const { past } = this;
    await asked;
    if (past.cursor < after) await past.begin();
    if (model === this.model) this.loaded = true;
    this.changed();
    this.branches.load(model).catch(() => {});
    await past.complete();
  }

  // Asking --------------------------------------------------------------------------------------------------------

  async send(text) {
    const assistant = this.picker.choice;
    if (!assistant) {
      this.complain(new Failure("There is no assistant yet. Make one in the admin, or through the API."), () => this.start());
      return;
    }
    const { resources, names } = this.attachments.enclosed();
    const message = this.composed();
    await this.attempt(async () => {
      const known = this.model.id && !this.model.gone;
      if (resources && known) await post(`/threads/${this.model.id}`, { tool_resources: resources });
      await this.delivery.send({ assistant, text, message, resources, title: titleFrom(text || harmless(names[0] ?? "")) });
    });
  }

  /** The message in the box, as the API wants it. */
  composed() {
    return this.attachments.enclosed().message(this.composer.text(), this.picker.picked);
  }

  /** Whether a new run can begin in a thread, as far as the page knows. */
  isFree(threadId) {
    if (threadId !== this.model.id) return true;
    return this.loaded && !this.model.gone && this.model.activeRun() === null;
  }

  editLast() {
    this.transcript.editLast();
  }

  stop() {
    return this.delivery.stop();
  }

  // What the list of threads tells and asks for -------------------------------------------------------------------

  threadChanged(thread) {
    this.sidebar.update(thread);
    this.search.update(thread);
    this.head.update(thread);
    this.drawHead();
  }

  /** Deleted here: where it was open, the page is an empty one now. */
  threadGone(threadId) {
    this.forgetThread(threadId);
    this.queue.forget(threadId);
    setText($("status"), "The thread was deleted.");
    if (this.model.id !== threadId) return;
    history.replaceState(null, "", HOME);
    this.show("");
  }

  forgetThread(threadId) {
    this.titles.forget(threadId);
    this.sidebar.remove(threadId);
    this.search.remove(threadId);
    this.composer.forget(threadId);
  }

  listed(threads) {
    this.titles.sweep(threads);
    if (this.loaded) this.drawHead();
  }

  wentQuiet(threadId) {
    this.titles.check(threadId);
    this.queue.drain(threadId);
  }

  // What the transcript asks for ----------------------------------------------------------------------------------

  addressOf(threadId) {
    return HOME + threadId;
  }

  chosenAssistant() {
    return this.picker.choice;
  }

  say(words) {
    setText($("status"), words);
  }

  assistantName(id) {
    return this.picker.nameOf(id);
  }

  fileName(id) {
    return describe(id).then((file) => (file ? harmless(file.filename) : id));
  }

  /** The time that clocks show, in milliseconds. */
  now() {
    return this.inspector.now();
  }

  openSource({ run, cite, number, from }) {
    this.sources.open({ run, cite, number, from });
  }

  submitOutputs(run, outputs) {
    const path = `/threads/${this.model.id}/runs/${run}/submit_tool_outputs`;
    return this.attempt(() => post(path, { tool_outputs: outputs }));
  }

  // Drawing what is not the transcript ----------------------------------------------------------------------------

  changed() {
    const { model } = this;
    const run = model.activeRun();
    this.composer.setActive(run !== null);
    if (model.id) this.sidebar.setActive(model.id, run !== null);
    this.titles.see(model);
    this.queue.draw();
    if (!this.loaded) return;
    this.drawHead();
    this.announcer.announce(model);
    this.transcript.draw();
    this.queue.drain(model.id);
  }

  drawHead() {
    const { model } = this;
    this.head.draw();
    $("empty").hidden = model.id !== "";
    $("earlier").hidden = !model.earlier;
    const last = model.lastRun();
    if (last && !this.chosen && this.picker.has(last.assistant_id)) {
      this.chosen = true; // a thread goes on with the assistant it last spoke to, until somebody picks another
      this.picker.pick(last.assistant_id);
    }
  }

  setBanner(text) {
    $("banner").hidden = text === "";
    setText($("banner"), text);
  }

  // Failures ------------------------------------------------------------------------------------------------------

  attempt(action) {
    return this.alert.attempt(action);
  }

  complain(failure, retry) {
    this.alert.complain(failure, retry);
  }

  forgive() {
    this.alert.forgive();
  }
}

new Chat().start();
