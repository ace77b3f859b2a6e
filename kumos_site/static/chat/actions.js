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

  /**
   * The list shows the new title at once, and the old one again where the server would not have it. `versions` are the
   * threads that stand in one row with it.
   */
  rename(thread, title, versions = [thread]) {
    for (const one of versions) this.page.threadChanged({ ...one, metadata: { ...one.metadata, title } });
    return this.page.attempt(async () => {
      try {
        for (const one of versions) this.page.threadChanged(await post(`/threads/${one.id}`, { metadata: { title } }));
      } catch (failure) {
        versions.forEach((one) => this.page.threadChanged(one));
        throw failure;
      }
    });
  }

  /** True once the thread is gone, and its versions with it, whoever deleted them. */
  async remove(thread, versions = [thread]) {
    const all = versions.length > 1 ? ` in all ${versions.length} versions` : "";
    const text = `“${titleOf(thread)}” and everything said in it${all} will be gone, for all clients. This cannot be undone.`;
    if (!(await confirm({ title: "Delete this thread?", text, action: "Delete" }))) return false;
    let gone = false;
    await this.page.attempt(async () => {
      for (const one of versions) {
        await remove(`/threads/${one.id}`).catch((failure) => {
          if (failure.status !== 404) throw failure;
        });
        this.page.threadGone(one.id);
      }
      gone = true;
    });
    return gone;
  }
}
