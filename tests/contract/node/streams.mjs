// Runs that are streamed: what each callback hears, and that what was heard is what GET shows.

import assert from "node:assert/strict";

import {
  DRAGON,
  FILE_SEARCH,
  GET_WEATHER,
  Heard,
  WEATHER_QUESTION,
  annotationsOf,
  gathered,
  outputsFor,
  scenario,
  textOf,
  toolCallsOf,
} from "./stage.mjs";
import { RESULT_CONTENT } from "./runs.mjs";

const TEXT_RUN = [
  ...["thread.run.created", "thread.run.queued", "thread.run.in_progress"],
  ...["thread.run.step.created", "thread.run.step.in_progress"],
  ...["thread.message.created", "thread.message.in_progress", "thread.message.delta", "thread.message.completed"],
  ...["thread.run.step.completed", "thread.run.completed"],
];
const TOLD_OF_TEXT = [
  ...["connect", "runStepCreated", "messageCreated", "textCreated", "textDelta", "textDone", "messageDone"],
  ...["runStepDone", "end"],
];

// The listener and the final run of a stream.
async function streamed(stream) {
  const heard = new Heard(stream);
  const run = await stream.finalRun();
  await stream.done();
  return [heard, run];
}

// The same for a run that ends incomplete. 4.x overlooks that end, whatever the server, and says that there was none.
async function streamedIncomplete(kumos, stream) {
  if (!kumos.fourth) return streamed(stream);
  const heard = new Heard(stream);
  await assert.rejects(stream.finalRun(), /Final run has not been received/);
  return [heard, await kumos.retrieveRun(stream.currentRun())];
}

// Deltas number the annotations, and quote nothing; the whole has neither.
function unnumbered(annotations = []) {
  return annotations.map(({ index, ...note }) => {
    if (note.file_citation) note.file_citation = { file_id: note.file_citation.file_id };
    return note;
  });
}

// Empty tool resources are written out in streams, and left out elsewhere (contract 10.4).
function asRead({ tool_resources, ...run }) {
  return run;
}

// The deltas, as the SDK put them together, are the message that GET shows, and so is the run.
async function assertHeardIsKept(kumos, heard, run, stream) {
  const kept = await kumos.answerOf(run);
  assert.equal(heard.text, textOf(kept));
  assert.equal(heard.snapshot.value, textOf(kept));
  assert.deepEqual(unnumbered(heard.snapshot.annotations), annotationsOf(kept));
  assert.deepEqual(heard.messages.map((message) => message.id), [kept.id]);
  const [final] = await stream.finalMessages();
  assert.equal(textOf(final), textOf(kept));
  assert.deepEqual(unnumbered(annotationsOf(final)), annotationsOf(kept));
  assert.deepEqual(asRead(await kumos.retrieveRun(run)), asRead(run));
  return kept;
}

scenario("callbacks hear a text", async (kumos) => {
  const stream = kumos.client.beta.threads.runs.stream(...(await kumos.ask("!long 12")));
  const [heard, run] = await streamed(stream);
  assert.equal(run.status, "completed");
  assert.deepEqual(heard.only(...TEXT_RUN), TEXT_RUN);
  assert.deepEqual(heard.only(...TOLD_OF_TEXT), TOLD_OF_TEXT);
  assert.equal(heard.count("textDelta"), heard.count("thread.message.delta"));
  assert.equal(heard.text.split(" ").length, 12);
  await assertHeardIsKept(kumos, heard, run, stream);
});

scenario("silence filled with heartbeats breaks no stream", async (kumos) => {
  const stream = kumos.client.beta.threads.runs.stream(...(await kumos.ask("!slow 5 !long 4")));
  const [heard, run] = await streamed(stream);
  assert(heard.count("thread.message.delta") > 1); // a slow machine sends two words in one
  await assertHeardIsKept(kumos, heard, run, stream);
});

