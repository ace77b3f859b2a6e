// The page behind a share's link: the conversation as the chat page draws it, for somebody who may only read. The token
// stands in the fragment of the address, which no server is told; it is shown to /v1 as a bearer key.

import { Announcer } from "./announcer.js";
import { Failure, failureOf, get, identity, showToken } from "./api.js";
import { describe, harmless } from "./files.js";
import { Glance } from "./glance.js";
import { setText } from "./nodes.js";
import { Passages } from "./passages.js";
import { Past } from "./past.js";
import { Pictures } from "./pictures.js";
import { Sources } from "./sources.js";
import { follow, whileHidden } from "./stream.js";
import { Thread } from "./thread.js";
import { Transcript } from "./transcript.js";

const $ = (id) => document.getElementById(id);
const LINK = /^#(thread_\w+)\/((share_\w+)\.[\w-]+)$/;
const RECHECK_MS = 20_000; // a frozen thread has no stream that would be cut: is the link still good?
const GONE = {
  share_revoked: ["This link was revoked", "Whoever shared this conversation has taken the link back."],
  share_expired: ["This link has expired", "Ask whoever sent it for a new one."],
  invalid_share: ["This link leads nowhere", "It may be cut off at its end, or the conversation was deleted."],
};
const DELETED = ["This conversation was deleted", "There is nothing left to show."];

function moment(seconds) {
  const date = new Date(seconds * 1000);
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleString(undefined, { day: "numeric", month: "short", year, hour: "numeric", minute: "2-digit" });
}

/** A share may read single runs of another thread, of which this one has copies, and lists none. */
async function copiedRuns(thread, wanted) {
  const found = await Promise.all([...wanted].map((run) => get(`/threads/${thread}/runs/${run}`).catch(() => null)));
  return found.filter(Boolean);
}

class Shared {
  readOnly = true; // for the transcript: no forms, no actions
  branches = { at: () => new Map() }; // a reader sees this version alone

  constructor() {
    this.assistants = new Map();
    this.asked = new Set(); // ids of assistants
    this.passages = new Passages({ modelOf: () => this.model });
    this.sources = new Sources($("panel"), { passages: this.passages });
    this.glance = new Glance({ passages: this.passages });
    this.pictures = new Pictures();
    this.transcript = new Transcript({ scroller: $("scroller"), list: $("transcript"), pill: $("pill"), page: this });
    this.announcer = new Announcer($("status"));
    this.loaded = false;
    this.over = false;
    this.wasGood = false;
    $("earlier").addEventListener("click", () => this.attempt(() => this.past.earlier()));
    $("retry").addEventListener("click", () => location.reload());
    window.addEventListener("online", () => this.stream?.resume());
    window.addEventListener("hashchange", () => this.addressChanged());
    whileHidden(() => this.stream?.pause(), () => this.stream?.resume());
  }

  async start() {
    this.hash = location.hash;
    const [, threadId, token, shareId] = LINK.exec(this.hash) ?? [];
    if (!token) {
      this.end(...GONE.invalid_share);
      return;
    }
    showToken(token);
    this.model = new Thread(threadId);
    this.past = new Past(this.model, {
      onChange: () => this.changed(),
      isWanted: () => !this.over,
      mayHaveSteps: () => true, // which tools a run might have used is not shown to a share
      copiedRuns,
    });
    this.passages.forget();
    this.transcript.show(this.model);
    await this.attempt(async () => {
      this.sharePath = `/threads/${threadId}/shares/${shareId}`;
      const share = await get(this.sharePath);
      this.wasGood = true;
      const until = share.expires_at === null ? "" : ` until ${moment(share.expires_at)}`;
      setText($("kind"), share.frozen ? "Frozen" : "Live");
      setText($("about"), share.frozen ? `As it was on ${moment(share.created_at)}, readable${until || " for ever"}` : `Read-only${until}`);
      $("kind").hidden = false;
      const thread = await get(`/threads/${threadId}`);
      setText($("title"), thread.metadata.title ?? "Conversation");
      document.title = `${$("title").textContent} · Kumos`;
      if (share.frozen) await this.showFrozen();
      else this.watch();
    });
  }

