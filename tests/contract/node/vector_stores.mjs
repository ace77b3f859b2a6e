// Vector stores: made, filled file by file and in batches, searched, and cited from by runs.

import assert from "node:assert/strict";

import { FILE_SEARCH, annotationsOf, gathered, scenario, textOf } from "./stage.mjs";

const encoded = (text) => new TextEncoder().encode(text);
const owls = (kumos) => kumos.sdk.toFile(encoded("# Owls\n\nOwls of Zanthia hunt by starlight only."), "owls.md");
const newts = (kumos) => kumos.sdk.toFile(encoded("Newts of Zanthia sleep in teapots."), "newts.txt");

scenario("a store lives", async (kumos) => {
  const { vectorStores } = kumos.client;
  const expires_after = { anchor: "last_active_at", days: 2 };
  const made = await vectorStores.create({ name: "Birds", metadata: { a: "1" }, expires_after });
  assert.deepEqual([made.object, made.status, made.file_counts.total], ["vector_store", "completed", 0]);
  assert.equal(made.expires_at, made.last_active_at + 2 * 86400);
  assert.deepEqual(await vectorStores.retrieve(made.id), made);
  const changed = await vectorStores.update(made.id, { name: "Owls", metadata: { b: "2" }, expires_after: null });
  assert.deepEqual([changed.name, changed.metadata, changed.expires_at], ["Owls", { a: "1", b: "2" }, null]);
  const gone = await kumos.remove(vectorStores, { vector_store_id: made.id });
  assert.deepEqual({ ...gone }, { id: made.id, object: "vector_store.deleted", deleted: true });
  const error = await kumos.refusal("NotFoundError", vectorStores.retrieve(made.id));
  assert.match(error.message, new RegExp(`No vector store found with id '${made.id}'.`));
});

scenario("stores page both ways", async (kumos) => {
  const { vectorStores } = kumos.client;
  const made = [];
  for (let number = 0; number < 7; number++) made.push((await vectorStores.create({})).id);
  const listed = async (order) =>
    (await gathered(vectorStores.list({ limit: 3, order }))).map((it) => it.id).filter((id) => made.includes(id));
  assert.deepEqual(await listed("asc"), made);
  assert.deepEqual(await listed("desc"), made.toReversed());
});

scenario("a store of own files is searched", async (kumos) => {
  const { client } = kumos;
  const file = await client.files.create({ file: await owls(kumos), purpose: "assistants" });
  const store = await client.vectorStores.create({ name: "Birds" });
  const attached = await client.vectorStores.files.createAndPoll(store.id, { file_id: file.id });
  assert.equal(attached.status, "completed");
  assert.equal((await client.vectorStores.retrieve(store.id)).file_counts.completed, 1);
  const [thread, asked] = await kumos.ask("How do the owls of Zanthia hunt?", {
    tools: [FILE_SEARCH],
    tool_resources: { file_search: { vector_store_ids: [store.id] } },
  });
  const run = await client.beta.threads.runs.createAndPoll(thread, asked);
  assert.equal(run.status, "completed");
  const answer = await kumos.answerOf(run);
  assert.match(textOf(answer), /starlight/);
  assert.deepEqual(new Set(annotationsOf(answer).map((note) => note.file_citation.file_id)), new Set([file.id]));
});

scenario("a file of a store", async (kumos) => {
  const { vectorStores } = kumos.client;
  const store = await vectorStores.create({ name: "Zanthia" });
  const { files } = vectorStores;
  const attached = await files.uploadAndPoll(store.id, await owls(kumos));
  assert.deepEqual([attached.object, attached.status, attached.last_error, attached.attributes], [
    ...["vector_store.file", "completed", null, {}],
  ]);
  const ids = { vector_store_id: store.id, file_id: attached.id };
  const marked = await kumos.call(files, "update", ids, { attributes: { kind: "bird", legs: 2, wise: true } });
  assert.deepEqual(marked.attributes, { kind: "bird", legs: 2, wise: true });
  assert.deepEqual(await kumos.call(files, "retrieve", ids), marked);
  const other = await files.uploadAndPoll(store.id, await newts(kumos));
  const listed = await gathered(files.list(store.id, { limit: 1, order: "asc" }));
  assert.deepEqual(listed.map((file) => file.id), [attached.id, other.id]);
  assert.deepEqual((await files.list(store.id, { filter: "failed" })).data, []);
  const gone = await kumos.remove(files, { ...ids, file_id: other.id });
  assert.deepEqual({ ...gone }, { id: other.id, object: "vector_store.file.deleted", deleted: true });
});

