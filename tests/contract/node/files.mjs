// Files and models.

import assert from "node:assert/strict";

import { gathered, scenario } from "./stage.mjs";

const NOTES = new TextEncoder().encode("Übergrößenträger, naïve café — 日本語.\n");

scenario("a file lives", async (kumos) => {
  const { files } = kumos.client;
  const made = await files.create({ file: await kumos.sdk.toFile(NOTES, "notes.md"), purpose: "assistants" });
  assert.deepEqual([made.object, made.filename, made.bytes, made.purpose], [
    ...["file", "notes.md", NOTES.length, "assistants"],
  ]);
  assert.equal(made.status, "processed");
  assert.deepEqual(await files.retrieve(made.id), made);
  assert.equal((await files.waitForProcessing(made.id, { pollInterval: 100 })).id, made.id);
  const gone = await kumos.remove(files, { file_id: made.id });
  assert.deepEqual({ ...gone }, { id: made.id, object: "file", deleted: true });
  const error = await kumos.refusal("NotFoundError", files.retrieve(made.id));
  assert.equal(error.param, "id");
  assert.match(error.message, new RegExp(`No such File object: ${made.id}`));
});

scenario("a file comes back as it was", async (kumos) => {
  const data = Uint8Array.from({ length: 10240 }, (_, number) => number % 256);
  const { files } = kumos.client;
  const made = await files.create({ file: await kumos.sdk.toFile(data, "all bytes.bin"), purpose: "user_data" });
  const content = await files.content(made.id);
  assert.deepEqual(new Uint8Array(await content.arrayBuffer()), data);
});

// `batch` and not another purpose, because no other scenario uploads such files.
scenario("files page both ways", async (kumos) => {
  const { files } = kumos.client;
  const made = [];
  for (let number = 0; number < 7; number++) {
    const file = await kumos.sdk.toFile(new TextEncoder().encode("{}"), `${number}.jsonl`);
    made.push((await files.create({ file, purpose: "batch" })).id);
  }
  const listed = async (order) =>
    (await gathered(files.list({ purpose: "batch", limit: 3, order }))).map((file) => file.id);
  assert.deepEqual(await listed("asc"), made);
  assert.deepEqual(await listed("desc"), made.toReversed());
});

scenario("models", async (kumos) => {
  const { models } = kumos.client;
  assert((await gathered(models.list())).some((model) => model.id === "scripted"));
  assert.equal((await models.retrieve("scripted")).object, "model");
  const error = await kumos.refusal("NotFoundError", models.retrieve("nobody"));
  assert.equal(error.code, "model_not_found");
});
