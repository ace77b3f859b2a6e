// What every scenario has: a client, a listener, and Kumos at the other end. Twin of ../python/stage.py.

import assert from "node:assert/strict";

export const BRIEF = "Be brief.";
export const FILE_SEARCH = { type: "file_search" };
export const GET_WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
// What the documents of the demo project answer.
export const DRAGON = "Summarize 'Project Dragon' based on all available files";
export const WEATHER_QUESTION = "What is the weather in Paris and Rome?";
const CALL_MS = 60_000;

export const scenarios = new Map();

// Registers a function of one Kumos: a test with each version of the SDK. (../sdks.py finds the names in the source.)
export function scenario(name, play) {
  assert(!scenarios.has(name), name);
  scenarios.set(name, play);
}

// The served Kumos as one version of the SDK sees it. Its addresses and keys are environment variables.
export class Kumos {
  constructor(sdk, key) {
    this.sdk = sdk;
    this.key = key;
    this.client = this.connect();
    this.fourth = !("delete" in this.client.beta.assistants); // 4.x says del
  }

  // The same in the demo's project, whose documents a search without a vector store covers.
  inTheDemo() {
    return new Kumos(this.sdk, process.env.CONTRACT_DEMO_KEY);
  }

  connect(options = {}) {
    return new this.sdk.OpenAI({
      baseURL: process.env.CONTRACT_URL,
      apiKey: this.key,
      timeout: CALL_MS,
      ...options,
    });
  }

  // A client that tells the status of each answer, repeated requests included.
  connectCounting(seen, options = {}) {
    const fetch = async (...request) => {
      const answer = await globalThis.fetch(...request);
      await seen(answer.status);
      return answer;
    };
    return this.connect({ fetch, ...options });
  }

  // A method of something inside something: 4.x takes all ids by position, from the outermost on; later versions take
  // the innermost by position and the others by name. `ids`: { thread_id, run_id }, from the outermost on.
  call(resource, method, ids, params) {
    const inner = Object.entries(ids);
    if (this.fourth) return resource[method](...inner.map(([, id]) => id), ...(params ? [params] : []));
    const [, innermost] = inner.pop();
    return resource[method](innermost, { ...Object.fromEntries(inner), ...params });
  }

  remove(resource, ids) {
    return this.call(resource, this.fourth ? "del" : "delete", ids);
  }

  async assistant(fields = {}) {
    const made = await this.client.beta.assistants.create({ model: "scripted", instructions: BRIEF, ...fields });
    return made.id;
  }

  // A thread with the question, and the parameters of a run in it.
  async ask(content, fields = {}) {
    const thread = await this.client.beta.threads.create({ messages: [{ role: "user", content }] });
    return [thread.id, { assistant_id: await this.assistant(fields) }];
  }

  retrieveRun({ id, thread_id }) {
    return this.call(this.client.beta.threads.runs, "retrieve", { thread_id, run_id: id });
  }

  cancelRun({ id, thread_id }) {
    return this.call(this.client.beta.threads.runs, "cancel", { thread_id, run_id: id });
  }

  pollRun({ id, thread_id }) {
    return this.call(this.client.beta.threads.runs, "poll", { thread_id, run_id: id });
  }

  // The one message of the run, as GET shows it.
  async answerOf(run) {
    const page = await this.client.beta.threads.messages.list(run.thread_id, { run_id: run.id });
    assert.equal(page.data.length, 1);
    return page.data[0];
  }

  // The error that a call rejects with, which must be exactly of that class.
  async refusal(kind, promise) {
    const result = await promise.then(
      (value) => ({ value }),
      (error) => ({ error }),
    );
    assert(result.error, `not refused: ${JSON.stringify(result.value)}`);
    assert.equal(result.error.constructor, this.sdk[kind], String(result.error.stack));
    return result.error;
  }
}

// Notes what the callbacks of a stream are told.
export class Heard {
  constructor(stream) {
    this.told = []; // names of events and of callbacks, in order
    this.text = ""; // all text deltas, joined by us
    this.messages = [];
    this.calls = [];
    this.steps = [];
    const note = (name, noted = () => {}) =>
      stream.on(name, (...args) => {
        this.told.push(name);
        noted(...args);
      });
    stream.on("event", (event) => this.told.push(event.event));
    note("connect");
    note("messageCreated", (message) => assert.deepEqual(message.content, []));
    note("messageDelta");
    note("messageDone", (message) => this.messages.push(message));
    note("textCreated", () => (this.text = ""));
    note("textDelta", (delta, snapshot) => {
      this.text += delta.value ?? "";
      this.snapshot = structuredClone(snapshot);
    });
    note("textDone");
    note("runStepCreated");
    note("runStepDelta");
    note("runStepDone", (step) => this.steps.push(step));
    note("toolCallCreated");
    note("toolCallDelta");
    note("toolCallDone", (call) => this.calls.push(call));
    note("error", (error) => this.told.push(`error ${error}`));
    note("abort");
    note("end");
  }

  // Of what was told, these, each once for an uninterrupted series.
  only(...names) {
    const kept = this.told.filter((name) => names.includes(name));
    return kept.filter((name, number) => number === 0 || kept[number - 1] !== name);
  }

  count(name) {
    return this.told.filter((told) => told === name).length;
  }
}

export async function gathered(iterable) {
  const found = [];
  for await (const item of iterable) found.push(item);
  return found;
}

export function textOf(message) {
  assert.equal(message.content.length, 1);
  assert.equal(message.content[0].type, "text");
  return message.content[0].text.value;
}

export function annotationsOf(message) {
  return message.content[0].text.annotations;
}

export function toolCallsOf(run) {
  assert.equal(run.status, "requires_action");
  return run.required_action.submit_tool_outputs.tool_calls;
}

// What a client would submit for the calls of get_weather.
export function outputsFor(run) {
  return toolCallsOf(run).map((call) => ({
    tool_call_id: call.id,
    output: `${JSON.parse(call.function.arguments).city}: 20 degrees`,
  }));
}