scenario("the text of a file of a store", async (kumos) => {
  const { vectorStores } = kumos.client;
  const store = await vectorStores.create({ name: "Zanthia" });
  const attached = await vectorStores.files.uploadAndPoll(store.id, await owls(kumos));
  const ids = { vector_store_id: store.id, file_id: attached.id };
  const parts = await gathered(kumos.call(vectorStores.files, "content", ids));
  assert.match(parts.map((part) => part.text).join(""), /hunt by starlight/);
});

scenario("a file that cannot be read", async (kumos) => {
  const { vectorStores } = kumos.client;
  const store = await vectorStores.create({ name: "Zanthia" });
  const song = await kumos.sdk.toFile(Uint8Array.from({ length: 256 }, (_, number) => number), "owls.mp3");
  const attached = await vectorStores.files.uploadAndPoll(store.id, song);
  assert.equal(attached.status, "failed");
  assert.equal(attached.last_error.code, "unsupported_file");
});

scenario("a batch of files", async (kumos) => {
  const { client } = kumos;
  const ids = [];
  for (const file of [await owls(kumos), await newts(kumos)]) {
    ids.push((await client.files.create({ file, purpose: "assistants" })).id);
  }
  const store = await client.vectorStores.create({ name: "Zanthia" });
  const batches = client.vectorStores.fileBatches;
  const batch = await batches.createAndPoll(store.id, { file_ids: ids, attributes: { place: "Zanthia" } });
  assert.deepEqual([batch.object, batch.status], ["vector_store.file_batch", "completed"]);
  assert.deepEqual([batch.file_counts.completed, batch.file_counts.in_progress, batch.file_counts.total], [2, 0, 2]);
  const names = { vector_store_id: store.id, batch_id: batch.id };
  assert.deepEqual(await kumos.call(batches, "retrieve", names), batch);
  const listed = await gathered(kumos.call(batches, "listFiles", names, { limit: 1 }));
  assert.deepEqual(new Set(listed.map((file) => file.id)), new Set(ids));
  assert(listed.every((file) => file.attributes.place === "Zanthia"));
  assert.equal((await kumos.call(batches, "cancel", names)).status, "completed");
});

scenario("a batch of uploads", async (kumos) => {
  const { vectorStores } = kumos.client;
  const store = await vectorStores.create({ name: "Zanthia" });
  const batch = await vectorStores.fileBatches.uploadAndPoll(store.id, {
    files: [await owls(kumos), await newts(kumos), await kumos.sdk.toFile(Uint8Array.of(0, 1), "x.mp3")],
  });
  const { in_progress, completed, failed, total } = batch.file_counts;
  assert.deepEqual({ in_progress, completed, failed, total }, { in_progress: 0, completed: 2, failed: 1, total: 3 });
});

scenario("a search", async (kumos) => {
  const { vectorStores } = kumos.client;
  const store = await vectorStores.create({ name: "Zanthia" });
  const bird = await vectorStores.files.uploadAndPoll(store.id, await owls(kumos));
  const amphibian = await vectorStores.files.uploadAndPoll(store.id, await newts(kumos));
  for (const [file, kind] of [
    [bird, "bird"],
    [amphibian, "amphibian"],
  ]) {
    const ids = { vector_store_id: store.id, file_id: file.id };
    await kumos.call(vectorStores.files, "update", ids, { attributes: { kind } });
  }
  const [best] = await gathered(vectorStores.search(store.id, { query: "How do owls hunt?", max_num_results: 5 }));
  assert.deepEqual([best.file_id, best.filename, best.attributes], [bird.id, "owls.md", { kind: "bird" }]);
  assert.match(best.content[0].text, /starlight/);
  const filters = { type: "eq", key: "kind", value: "amphibian" };
  const only = await gathered(vectorStores.search(store.id, { query: ["Zanthia"], filters }));
  assert.deepEqual(new Set(only.map((result) => result.file_id)), new Set([amphibian.id]));
});
