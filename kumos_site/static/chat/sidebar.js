// The list of threads by day: which are there, which one is open, and a dot where a run is active. Kept fresh while the
// tab is looked at, because other clients make threads, too. The rows themselves are in rows.js.

import { get } from "./api.js";
import { Rows } from "./rows.js";
import { isForPeople } from "./titles.js";

const PAGE = 40;
const WATCHED = 30; // newest threads that may have a dot
const FRESH_MS = 15_000;
const DAY_MS = 86_400_000;

/** The heading a thread stands under: days lately, then months. */
export function dayOf(createdAt, now = new Date()) {
  const made = new Date(createdAt * 1000);
  const midnight = new Date(now.getFullYear(), now.getMonth(), now.getDate());
  const days = Math.ceil((midnight - made) / DAY_MS); // rounded, for a day with a changed clock has 23 or 25 hours
  if (days <= 0) return "Today";
  if (days === 1) return "Yesterday";
  if (days <= 7) return "Previous 7 days";
  if (days <= 30) return "Previous 30 days";
  return made.toLocaleString(undefined, { month: "long", year: "numeric" });
}

/** The thread that all versions of a conversation began with. */
function familyOf(thread) {
  return thread.forked_from?.family ?? thread.id;
}

/** The list's order, newest first. */
function isAfter(thread, last) {
  if (thread.created_at !== last.created_at) return thread.created_at < last.created_at;
  return thread.id < last.id;
}

/**
 * A family of forks under one title is one conversation in versions, and one row, where its newest version stands; it
 * leads to the open one, else to the newest. A fork with a title of its own is a conversation of its own.
 */
export function conversations(threads, open) {
  const found = Map.groupBy(threads, (thread) => `${familyOf(thread)} ${thread.metadata?.title ?? ""}`);
  return [...found.values()].map((versions) => ({ thread: versions.find(({ id }) => id === open) ?? versions[0], versions }));
}

export class Sidebar {
  /** `page` is told of threads: open(id), listed(threads), wentQuiet(id). */
  constructor({ list, more, home, actions, page }) {
    Object.assign(this, { list, more, page });
    this.rows = new Rows(list, { home, actions, onOpen: (id) => page.open(id), onLeave: () => page.search.focus() });
    this.threads = [];
    this.active = new Set();
    this.open = "";
    more.addEventListener("click", () => page.attempt(() => this.loadMore()));
    setInterval(() => document.hidden || this.renew(), FRESH_MS);
    window.addEventListener("focus", () => this.renew());
  }

  /** As refresh(), where nobody asked for it: a failure is no news. */
  renew() {
    return this.refresh().catch(() => {});
  }

  async refresh() {
    const page = await get(`/threads?limit=${PAGE}`);
    const last = page.data.at(-1);
    // What should stand among the newest and does not was deleted.
    const older = page.has_more ? this.threads.filter((thread) => isAfter(thread, last)) : [];
    this.threads = [...page.data, ...older];
    if (older.length === 0) this.more.hidden = !page.has_more;
    this.draw();
    this.page.listed(page.data);
  }

  async loadMore() {
    const page = await get(`/threads?limit=${PAGE}&after=${this.threads.at(-1).id}`);
    this.threads.push(...page.data);
    this.more.hidden = !page.has_more;
    this.draw();
    this.page.listed(page.data);
  }

  add(thread) {
    if (!this.find(thread.id)) this.threads.unshift(thread);
    this.draw();
  }

  /** Another title, for a thread that is in the list. */
  update(thread) {
    this.threads = this.threads.map((known) => (known.id === thread.id ? thread : known));
    this.draw();
  }

  remove(threadId) {
    this.threads = this.threads.filter((thread) => thread.id !== threadId);
    this.active.delete(threadId);
    this.draw();
  }

  find(threadId) {
    return this.threads.find((thread) => thread.id === threadId);
  }

  select(threadId) {
    this.open = threadId;
    this.draw();
  }

  /** Dots of the newest threads. The open one is left out: its own stream tells, with every event in its place. */
  watch() {
    const newest = this.shown().slice(0, WATCHED).map((thread) => thread.id);
    this.page.line.watchActivity(newest, (threadId, active) => {
      if (threadId === this.open) return;
      const ended = this.active.has(threadId) && !active;
      this.setActive(threadId, active);
      if (ended) this.page.wentQuiet(threadId);
    });
  }

  setActive(threadId, active) {
    if (this.active.has(threadId) === active) return;
    if (active) this.active.add(threadId);
    else this.active.delete(threadId);
    this.draw();
  }

  versionsOf(threadId) {
    return conversations(this.shown(), this.open).find(({ versions }) => versions.some(({ id }) => id === threadId))?.versions;
  }

  shown() {
    return this.threads.filter(isForPeople);
  }

  draw() {
    const entries = conversations(this.shown(), this.open).map(({ thread, versions }) => ({
      thread,
      versions,
      active: versions.some(({ id }) => this.active.has(id)),
      open: thread.id === this.open,
    }));
    const days = Map.groupBy(entries, ({ versions }) => dayOf(versions[0].created_at)); // where the newest stands
    this.rows.draw([...days].map(([name, some]) => ({ name, entries: some })));
    this.page.search?.draw();
    this.watch();
  }
}
