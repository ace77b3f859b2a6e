// The search box over the threads: full text, by the server, while somebody types. What it found stands in the list's place.

import { get } from "./api.js";
import { element, setText } from "./nodes.js";
import { Rows } from "./rows.js";
import { conversations } from "./sidebar.js";
import { isForPeople, titleOf } from "./titles.js";

const PAUSE_MS = 150; // between the last key and the question
const PAGE = 20;
const WORD = /[\p{L}\p{N}]+/gu;

function folded(text) {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** A snippet as a line of words, without the signs of markdown. */
function tidy(snippet) {
  return snippet.replace(/[*`#|>]+/g, "").replace(/\s+/g, " ");
}

export function wordsOf(query) {
  return folded(query).match(WORD) ?? [];
}

/** `text` as nodes, with a mark around each word that begins like one of `words`: the server finds by beginnings. */
export function marked(text, words) {
  const nodes = [];
  let end = 0;
  for (const found of text.matchAll(/[\p{L}\p{N}\p{M}]+/gu)) {
    const word = folded(found[0]);
    if (!words.some((one) => word.startsWith(one))) continue;
    nodes.push(text.slice(end, found.index), element("mark", {}, found[0]));
    end = found.index + found[0].length;
  }
  return [...nodes, text.slice(end)];
}

export class Search {
  /** `lists` are the nodes in whose place `found` stands while there is a question. */
  constructor({ box, found, more, note, lists, home, actions, page }) {
    Object.assign(this, { box, found, more, note, lists, page });
    this.rows = new Rows(found, { home, actions, onOpen: (id) => page.open(id), onLeave: () => this.focus() });
    this.threads = [];
    this.asked = "";
    this.request = new AbortController();
    box.addEventListener("input", () => this.typed());
    box.addEventListener("keydown", (event) => this.pressed(event));
    found.addEventListener("keydown", (event) => event.key === "Escape" && this.back(event));
    more.addEventListener("click", () => page.attempt(() => this.loadMore()));
  }

  /** Ctrl+K from anywhere. */
  begin() {
    this.page.drawer.show();
    this.focus();
    this.box.select();
  }

  focus() {
    this.box.focus();
  }

  typed() {
    clearTimeout(this.pause);
    this.request.abort(); // an answer to less than is there now
    if (this.box.value.trim() === "") this.clear();
    else this.pause = setTimeout(() => this.ask(), PAUSE_MS);
  }

  clear() {
    clearTimeout(this.pause);
    this.request.abort();
    this.box.value = "";
    this.asked = "";
    this.threads = [];
    this.show();
  }

  async ask() {
    clearTimeout(this.pause);
    this.request.abort();
    const request = (this.request = new AbortController());
    const query = this.box.value.trim();
    try {
      const page = await get(this.path(query), { signal: request.signal });
      if (request.signal.aborted) return;
      Object.assign(this, { asked: query, threads: page.data, hasMore: page.has_more });
      this.show();
    } catch (failure) {
      if (request.signal.aborted) return;
      Object.assign(this, { asked: query, threads: [], hasMore: false });
      this.show();
      setText(this.note, failure.message);
    }
  }

  path(query, after = "") {
    return `/threads?limit=${PAGE}&query=${encodeURIComponent(query)}${after && `&after=${after}`}`;
  }

  async loadMore() {
    const query = this.asked;
    const page = await get(this.path(query, this.threads.at(-1).id));
    if (query !== this.asked) return;
    this.threads.push(...page.data);
    this.hasMore = page.has_more;
    this.show();
  }

  update(thread) {
    this.threads = this.threads.map((known) => (known.id === thread.id ? { ...known, ...thread } : known));
    this.draw();
  }

  remove(threadId) {
    this.threads = this.threads.filter((thread) => thread.id !== threadId);
    this.draw();
  }

  show() {
    const searching = this.asked !== "";
    for (const list of this.lists) list.classList.toggle("replaced", searching);
    this.found.hidden = this.note.hidden = !searching;
    this.more.hidden = !searching || !this.hasMore;
    this.draw();
    const count = this.shown().length;
    if (searching) setText(this.note, count === 0 ? "Nothing was found." : `${count}${this.hasMore ? " or more" : ""} found`);
  }

  shown() {
    return conversations(this.threads.filter(isForPeople), this.page.sidebar.open);
  }

  draw() {
    const words = wordsOf(this.asked);
    const { active, open } = this.page.sidebar;
    const entries = this.shown().map(({ thread, versions }) => ({
      thread,
      versions,
      title: marked(titleOf(thread), words),
      note: thread.match?.message_id ? marked(tidy(thread.match.snippet), words) : null,
      active: active.has(thread.id),
      open: thread.id === open,
    }));
    this.rows.draw(entries.length ? [{ name: "Found", entries }] : []);
  }

  async pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape") {
      this.back(event);
    } else if (event.key === "ArrowDown") {
      event.preventDefault();
      (this.asked ? this.rows : this.page.sidebar.rows).links()[0]?.focus();
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (this.box.value.trim() !== this.asked) await this.ask();
      const [first] = this.asked ? this.shown() : [];
      if (first) this.page.open(first.thread.id);
    }
  }

  /** Esc: from what was found to the box, from a full box to an empty one, from there to the message. */
  back(event) {
    if (event.target.matches(".rename")) return;
    const empty = this.box.value === "";
    if (empty && this.page.drawer.isOpen()) return; // the drawer closes
    event.preventDefault();
    event.stopPropagation();
    if (event.target !== this.box) this.focus();
    else if (empty) this.page.composer.area.focus();
    else this.clear();
  }
}
