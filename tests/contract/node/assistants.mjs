// Assistants, threads and messages: made, read, changed, listed over several pages, deleted.

import assert from "node:assert/strict";

import { BRIEF, FILE_SEARCH, GET_WEATHER, gathered, scenario, textOf } from "./stage.mjs";

const series = (count, make) => Array.from({ length: count }, (_, number) => make(number));

scenario("an assistant lives", async (kumos) => {
  const fields = {
    name: "Weather frog",
    description: "Knows the weather.",
    instructions: BRIEF,
    metadata: { team: "north" },
    temperature: 0.5,
    top_p: 0.25,
    response_format: { type: "json_object" },
  };
  const { assistants } = kumos.client.beta;
  const made = await assistants.create({ model: "scripted", tools: [GET_WEATHER, FILE_SEARCH], ...fields });
  for (const [name, value] of Object.entries(fields)) assert.deepEqual(made[name], value);
  assert.deepEqual(made.tools.map((tool) => tool.type), ["function", "file_search"]);
  assert.deepEqual(await assistants.retrieve(made.id), made);

  const changed = await assistants.update(made.id, {
    description: null,
    metadata: { floor: "2" },
    tools: [],
    response_format: "auto",
  });
  assert.deepEqual([changed.name, changed.description, changed.tools], ["Weather frog", null, []]);
  assert.deepEqual(changed.metadata, { team: "north", floor: "2" });
  assert.equal(changed.response_format, "auto");
  assert.deepEqual(await assistants.retrieve(made.id), changed);

  const gone = await kumos.remove(assistants, { assistant_id: made.id });
  assert.deepEqual({ ...gone }, { id: made.id, object: "assistant.deleted", deleted: true });
  const error = await kumos.refusal("NotFoundError", assistants.retrieve(made.id));
  assert.match(error.message, new RegExp(`No assistant found with id '${made.id}'.`));
});

// Others make assistants at the same time: what counts is that each of ours comes once, in its place.
scenario("assistants of one second page both ways", async (kumos) => {
  const { assistants } = kumos.client.beta;
  const made = [];
  for (const name of series(23, (number) => `number ${number}`)) {
    made.push(await assistants.create({ model: "scripted", name }));
  }
  assert(new Set(made.map((assistant) => assistant.created_at)).size < made.length);
  const ids = made.map((assistant) => assistant.id);
  for (const [order, expected] of [
    ["asc", ids],
    ["desc", ids.toReversed()],
  ]) {
    const listed = (await gathered(assistants.list({ limit: 5, order }))).map((assistant) => assistant.id);
    assert.deepEqual(listed.filter((id) => ids.includes(id)), expected);
    assert.equal(new Set(listed).size, listed.length);
  }
});

scenario("a thread lives", async (kumos) => {
  const { threads } = kumos.client.beta;
  assert.deepEqual((await threads.create()).metadata, {});
  const messages = [
    { role: "user", content: "one" },
    { role: "assistant", content: "two" },
  ];
  const made = await threads.create({ messages, metadata: { a: "1" } });
  assert.equal(made.object, "thread");
  assert.match(made._request_id, /^req_/);
  const read = await threads.retrieve(made.id);
  assert.deepEqual([read.id, read.created_at, read.metadata], [made.id, made.created_at, { a: "1" }]);
  assert.deepEqual((await threads.update(made.id, { metadata: { b: "2" } })).metadata, { a: "1", b: "2" });
  const listed = (await threads.messages.list(made.id, { order: "asc" })).data;
  assert.deepEqual(listed.map((message) => [message.role, textOf(message)]), [
    ["user", "one"],
    ["assistant", "two"],
  ]);
  const gone = await kumos.remove(threads, { thread_id: made.id });
  assert.deepEqual({ ...gone }, { id: made.id, object: "thread.deleted", deleted: true });
  await kumos.refusal("NotFoundError", threads.retrieve(made.id));
});

scenario("a message lives", async (kumos) => {
  const { threads } = kumos.client.beta;
  const thread_id = (await threads.create()).id;
  const made = await threads.messages.create(thread_id, { role: "user", content: "Hello", metadata: { a: "1" } });
  const ids = { thread_id, message_id: made.id };
  assert.equal(textOf(made), "Hello");
  assert.deepEqual([made.thread_id, made.run_id, made.assistant_id, made.attachments], [thread_id, null, null, []]);
  assert.deepEqual(await kumos.call(threads.messages, "retrieve", ids), made);
  const changed = await kumos.call(threads.messages, "update", ids, { metadata: { b: "2" } });
  assert.deepEqual(changed.metadata, { a: "1", b: "2" });
  const gone = await kumos.remove(threads.messages, ids);
  assert.deepEqual({ ...gone }, { id: made.id, object: "thread.message.deleted", deleted: true });
  await kumos.refusal("NotFoundError", kumos.call(threads.messages, "retrieve", ids));
});

scenario("messages of one second page both ways", async (kumos) => {
  const { threads } = kumos.client.beta;
  const thread = (await threads.create()).id;
  const texts = series(23, (number) => `message ${number}`);
  const made = [];
  for (const content of texts) made.push(await threads.messages.create(thread, { role: "user", content }));
  assert(new Set(made.map((message) => message.created_at)).size < made.length);
  const ascending = await gathered(threads.messages.list(thread, { limit: 5, order: "asc" }));
  assert.deepEqual(ascending.map(textOf), texts);
  const descending = await gathered(threads.messages.list(thread, { limit: 5 }));
  assert.deepEqual(descending.map(textOf), texts.toReversed());
});