scenario("callbacks hear the search and the cited answer", async (kumos) => {
  const demo = kumos.inTheDemo();
  const stream = demo.client.beta.threads.runs.stream(...(await demo.ask(DRAGON, { tools: [FILE_SEARCH] })));
  const [heard, run] = await streamed(stream);
  assert.equal(run.status, "completed");
  assert.deepEqual(heard.steps.map((step) => step.type), ["tool_calls", "message_creation"]);
  assert.deepEqual(new Set(heard.calls.map((call) => call.type)), new Set(["file_search"]));
  const kept = await assertHeardIsKept(demo, heard, run, stream);
  assert(annotationsOf(kept).length > 1);
  const characters = [...textOf(kept)];
  for (const note of annotationsOf(kept)) {
    assert.equal(characters.slice(note.start_index, note.end_index).join(""), note.text);
  }
});

scenario("a search streams its results to who asks", async (kumos) => {
  const demo = kumos.inTheDemo();
  const [thread, asked] = await demo.ask(`!fast ${DRAGON}`, { tools: [FILE_SEARCH] });
  const stream = demo.client.beta.threads.runs.stream(thread, { ...asked, include: [RESULT_CONTENT] });
  const [heard] = await streamed(stream);
  assert.equal(heard.steps[0].step_details.tool_calls[0].type, "file_search");
});

scenario("create and run in one stream", async (kumos) => {
  const stream = kumos.client.beta.threads.createAndRunStream({
    assistant_id: await kumos.assistant(),
    thread: { messages: [{ role: "user", content: "!echo Hello there" }], metadata: { a: "1" } },
  });
  const [heard, run] = await streamed(stream);
  assert.equal(heard.only("thread.created", ...TEXT_RUN)[0], "thread.created");
  assert.deepEqual(heard.only(...TEXT_RUN), TEXT_RUN);
  assert.equal(textOf(await assertHeardIsKept(kumos, heard, run, stream)), "Hello there");
  assert.deepEqual((await kumos.client.beta.threads.retrieve(run.thread_id)).metadata, { a: "1" });
});

scenario("parallel calls, and the stream of their outputs", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [calling, run] = await streamed(
    runs.stream(...(await kumos.ask(WEATHER_QUESTION, { tools: [GET_WEATHER] }))),
  );
  const told = (call) => [call.id, call.function.name, call.function.arguments];
  assert.deepEqual(calling.calls.map(told), toolCallsOf(run).map(told));
  assert.deepEqual(
    toolCallsOf(run).map((call) => JSON.parse(call.function.arguments).city),
    ["Paris", "Rome"],
  );
  assert.equal(calling.count("toolCallCreated"), 2);

  const stream = kumos.call(
    runs,
    "submitToolOutputsStream",
    { thread_id: run.thread_id, run_id: run.id },
    { tool_outputs: outputsFor(run) },
  );
  const [telling, ended] = await streamed(stream);
  assert.equal(ended.status, "completed");
  const expected = ["thread.run.step.completed", ...TEXT_RUN.slice(1)];
  assert.deepEqual(telling.only(...expected), expected);
  assert.match(telling.text, /Paris: 20 degrees/);
  assert.match(telling.text, /Rome: 20 degrees/);
  await assertHeardIsKept(kumos, telling, ended, stream);
});

scenario("a stream that is iterated", async (kumos) => {
  const stream = kumos.client.beta.threads.runs.stream(...(await kumos.ask("!long 6")));
  const told = (await gathered(stream)).map((event) => event.event);
  assert.equal(told[0], "thread.run.created");
  assert.equal(told.at(-1), "thread.run.completed");
  const [final] = await stream.finalMessages();
  assert.equal(textOf(final), textOf(await kumos.answerOf(await stream.finalRun())));
  const [step] = await stream.finalRunSteps();
  assert.equal(step.type, "message_creation");
});

scenario("raw events", async (kumos) => {
  const { threads } = kumos.client.beta;
  const [thread, asked] = await kumos.ask("!long 6");
  const told = (await gathered(await threads.runs.create(thread, { ...asked, stream: true }))).map((it) => it.event);
  assert.deepEqual(told.filter((name, number) => number === 0 || told[number - 1] !== name), TEXT_RUN);
  const both = await threads.createAndRun({
    assistant_id: await kumos.assistant(),
    thread: { messages: [{ role: "user", content: "!echo Hi" }] },
    stream: true,
  });
  const names = (await gathered(both)).map((event) => event.event);
  assert.deepEqual([names[0], names.at(-1)], ["thread.created", "thread.run.completed"]);
});

