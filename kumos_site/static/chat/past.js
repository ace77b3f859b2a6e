// What happened in a thread before the page looked: the API's lists, read into the model. What happens from then on is
// the stream's, which is why the model takes none of this for what it saw live.

import { cursorOf, get } from "./api.js";

const STEPS_AT_ONCE = 4;

const runsOf = (thread) => `/threads/${thread}/runs?limit=100`;
const messagesOf = (thread) => `/threads/${thread}/messages?order=desc&limit=100`;

/** What a thread's past begins with, as paths of the API. */
export const beginningOf = (thread) => [runsOf(thread), messagesOf(thread)];

async function stepsOf(thread, run) {
  return (await get(`/threads/${thread}/runs/${run}/steps?order=asc&limit=100`)).data;
}

/** Of a thread's newest runs those with the ids that are wanted; none where it was deleted. */
async function listed(thread, wanted) {
  const page = await get(runsOf(thread)).catch(() => ({ data: [] }));
  return page.data.filter((run) => wanted.has(run.id));
}

export class Past {
  /**
   * onChange()                after each piece
   * isWanted()                whether anybody still looks at the model
   * mayHaveSteps(run)         whether to ask for a run's steps: without tools they say nothing that its messages do not
   * copiedRuns(thread, wanted)  runs of another thread, for copies; `wanted` is a Set of ids
   */
  constructor(model, { onChange, isWanted, mayHaveSteps = (run) => run.tools.length > 0, copiedRuns = listed }) {
    Object.assign(this, { model, onChange, isWanted, mayHaveSteps, copiedRuns });
    this.cursor = -1; // up to which event of the thread the lists were read
    this.copied = new Set(); // ids of runs that were asked for
  }

  /** The newest messages and the runs: the transcript can be drawn. */
  async begin() {
    const [page, cursor] = await Promise.all([get(runsOf(this.model.id)), this.newest()]);
    this.cursor = Math.min(cursor, cursorOf(page, this.model.id));
    this.runs = page.data.reverse();
    this.runs.forEach((run) => this.model.offerRun(run));
  }

  /** What they are drawn from besides, the newest first. */
  async complete() {
    const { model } = this;
    await this.copies();
    const queue = this.runs.filter((run) => this.mayHaveSteps(run) && !model.runs.get(run.id).live).reverse();
    const worker = async () => {
      for (let run = queue.shift(); run && this.isWanted(); run = queue.shift()) {
        (await stepsOf(model.id, run.id)).forEach((step) => model.offerStep(step));
        this.onChange();
      }
    };
    await Promise.all(Array.from({ length: STEPS_AT_ONCE }, worker));
  }

  /** The newest messages; up to which event they were read. */
  async newest() {
    const { model } = this;
    const page = await get(messagesOf(model.id));
    const first = model.listed.length === 0;
    model.offerNewest(page.data.reverse());
    if (first) model.earlier = page.has_more;
    this.onChange();
    return cursorOf(page, model.id);
  }

  async earlier() {
    const { model } = this;
    const page = await get(`${messagesOf(model.id)}&after=${model.listed[0]}`);
    model.earlier = page.has_more;
    model.offerEarlier(page.data.reverse());
    this.onChange();
    await this.copies();
  }

  /** What the copies in a fork are drawn from: their runs are kept where they were written, as long as that thread is. */
  async copies() {
    const { model } = this;
    const copies = [...model.messages.values()].filter((message) => message.copied_from && message.run_id);
    const fresh = copies.filter((message) => !this.copied.has(message.run_id));
    for (const [thread, messages] of Map.groupBy(fresh, (message) => message.copied_from.thread_id)) {
      const wanted = new Set(messages.map((message) => message.run_id));
      wanted.forEach((id) => this.copied.add(id));
      for (const run of await this.copiedRuns(thread, wanted)) {
        model.offerCopied(run);
        if (!this.mayHaveSteps(run)) continue;
        (await stepsOf(thread, run.id).catch(() => [])).forEach((step) => model.offerStep(step));
      }
      this.onChange();
    }
  }
}
