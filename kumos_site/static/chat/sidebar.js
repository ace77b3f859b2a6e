// The list of threads: titles, which one is open, and a dot where a run is active.

import { get } from "./api.js";
import { element, setText } from "./nodes.js";
import { TERMINAL } from "./thread.js";

const PAGE = 40;
const WATCHED = 8; // newest threads that are asked whether a run is active

export function titleOf(thread) {
  if (thread.metadata?.title) return thread.metadata.title;
  const when = new Date(thread.created_at * 1000);
  return `Thread of ${when.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}`;
}

export class Sidebar {
  constructor({ list, more, home, onOpen }) {
    Object.assign(this, { list, more, home, onOpen });
    this.threads = [];
    this.active = new Set();
    this.open = "";
    this.rows = new Map();
    more.addEventListener("click", () => this.loadMore());
    list.addEventListener("click", (event) => {
      const link = event.target.closest("a");
      if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.onOpen(link.dataset.thread);
    });
  }

  async refresh() {
    const page = await get(`/threads?limit=${PAGE}`);
    const fresh = new Set(page.data.map((thread) => thread.id));
    const older = page.has_more ? this.threads.filter((thread) => !fresh.has(thread.id)) : [];
    this.threads = [...page.data, ...older];
    this.more.hidden = !page.has_more || older.length > 0;
    this.draw();
    await Promise.all(page.data.slice(0, WATCHED).map((thread) => this.ask(thread.id)));
  }

  async loadMore() {
    const page = await get(`/threads?limit=${PAGE}&after=${this.threads.at(-1).id}`);
    this.threads.push(...page.data);
    this.more.hidden = !page.has_more;
    this.draw();
  }

  add(thread) {
    if (!this.threads.some((known) => known.id === thread.id)) this.threads.unshift(thread);
    this.draw();
  }

  find(threadId) {
    return this.threads.find((thread) => thread.id === threadId);
  }

  select(threadId) {
    this.open = threadId;
    this.draw();
  }

  /** Whether the newest run of a thread that is not open goes on; asked again until it ends. */
  async ask(threadId) {
    if (threadId === this.open) return;
    const page = await get(`/threads/${threadId}/runs?limit=1`).catch(() => ({ data: [] }));
    if (threadId === this.open) return; // meanwhile its own stream tells
    const active = page.data.some((run) => !TERMINAL.has(run.status));
    this.setActive(threadId, active);
    if (active) setTimeout(() => this.ask(threadId), 3_000);
  }

  setActive(threadId, active) {
    if (this.active.has(threadId) === active) return;
    if (active) this.active.add(threadId);
    else this.active.delete(threadId);
    this.draw();
  }

  draw() {
    this.threads.forEach((thread, index) => {
      const row = this.row(thread);
      setText(row.title, titleOf(thread));
      row.dot.hidden = !this.active.has(thread.id);
      if (thread.id === this.open) row.link.setAttribute("aria-current", "page");
      else row.link.removeAttribute("aria-current");
      if (this.list.children[index] !== row.item) this.list.insertBefore(row.item, this.list.children[index] ?? null);
    });
    while (this.list.children.length > this.threads.length) this.list.lastChild.remove();
  }

  row(thread) {
    if (!this.rows.has(thread.id)) {
      const title = element("span", { className: "title" });
      const dot = element("span", { className: "dot", title: "A run is active" }, element("span", { className: "hidden" }, "run active"));
      const link = element("a", { href: `${this.home}${thread.id}`, "data-thread": thread.id }, title, dot);
      this.rows.set(thread.id, { title, dot, link, item: element("li", {}, link) });
    }
    return this.rows.get(thread.id);
  }
}