scenario("raw events of a call", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [thread, asked] = await kumos.ask(WEATHER_QUESTION, { tools: [GET_WEATHER] });
  const last = (await gathered(await runs.create(thread, { ...asked, stream: true }))).at(-1);
  assert.equal(last.event, "thread.run.requires_action");
  const ids = { thread_id: thread, run_id: last.data.id };
  const rest = await kumos.call(runs, "submitToolOutputs", ids, {
    tool_outputs: outputsFor(last.data),
    stream: true,
  });
  const told = (await gathered(rest)).map((event) => event.event);
  assert.deepEqual([told[0], told.at(-1)], ["thread.run.step.completed", "thread.run.completed"]);
});

scenario("cancelled in mid stream", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const stream = runs.stream(...(await kumos.ask("!stall")));
  const cancelled = new Promise((resolve, reject) => {
    stream.once("textDelta", () => kumos.cancelRun(stream.currentRun()).then(resolve, reject));
  });
  const [heard, run] = await streamed(stream);
  assert(["cancelling", "cancelled"].includes((await cancelled).status));
  assert.equal(run.status, "cancelled");
  assert.deepEqual(asRead(await kumos.pollRun(run)), asRead(run));
  const ends = [
    ...["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"],
    "end",
  ];
  assert.deepEqual(heard.only(...ends), ends);
  const message = await kumos.answerOf(run);
  assert.equal(message.incomplete_details.reason, "run_cancelled");
  assert.equal(textOf(message), heard.text);
});

scenario("a failed run is an event and no error", async (kumos) => {
  for (const question of ["!fail rate_limit_exceeded after 2", "!fail rate_limit_exceeded"]) {
    const stream = kumos.client.beta.threads.runs.stream(...(await kumos.ask(question)));
    const [heard, run] = await streamed(stream);
    assert.equal(run.status, "failed");
    assert.equal(run.last_error.code, "rate_limit_exceeded");
    assert.deepEqual(heard.only("thread.run.failed", "error", "end"), ["thread.run.failed", "end"]);
  }
});

scenario("a run that used up its tokens", async (kumos) => {
  const [thread, asked] = await kumos.ask("!fast !long 400");
  const stream = kumos.client.beta.threads.runs.stream(thread, { ...asked, max_completion_tokens: 256 });
  const [heard, run] = await streamedIncomplete(kumos, stream);
  assert.equal(run.status, "incomplete");
  assert.deepEqual(run.incomplete_details, { reason: "max_completion_tokens" });
  const ends = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"];
  assert.deepEqual(heard.only(...ends), ends);
  const message = await kumos.answerOf(run);
  assert.equal(message.incomplete_details.reason, "max_tokens");
  assert.equal(textOf(message), heard.text);
});

scenario("a run that a filter cut short", async (kumos) => {
  const stream = kumos.client.beta.threads.runs.stream(...(await kumos.ask("!filter 4")));
  const [heard, run] = await streamedIncomplete(kumos, stream);
  assert.deepEqual(run.incomplete_details, { reason: "content_filter" });
  const message = await kumos.answerOf(run);
  assert.equal(message.incomplete_details.reason, "content_filter");
  assert.equal(textOf(message), heard.text);
});

// Before its first event, with the status that the request would have had without a stream.
scenario("a stream that is refused", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [thread, asked] = await kumos.ask("!stall");
  const run = await runs.create(thread, asked);
  const error = await kumos.refusal("BadRequestError", runs.stream(thread, asked).finalRun());
  assert(error.message.includes(`Thread ${thread} already has an active run ${run.id}.`), error.message);
  await kumos.refusal("BadRequestError", runs.create(thread, { ...asked, stream: true }));
  await kumos.cancelRun(run);
  assert.equal((await kumos.pollRun(run)).status, "cancelled");
});
