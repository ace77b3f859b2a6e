// Titles of threads: the first question's beginning at once, and a better one by the model after the first answer.
//
// The model is asked through /v1 like by any client: a thread of its own with one run, marked in its metadata, shown in no
// list and deleted afterwards. Only the tab that asked the question does so, once; whatever fails, the old title stays.

import { get, post, remove } from "./api.js";
import { TERMINAL } from "./thread.js";

export const PURPOSE = "kumos.purpose"; // the mark, in the metadata of threads that are not for people: titles, trials (assistants/trials.py)
const OWED = "kumos.untitled"; // in this tab's storage: thread id → { run, title }, so that a reload forgets nothing
const FIRST = 60; // characters of a first title
const MOST = 80; // and of the model's
const READ = 2_000; // characters of question and answer that the model is shown
const LEFT_OVER = 120; // seconds after which a marked thread is one that a closed tab left behind
const PATIENCE_MS = 60_000;
const INSTRUCTIONS =
  "Write a title for this conversation: at most six words, in the language of the question. " +
  "Answer with the title alone, without quotation marks and without a full stop.";

export function titleOf(thread) {
  if (thread.metadata?.title) return thread.metadata.title;
  const when = new Date(thread.created_at * 1000);
  return `Thread of ${when.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })}`;
}

export function titleFrom(text) {
  return cut(text.replace(/\s+/g, " ").trim(), FIRST);
}

export function isForPeople(thread) {
  return !["title", "trial"].includes(thread.metadata?.[PURPOSE]);
}

function cut(line, most) {
  if (line.length <= most) return line;
  const beginning = line.slice(0, most);
  const space = beginning.lastIndexOf(" ");
  return `${beginning.slice(0, space > most / 2 ? space : most).trimEnd()}…`;
}

/** What the model wrote, as a title: one line without the ornaments that models like. */
export function cleaned(text) {
  const line = text.split("\n").map((one) => one.trim()).find((one) => one !== "") ?? "";
  const bare = line.replace(/^[#*\s]+|[*\s]+$/g, "").replace(/^title\s*:\s*/i, "");
  return cut(bare.replace(/^["'“”„«»‘’*]+|["'“”«»‘’*]+$/g, "").replace(/(?<!\.)\.$/, "").trim(), MOST);
}

function textOf(message) {
  return message?.content.map((part) => part.text?.value ?? "").join(" ").slice(0, READ) ?? "";
}

export class Titles {
  /** `onTitle(thread)` hears of a thread that got its title; `versionsOf(id)` are those that are called as it is. */
  constructor({ onTitle, versionsOf }) {
    Object.assign(this, { onTitle, versionsOf });
    this.owed = new Map(Object.entries(JSON.parse(sessionStorage.getItem(OWED) ?? "{}")));
    this.swept = new Set();
  }

  /** This tab began the thread with this run: it will ask for the title. */
  owe(threadId, run, title) {
    this.owed.set(threadId, { run, title });
    this.keep();
  }

  forget(threadId) {
    if (this.owed.delete(threadId)) this.keep();
  }

  keep() {
    sessionStorage.setItem(OWED, JSON.stringify(Object.fromEntries(this.owed)));
  }

  /** The open thread changed. */
  see(model) {
    const owed = this.owed.get(model.id);
    const run = owed && model.runs.get(owed.run);
    if (run && TERMINAL.has(run.status)) this.settle(model.id, run);
  }

  /** A thread that is not open came to rest, or the page begins: what is owed may be due. */
  async check(threadId) {
    const owed = this.owed.get(threadId);
    if (!owed) return;
    try {
      const run = await get(`/threads/${threadId}/runs/${owed.run}`);
      if (TERMINAL.has(run.status)) await this.settle(threadId, run);
    } catch (failure) {
      if (failure.status === 404) this.forget(threadId);
    }
  }

  checkAll() {
    return Promise.all([...this.owed.keys()].map((threadId) => this.check(threadId)));
  }

  async settle(threadId, run) {
    const { title } = this.owed.get(threadId) ?? {};
    if (title === undefined) return;
    this.forget(threadId); // first of all, so that nothing asks twice
    if (run.status !== "completed") return;
    try {
      if (!(await this.isCalled(threadId, title))) return; // somebody renamed it
      const better = await this.ask(threadId, run.assistant_id);
      if (!better || !(await this.isCalled(threadId, title))) return;
      const versions = this.versionsOf(threadId)?.map(({ id }) => id) ?? []; // forked before there was an answer
      for (const id of new Set([threadId, ...versions])) this.onTitle(await post(`/threads/${id}`, { metadata: { title: better } }));
    } catch {
      // The beginning of the question is a title, too.
    }
  }

  async isCalled(threadId, title) {
    return (await get(`/threads/${threadId}`)).metadata.title === title;
  }

  /** A title in the model's words. */
  async ask(threadId, assistant) {
    const messages = (await get(`/threads/${threadId}/messages?order=asc&limit=10`)).data;
    const [question, answer] = ["user", "assistant"].map((role) => textOf(messages.find((one) => one.role === role)));
    const run = await post("/threads/runs", {
      assistant_id: assistant,
      instructions: INSTRUCTIONS,
      thread: {
        messages: [{ role: "user", content: `Question: ${question}\n\nAnswer: ${answer}` }],
        metadata: { [PURPOSE]: "title" },
      },
      tools: [],
      response_format: { type: "text" },
      max_completion_tokens: 256,
      metadata: { [PURPOSE]: "title" },
    });
    const scratch = `/threads/${run.thread_id}`;
    try {
      await this.end(`/v1${scratch}/runs/${run.id}/stream`);
      const said = (await get(`${scratch}/messages?run_id=${run.id}`)).data;
      return said[0]?.status === "completed" ? cleaned(textOf(said[0])) : "";
    } finally {
      remove(scratch).catch(() => {}); // what stays is swept later
    }
  }

  /** A run's stream ends with the run: nothing has to be asked again and again. */
  async end(stream) {
    const response = await fetch(stream, { signal: AbortSignal.timeout(PATIENCE_MS) });
    await response.text();
  }

  /** Delete the marked threads that closed tabs left behind, among those of a list. */
  sweep(threads) {
    const old = Date.now() / 1000 - LEFT_OVER;
    for (const thread of threads) {
      if (thread.metadata?.[PURPOSE] !== "title" || thread.created_at > old || this.swept.has(thread.id)) continue;
      this.swept.add(thread.id);
      remove(`/threads/${thread.id}`).catch(() => {});
    }
  }
}