  addressChanged() {
    if (LINK.test(location.hash)) location.reload();
    else history.replaceState(null, "", this.hash); // a link inside the text: a reload must still find the token
  }

  // What it shows -------------------------------------------------------------------------------------------------

  watch() {
    const { model } = this;
    this.stream = follow(`/v1/threads/${model.id}/runs/stream`, {
      request: identity(),
      onOpen: (resumed) => {
        this.setBanner("");
        if (!resumed) this.attempt(() => this.load());
      },
      onFrames: (frames) => {
        const news = frames.filter((frame) => model.apply(frame));
        if (news.some((frame) => frame.event === "thread.run.created")) this.past.newest().catch(() => {});
        if (news.length) this.changed();
      },
      onBreak: () => this.setBanner("Connection lost. Reconnecting…"),
      onEnd: (response) => this.streamEnded(response),
    });
  }

  async streamEnded(response) {
    if (response === null) this.end(...DELETED);
    else if (response.status === 400) location.reload(); // the log is another one than before
    else this.complain(await failureOf(response));
  }

  async showFrozen() {
    await this.load();
    const check = async () => {
      if (!this.over) await get(this.sharePath).catch((failure) => failure.status === 401 && this.complain(failure));
      if (!this.over) setTimeout(check, RECHECK_MS);
    };
    setTimeout(check, RECHECK_MS);
  }

  async load() {
    await this.past.begin();
    this.loaded = true;
    this.changed();
    await this.past.complete();
  }

  // What the transcript asks for ----------------------------------------------------------------------------------

  assistantName(id) {
    if (id && !this.asked.has(id)) this.ask(id);
    return this.assistants.get(id)?.name ?? "";
  }

  async ask(id) {
    this.asked.add(id);
    const assistant = await get(`/assistants/${id}`).catch(() => null);
    if (!assistant) return; // it was deleted: it stays "Assistant"
    this.assistants.set(id, assistant);
    this.changed();
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

  // Drawing -------------------------------------------------------------------------------------------------------

  changed() {
    if (!this.loaded || this.over) return;
    $("earlier").hidden = !this.model.earlier;
    $("nothing").hidden = this.model.turns().length > 0;
    this.announcer.announce(this.model);
    this.transcript.draw();
  }

  setBanner(text) {
    $("banner").hidden = text === "";
    setText($("banner"), text);
  }

  // Ends ----------------------------------------------------------------------------------------------------------

  async attempt(action) {
    try {
      await action();
    } catch (failure) {
      this.complain(failure);
    }
  }

  complain(failure) {
    if (!(failure instanceof Failure)) throw failure;
    const nowhere = this.wasGood ? DELETED : GONE.invalid_share; // shares go with their thread
    if (failure.status === 401 && failure.code !== "invalid_share") this.end(...(GONE[failure.code] ?? nowhere));
    else if (failure.status === 401 || failure.status === 404) this.end(...nowhere);
    else if (this.loaded) this.setBanner(failure.message); // what is there can still be read
    else this.end("The conversation cannot be shown now", failure.message, true);
  }

  /** Nothing more to read here: what was shown goes, and one sentence says why. */
  end(title, words, mayRetry = false) {
    if (this.over) return;
    this.over = true;
    this.stream?.close();
    this.setBanner("");
    for (const id of ["panel", "kind", "about", "scroller", "pill"]) $(id).hidden = true;
    $("transcript").replaceChildren();
    if (!mayRetry) setText($("title"), "Shared conversation");
    document.title = `${title} · Kumos`;
    setText($("notice-title"), title);
    setText($("notice-text"), words);
    $("retry").hidden = !mayRetry;
    $("notice").hidden = false;
    $("notice-title").focus();
  }
}

new Shared().start();
