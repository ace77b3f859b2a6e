// The vector store behind the files attached to a thread: found or made, filled, and asked until a file is indexed.
// Files go there when they are chosen, not when the message is sent: by then most are read, and a bad one was refused.

import { Failure, get, post } from "./api.js";

const DAYS = 7; // as for the stores that the server makes for threads
const WAIT_MS = { first: 300, most: 3_000 };

export class Shelf {
  /** Of a thread, or of a new chat's draft, where `threadId` is "" and `storeId` is what the draft remembers. */
  constructor(threadId, storeId, onStore) {
    Object.assign(this, { threadId, storeId, onStore });
  }

  /** Puts a file in and resolves when it is indexed; Failure where it cannot be, with the reason. */
  async hold(fileId, isOver) {
    const store = await this.store();
    await post(`/vector_stores/${store}/files`, { file_id: fileId });
    for (let wait = WAIT_MS.first; !isOver(); wait = Math.min(wait * 1.5, WAIT_MS.most)) {
      const held = await get(`/vector_stores/${store}/files/${fileId}`);
      if (held.status === "completed") return;
      if (held.status !== "in_progress") throw new Failure(held.last_error?.message ?? "It could not be indexed.");
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** Several files at once share the one store. */
  store() {
    this.asked ??= this.find().catch((failure) => {
      this.asked = null;
      throw failure;
    });
    return this.asked;
  }

  /** The thread's own store; one that the draft made, which becomes the thread's with the message; else a new one. */
  async find() {
    const own = this.threadId ? await this.ofThread() : "";
    if (own && (await this.isAlive(own))) return own;
    if (this.storeId && (await this.isAlive(this.storeId))) return this.storeId;
    const store = await post("/vector_stores", { expires_after: { anchor: "last_active_at", days: DAYS } });
    this.storeId = store.id;
    this.onStore(this.storeId);
    return this.storeId;
  }

  async ofThread() {
    const thread = await get(`/threads/${this.threadId}`);
    return thread.tool_resources?.file_search?.vector_store_ids?.[0] ?? "";
  }

  async isAlive(storeId) {
    try {
      return (await get(`/vector_stores/${storeId}`)).status !== "expired";
    } catch (failure) {
      if (failure.status === 404) return false;
      throw failure;
    }
  }

  /** What the thread has to be told; null where it has its store already. Not before there is a file in it to be sent:
   * a thread with a store of its own is not searched in all files of the project any more. */
  resources() {
    return this.storeId ? { file_search: { vector_store_ids: [this.storeId] } } : null;
  }
}
