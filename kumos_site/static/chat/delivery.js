// What people ask, on its way: into the open thread, a new one or a fork. What has to wait is in queue.js.
// A job bears its own idempotency key, so that no retry, no second tab and no reload says anything twice.

import { Failure, post, requestOf } from "./api.js";
import { TERMINAL } from "./thread.js";

const BUSY = /already has an active run|while a run \S+ is active/;

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The thread is answering somebody else: no fault, the message waits its turn. */
export function isBusy(failure) {
  return failure instanceof Failure && failure.status === 400 && BUSY.test(failure.message);
}

/**
 * A job: `{ key, thread, assistant, message, text, title, fork, boxed }`.
 *
 * message   the body of a new message, or null: a run on what is there
 * title     of the thread that is made where `thread` is empty, and `resources` its tool_resources
 * fork      `{ source, up_to | before }`: it goes into a fork of that thread
 * boxed     its text stands in the message box until the server has it
 */
export class Delivery {
  constructor(page) {
    this.page = page;
  }

  /** What stands in the message box: at once, or after the answer that is on its way. */
  async send({ assistant, text, message, resources, title }) {
    const { page } = this;
    const job = { thread: page.model.gone ? "" : page.model.id, assistant, message, text, title, resources, boxed: true };
    if (!job.thread || (page.model.activeRun() === null && page.queue.jobs.length === 0)) await this.deliver(job);
    else if (page.queue.add(job)) page.composer.accepted();
    else page.say("The queue is full.");
    page.transcript.follow();
  }

  /** What succeeded is remembered in `job`, so that a retry goes on where it failed. True once the run is there. */
  async deliver(job) {
    const { page } = this;
    job.key ??= newKey();
    page.forgive();
    page.inspector?.leave(); // what is asked now is asked of the present
    page.composer.setSending(true);
    let done = false;
    try {
      if (!job.thread) await this.makeThread(job);
      page.transcript.follow();
      await this.run(job);
      if (job.boxed) page.composer.accepted();
      done = true;
    } catch (failure) {
      this.failed(job, failure);
    }
    page.composer.setSending(false);
    page.changed();
    return done;
  }

  async makeThread(job) {
    const { page } = this;
    const thread = job.fork ? await this.fork(job) : await this.begin(job);
    job.thread = thread.id;
    job.begins = !job.fork; // a fork has its title already
    page.sidebar.add(thread);
    page.open(thread.id, !job.fork);
  }

  begin({ title, resources, key }) {
    const body = { metadata: { title }, ...(resources && { tool_resources: resources }) };
    return post("/threads", body, { key: `${key}-thread` });
  }

  fork({ fork: { source, ...end }, key }) {
    return post(`/threads/${source}/fork`, end, { key: `${key}-fork` });
  }

  /** The message and the run that answers it are one request: where a run is active already, neither is there. */
  async run(job) {
    const { page } = this;
    const body = { assistant_id: job.assistant };
    if (job.message) body.additional_messages = [job.message];
    const began = performance.now();
    const run = await post(`/threads/${job.thread}/runs`, body, { key: job.key });
    page.timing.asked(run, began, requestOf(run));
    if (job.begins) page.titles.owe(job.thread, run.id, job.title);
    if (page.model.id !== job.thread) return;
    page.model.offerRun(run);
    if (job.message) await page.past.newest().catch(() => {}); // its stream brings it, too
  }

  failed(job, failure) {
    const { page } = this;
    if (isBusy(failure)) {
      if (!job.message) return;
      page.queue.add(job);
      if (job.boxed) page.composer.accepted();
      return;
    }
    if (job.fork && job.message && page.model.id === job.thread && page.composer.text() === "") {
      page.composer.put(job.text); // the box it was written in is gone with the thread it was in
      job.boxed = true;
    }
    page.complain(failure, () => {
      // Until the server has it the box holds the text, and it may have been changed since.
      if (!job.boxed || JSON.stringify(page.composed()) === JSON.stringify(job.message)) this.deliver(job);
      else page.composer.submit();
    });
  }

  async stop() {
    const { page } = this;
    const run = page.model.activeRun();
    if (!run || run.status === "cancelling" || this.stopping === run.id) return;
    this.stopping = run.id;
    await page.attempt(async () => {
      try {
        await post(`/threads/${run.thread_id}/runs/${run.id}/cancel`);
      } catch (failure) {
        if (!TERMINAL.has(page.model.runs.get(run.id)?.status)) throw failure; // it ended by itself meanwhile
      }
    });
    this.stopping = "";
  }

  // What is asked without the message box ---------------------------------------------------------------------------

  /** Another attempt at the newest question, by the same assistant. */
  retry(run) {
    return this.deliver({ thread: run.thread_id, assistant: run.assistant_id, message: null });
  }

  /** An answer that was cut off at its limit goes on. */
  goOn(run) {
    const text = "Continue where you stopped.";
    return this.deliver({ thread: run.thread_id, assistant: run.assistant_id, message: { role: "user", content: text }, text });
  }
}
