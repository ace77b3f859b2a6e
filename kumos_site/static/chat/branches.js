// Versions of a conversation. Nothing that was said is ever changed: another answer, another question, a copy to go on
// from are forks of the thread (docs/extensions.md), and where forks part the page leads from one to the other.

import { get } from "./api.js";
import { newKey } from "./delivery.js";

const PAGES = 10; // of a hundred threads each

function placeOf(message) {
  const { thread_id: thread, message_id: id } = message.copied_from ?? { thread_id: message.thread_id, message_id: message.id };
  return `${thread} ${id}`;
}

export function messagesOf(turn) {
  return turn.message ? [turn.message] : turn.messages;
}

export class Branches {
  constructor(page) {
    this.page = page;
    this.show(null);
  }

  show(model) {
    this.model = model;
    this.members = new Map(); // id → thread, of the whole family
    this.places = new Map(); // where forks part → the forks, oldest first
    this.version = 0;
  }

  async load(model) {
    const threads = [];
    let page = { has_more: true, last_id: "" };
    for (let count = 0; page.has_more && count < PAGES; count += 1) {
      page = await get(`/threads?family=${model.id}&order=asc&limit=100${page.last_id && `&after=${page.last_id}`}`);
      threads.push(...page.data);
    }
    if (model !== this.model) return;
    this.members = new Map(threads.map((thread) => [thread.id, thread]));
    const forks = threads.filter((thread) => thread.forked_from);
    this.places = Map.groupBy(forks, ({ forked_from: from }) => `${from.thread_id} ${from.message_id ?? ""}`);
    this.version += 1;
    this.page.changed();
  }

  // Where forks part ------------------------------------------------------------------------------------------------

  /** Turn key → its versions, where it has several; under "" those of what comes after the last turn. */
  at(turns) {
    const found = new Map();
    if (this.places.size === 0) return found;
    const { model } = this;
    const root = this.members.get(model.id)?.forked_from?.family ?? model.id;
    let place = model.earlier ? "" : `${root} `;
    for (const turn of turns) {
      const messages = messagesOf(turn);
      this.note(found, turn.key, place, messages[0]?.copied_from?.thread_id ?? model.id);
      place = messages.length ? placeOf(messages.at(-1)) : "";
    }
    this.note(found, "", place, model.id);
    return found;
  }

  note(found, key, place, owner) {
    const forks = this.places.get(place);
    if (!forks) return;
    const threads = forks.map((thread) => thread.id);
    const original = place.split(" ")[0];
    if (this.members.has(original)) threads.unshift(original);
    let index = threads.indexOf(owner);
    if (index < 0) index = threads.push(this.model.id) - 1; // its own thread was deleted: this one goes on for it
    if (threads.length > 1) found.set(key, { place, threads, index });
  }

  /** To another version; there the same switch has the focus, where the reader's eyes are. */
  go(place, threadId, way) {
    this.wanted = { place, way };
    this.page.open(threadId);
  }

  // Going on in a fork ----------------------------------------------------------------------------------------------

  /** The same question, answered once more by the same assistant. */
  regenerate(turn) {
    const [first] = messagesOf(turn);
    const assistant = turn.run?.assistant_id ?? first?.assistant_id;
    const end = first ? { before: first.id } : {};
    return this.page.delivery.deliver({
      fork: { source: this.model.id, ...end },
      assistant: this.page.picker.has(assistant) ? assistant : this.page.chosenAssistant(),
      message: null,
    });
  }

  /** Another question in place of `message`; what was attached to it stays. */
  ask(message, text) {
    const parts = message.content.filter((part) => part.type !== "text");
    const body = { role: "user", content: parts.length ? [{ type: "text", text }, ...parts] : text };
    if (message.attachments.length) body.attachments = message.attachments;
    return this.page.delivery.deliver({
      fork: { source: this.model.id, before: message.id },
      assistant: this.page.chosenAssistant(),
      message: body,
      text,
    });
  }

  /** A copy up to this turn, to go on from. */
  fork(turn) {
    const { page } = this;
    const last = messagesOf(turn).at(-1);
    const job = { key: newKey(), fork: { source: this.model.id, ...(last && { up_to: last.id }) } };
    return page.attempt(async () => {
      await page.delivery.makeThread(job);
      page.say("This is a fork. What you say here leaves the other thread as it is.");
      page.composer.area.focus();
    });
  }
}
