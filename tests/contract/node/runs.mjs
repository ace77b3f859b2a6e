// Runs without a stream: polled to their ends, called back with tool outputs, cancelled, listed.

import assert from "node:assert/strict";

import {
  BRIEF,
  DRAGON,
  FILE_SEARCH,
  GET_WEATHER,
  WEATHER_QUESTION,
  gathered,
  outputsFor,
  scenario,
  textOf,
  toolCallsOf,
} from "./stage.mjs";

export const RESULT_CONTENT = "step_details.tool_calls[*].file_search.results[*].content";

scenario("create and poll", async (kumos) => {
  const run = await kumos.client.beta.threads.runs.createAndPoll(...(await kumos.ask("!echo Hello there")));
  assert.equal(run.status, "completed");
  assert.equal(textOf(await kumos.answerOf(run)), "Hello there");
});

scenario("create, then poll, then label", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [thread_id, asked] = await kumos.ask("unheard", { temperature: 0.5 });
  const created = await runs.create(thread_id, {
    ...asked,
    additional_instructions: "Really.",
    additional_messages: [{ role: "user", content: "!echo Hello" }],
    metadata: { a: "1" },
    temperature: 0.25,
    max_completion_tokens: 300,
    truncation_strategy: { type: "last_messages", last_messages: 1 },
  });
  assert(["queued", "in_progress"].includes(created.status));
  const run = await kumos.pollRun(created);
  assert.equal(run.status, "completed");
  assert.deepEqual(await kumos.retrieveRun(run), run);
  assert.deepEqual([run.instructions, run.temperature, run.max_completion_tokens], [`${BRIEF} Really.`, 0.25, 300]);
  assert.equal(run.truncation_strategy.last_messages, 1);
  assert.equal(textOf(await kumos.answerOf(run)), "Hello");
  const labelled = await kumos.call(runs, "update", { thread_id, run_id: run.id }, { metadata: { b: "2" } });
  assert.deepEqual(labelled.metadata, { a: "1", b: "2" });
});

scenario("create and run, polled at once and later", async (kumos) => {
  const { threads } = kumos.client.beta;
  const body = {
    assistant_id: await kumos.assistant(),
    thread: { messages: [{ role: "user", content: "!echo Hello" }] },
  };
  const atOnce = await threads.createAndRunPoll(body);
  const later = await kumos.pollRun(await threads.createAndRun(body));
  for (const run of [atOnce, later]) {
    assert.equal(run.status, "completed");
    assert.equal(textOf(await kumos.answerOf(run)), "Hello");
  }
});

scenario("parallel calls, submitted and polled", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const run = await runs.createAndPoll(...(await kumos.ask(WEATHER_QUESTION, { tools: [GET_WEATHER] })));
  assert.deepEqual(toolCallsOf(run).map((call) => call.function.name), ["get_weather", "get_weather"]);
  const ids = { thread_id: run.thread_id, run_id: run.id };
  const tool_outputs = outputsFor(run);
  const error = await kumos.refusal(
    "BadRequestError",
    kumos.call(runs, "submitToolOutputs", ids, { tool_outputs: tool_outputs.slice(0, 1) }),
  );
  assert(error.message.includes(`got ['${tool_outputs[0].tool_call_id}']`), error.message);
  const ended = await kumos.call(runs, "submitToolOutputsAndPoll", ids, { tool_outputs });
  assert.equal(ended.status, "completed");
  const answer = textOf(await kumos.answerOf(ended));
  assert.match(answer, /Paris: 20 degrees/);
  assert.match(answer, /Rome: 20 degrees/);
  const steps = await gathered(kumos.call(runs.steps, "list", ids, { order: "asc", limit: 1 }));
  assert.deepEqual(steps.map((step) => step.type), ["tool_calls", "message_creation"]);
  assert.equal(
    ended.usage.total_tokens,
    steps.reduce((sum, step) => sum + step.usage.total_tokens, 0),
  );
});

scenario("rounds of calls, until cancelled", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [thread_id, asked] = await kumos.ask('!loop get_weather {"city": "Oslo"}', { tools: [GET_WEATHER] });
  let run = await runs.createAndPoll(thread_id, asked);
  const ids = { thread_id, run_id: run.id };
  const seen = new Set(toolCallsOf(run).map((call) => call.id));
  run = await kumos.call(runs, "submitToolOutputs", ids, { tool_outputs: outputsFor(run) });
  assert.equal(run.required_action, null);
  run = await kumos.pollRun(run);
  toolCallsOf(run).forEach((call) => seen.add(call.id));
  assert.equal(seen.size, 2);
  assert(["cancelling", "cancelled"].includes((await kumos.cancelRun(run)).status));
  assert.equal((await kumos.pollRun(run)).status, "cancelled");
  const error = await kumos.refusal("BadRequestError", kumos.cancelRun(run));
  assert.match(error.message, /Cannot cancel run with status 'cancelled'\./);
});

scenario("a run that failed", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const run = await runs.createAndPoll(...(await kumos.ask("!fail rate_limit_exceeded after 2")));
  assert.equal(run.status, "failed");
  assert.equal(run.last_error.code, "rate_limit_exceeded");
  assert.equal((await kumos.answerOf(run)).incomplete_details.reason, "run_failed");
});

scenario("runs and steps are listed", async (kumos) => {
  const { runs } = kumos.client.beta.threads;
  const [thread_id, asked] = await kumos.ask("!fast !echo Hello");
  const made = [];
  for (let number = 0; number < 3; number++) made.push((await runs.createAndPoll(thread_id, asked)).id);
  const ascending = await gathered(runs.list(thread_id, { limit: 2, order: "asc" }));
  assert.deepEqual(ascending.map((run) => run.id), made);
  const descending = await gathered(runs.list(thread_id, { limit: 2 }));
  assert.deepEqual(descending.map((run) => run.id), made.toReversed());
  const ids = { thread_id, run_id: made[0] };
  const [step] = (await kumos.call(runs.steps, "list", ids)).data;
  assert.deepEqual(await kumos.call(runs.steps, "retrieve", { ...ids, step_id: step.id }), step);
});

scenario("a search shows its results to who asks", async (kumos) => {
  const demo = kumos.inTheDemo();
  const { runs } = demo.client.beta.threads;
  const run = await runs.createAndPoll(...(await demo.ask(`!fast ${DRAGON}`, { tools: [FILE_SEARCH] })));
  const ids = { thread_id: run.thread_id, run_id: run.id };
  const resultsOf = async (query) =>
    (await demo.call(runs.steps, "list", ids, { order: "asc", ...query })).data[0].step_details.tool_calls[0]
      .file_search.results;
  const bare = await resultsOf({});
  const full = await resultsOf({ include: [RESULT_CONTENT] });
  assert(bare.length > 0);
  assert.deepEqual(bare.map((result) => result.file_id), full.map((result) => result.file_id));
  assert(bare.every((result) => result.content === undefined));
  assert(full.every((result) => result.content[0].text));
});
