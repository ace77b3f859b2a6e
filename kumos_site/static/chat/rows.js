// Threads as rows of links, in groups: for the list of all and for what a search found. Drawing, keys and clicks; what is
// listed is the business of sidebar.js and search.js, what is done to a thread that of actions.js.

import { element, setText } from "./nodes.js";
import { rename } from "./rename.js";
import { titleOf } from "./titles.js";

/** Make `nodes` the children of `parent`, moving as few as possible: a moved node would lose the focus. */
function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, index) => {
    if (parent.children[index] !== node) parent.insertBefore(node, parent.children[index] ?? null);
  });
}

class Row {
  constructor(thread, home) {
    this.title = element("span", { className: "title" });
    this.dot = element("span", { className: "dot", title: "A run is active" }, element("span", { className: "hidden" }, "run active"));
    this.note = element("span", { className: "snippet" });
    this.link = element("a", { href: `${home}${thread.id}`, "data-thread": thread.id }, element("span", { className: "line" }, this.title, this.dot), this.note);
    this.button = element("button", { type: "button", className: "icon row-menu", "aria-haspopup": "menu", "aria-expanded": "false" }, "⋯");
    this.element = element("li", { className: "row" }, this.link, this.button);
  }

  update({ thread, versions = [thread], title, note, active, open }) {
    this.thread = thread;
    this.versions = versions;
    const words = titleOf(thread);
    if (title) this.title.replaceChildren(...title);
    else setText(this.title, words);
    this.title.title = words;
    this.note.hidden = !note;
    this.note.replaceChildren(...(note ?? []));
    this.dot.hidden = !active;
    this.button.setAttribute("aria-label", `Actions for ${words}`);
    if (open) this.link.setAttribute("aria-current", "page");
    else this.link.removeAttribute("aria-current");
  }
}

export class Rows {
  /** `onOpen(thread id)`, `actions` as in actions.js, `onLeave(up)` where an arrow key leaves the list. */
  constructor(container, { home, actions, onOpen, onLeave = () => {} }) {
    Object.assign(this, { container, home, actions, onOpen, onLeave });
    this.rows = new Map();
    this.groups = new Map();
    container.addEventListener("click", (event) => this.clicked(event));
    container.addEventListener("dblclick", (event) => this.rowOf(event.target.closest("a")) && this.rename(this.rowOf(event.target)));
    container.addEventListener("keydown", (event) => this.pressed(event));
  }

  /** `groups` are `{ name, entries }`; an entry is what a Row updates from. */
  draw(groups) {
    const known = new Set(groups.flatMap((group) => group.entries.map((entry) => entry.thread.id)));
    for (const id of this.rows.keys()) if (!known.has(id)) this.rows.delete(id);
    place(this.container, groups.map((group) => this.group(group)));
  }

  group({ name, entries }) {
    if (!this.groups.has(name)) {
      const list = element("ul", { "aria-label": name });
      const heading = element("h2", { className: "day" }, name);
      this.groups.set(name, { list, section: element("section", {}, heading, list) });
    }
    const { list, section } = this.groups.get(name);
    place(list, entries.map((entry) => this.row(entry).element));
    return section;
  }

  row(entry) {
    const { id } = entry.thread;
    if (!this.rows.has(id)) this.rows.set(id, new Row(entry.thread, this.home));
    this.rows.get(id).update(entry);
    return this.rows.get(id);
  }

  rowOf(node) {
    const link = node?.closest(".row")?.querySelector("a");
    return link && this.rows.get(link.dataset.thread);
  }

  links() {
    return [...this.container.querySelectorAll("a")].filter((link) => !link.hidden);
  }

  clicked(event) {
    const row = this.rowOf(event.target);
    if (!row) return;
    if (row.button.contains(event.target)) {
      this.actions.offer(row.thread, row.button, { rename: () => this.rename(row), remove: () => this.remove(row) });
    } else if (event.target.closest("a") && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.button) {
      event.preventDefault();
      this.onOpen(row.thread.id);
    }
  }

  rename(row) {
    if (row.link.hidden) return;
    rename(row.link, { title: titleOf(row.thread), save: (title) => this.actions.rename(row.thread, title, row.versions) });
  }

  async remove(row) {
    const links = this.links();
    const at = links.indexOf(row.link);
    const next = links[at + 1] ?? links[at - 1];
    if (await this.actions.remove(row.thread, row.versions)) next?.focus();
    else row.link.focus();
  }

  pressed(event) {
    const row = this.rowOf(event.target);
    if (!row || event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const links = this.links();
    const at = links.indexOf(row.link);
    if (event.key === "ArrowDown") (links[at + 1] ?? links[at]).focus();
    else if (event.key === "ArrowUp" && at === 0) this.onLeave();
    else if (event.key === "ArrowUp") links[at - 1].focus();
    else if (event.key === "Home") links[0].focus();
    else if (event.key === "End") links.at(-1).focus();
    else if (event.key === "F2") this.rename(row);
    else if (event.key === "Delete") this.remove(row);
    else return;
    event.preventDefault();
  }
}
