// The page's head: the title of the thread that is open, which is renamed by a click on it, and the button that shares it.

import { get } from "./api.js";
import { setText } from "./nodes.js";
import { rename } from "./rename.js";
import { titleOf } from "./titles.js";

export class Head {
  constructor({ title, share, page }) {
    Object.assign(this, { title, share, page });
    this.thread = null; // as the list of threads has it, or the API where the list does not reach
    title.addEventListener("click", () => this.rename());
    share.addEventListener("click", () => this.openShares());
  }

  /** Another thread is open. One that was made just now is not looked up: the list learns of it. */
  show(model, fresh) {
    this.thread = this.page.sidebar.find(model.id) ?? null;
    if (model.id && !this.thread && !fresh) this.lookUp(model);
  }

  async lookUp(model) {
    const thread = await get(`/threads/${model.id}`).catch(() => null); // its stream tells what is wrong
    if (model !== this.page.model || !thread) return;
    this.thread = thread;
    this.page.changed();
  }

  update(thread) {
    if (this.page.model.id === thread.id) this.thread = thread;
  }

  known() {
    return this.page.sidebar.find(this.page.model.id) ?? this.thread;
  }

  draw() {
    const { model } = this.page;
    const thread = this.known();
    setText(this.title, model.id ? (thread ? titleOf(thread) : "Thread") : "New chat");
    this.title.disabled = !thread || model.gone;
    document.title = `${this.title.textContent} · Kumos`;
    this.share.hidden = model.id === "" || model.gone === true;
  }

  rename() {
    const thread = this.known();
    const { model, actions, sidebar } = this.page;
    if (!thread || model.gone) return;
    rename(this.title, { title: titleOf(thread), save: (title) => actions.rename(thread, title, sidebar.versionsOf(thread.id)) });
  }

  /** Links for people without a login; few ask for them, so what makes them is fetched then. */
  async openShares() {
    const { ShareDialog } = await import("./share.js");
    this.shares ??= new ShareDialog(() => this.page.model.id);
    this.shares.show();
  }
}
