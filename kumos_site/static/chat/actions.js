// What can be done to a thread of the list: its menu, renaming, deleting. Other modules may add to `more`.

import { post, remove } from "./api.js";
import { confirm } from "./confirm.js";
import { Menu } from "./menu.js";
import { titleOf } from "./titles.js";

export class Actions {
  /** `page` hears what became of a thread: threadChanged(thread), threadGone(id); its attempt() offers a Retry. */
  constructor(page) {
    this.page = page;
    this.menu = new Menu();
    this.more = []; // `{ label, run(thread), when?(thread) }`, before Delete
  }

  /** `rename` and `remove` begin these where the row is. */
  offer(thread, button, { rename, remove: begin }) {
    const more = this.more.filter((action) => !action.when || action.when(thread));
    this.menu.open(button, `Actions for ${titleOf(thread)}`, [
      { label: "Rename", run: rename },
      ...more.map((action) => ({ label: action.label, run: () => action.run(thread, button) })),
      { label: "Delete…", danger: true, run: begin },
    ]);
  }

  /** The list shows the new title at once, and the old one again where the server would not have it. */
  rename(thread, title) {
    this.page.threadChanged({ ...thread, metadata: { ...thread.metadata, title } });
    return this.page.attempt(async () => {
      try {
        this.page.threadChanged(await post(`/threads/${thread.id}`, { metadata: { title } }));
      } catch (failure) {
        this.page.threadChanged(thread);
        throw failure;
      }
    });
  }

  /** True once the thread is gone, whoever deleted it. */
  async remove(thread) {
    const text = `“${titleOf(thread)}” and everything said in it will be gone, for all clients. This cannot be undone.`;
    if (!(await confirm({ title: "Delete this thread?", text, action: "Delete" }))) return false;
    let gone = false;
    await this.page.attempt(async () => {
      await remove(`/threads/${thread.id}`).catch((failure) => {
        if (failure.status !== 404) throw failure;
      });
      gone = true;
      this.page.threadGone(thread.id);
    });
    return gone;
  }
}
