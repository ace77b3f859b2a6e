// Refusals: their classes, what they carry, and which of them the SDK tries again.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";

import { scenario } from "./stage.mjs";

const INVALID = "invalid_request_error";
const requestIdOf = (error) => error.requestID ?? error.request_id; // 4.x

scenario("what does not exist", async (kumos) => {
  const { threads } = kumos.client.beta;
  const error = await kumos.refusal("NotFoundError", threads.retrieve("thread_missing"));
  assert.deepEqual([error.status, error.type, error.code, error.param], [404, INVALID, null, null]);
  assert.match(error.message, /No thread found with id 'thread_missing'\./);
  assert.match(requestIdOf(error), /^req_/);
  const thread_id = (await threads.create()).id;
  const missing = kumos.call(threads.runs, "retrieve", { thread_id, run_id: "run_missing" });
  await kumos.refusal("NotFoundError", missing);
  await kumos.refusal("NotFoundError", threads.runs.create(thread_id, { assistant_id: "asst_missing" }));
});

scenario("what is not valid", async (kumos) => {
  const { assistants, threads } = kumos.client.beta;
  const refused = async (promise) => {
    const error = await kumos.refusal("BadRequestError", promise);
    assert.equal(error.type, INVALID);
    return [error.code, error.param];
  };
  assert.deepEqual(await refused(assistants.create({ model: "scripted", temperature: 3 })), [
    ...["decimal_above_max_value", "temperature"],
  ]);
  assert.deepEqual(await refused(threads.create({ messages: [{ role: "system", content: "Hello" }] })), [
    ...["invalid_value", "messages[0].role"],
  ]);
  assert.deepEqual(await refused(assistants.create({ model: "scripted", colour: "red" })), [
    ...["unknown_parameter", "colour"],
  ]);
});

scenario("a key that is wrong", async (kumos) => {
  const stranger = kumos.connect({ apiKey: "sk-wrong-key-1234" });
  const error = await kumos.refusal("AuthenticationError", stranger.beta.assistants.list().asResponse());
  assert.deepEqual([error.status, error.type, error.code], [401, INVALID, "invalid_api_key"]);
  assert(!error.message.includes("sk-wrong-key-1234"));
});

scenario("what belongs to others", async (kumos) => {
  const [thread, asked] = await kumos.ask("!fast !echo Hello");
  const other = kumos.inTheDemo().client.beta;
  await kumos.refusal("NotFoundError", other.threads.retrieve(thread));
  await kumos.refusal("NotFoundError", other.assistants.retrieve(asked.assistant_id));
  await kumos.refusal("NotFoundError", other.threads.runs.create(thread, asked));
});

scenario("the first version of the API", async (kumos) => {
  const old = { headers: { "OpenAI-Beta": "assistants=v1" } };
  const error = await kumos.refusal("BadRequestError", kumos.client.beta.assistants.retrieve("asst_x", old));
  assert.equal(error.code, "invalid_beta");
});

// The SDK repeats 408, 409, 429 and everything from 500 on; a lock must not be repeated behind the user's back.
scenario("locks are not tried again", async (kumos) => {
  const seen = [];
  const { threads } = kumos.connectCounting((status) => seen.push(status)).beta;
  const [thread, asked] = await kumos.ask("!stall");
  const run = await threads.runs.create(thread, asked);
  const locked = await kumos.refusal("BadRequestError", threads.runs.create(thread, asked));
  assert(locked.message.includes(`already has an active run ${run.id}.`), locked.message);
  const message = threads.messages.create(thread, { role: "user", content: "Hi" });
  const closed = await kumos.refusal("BadRequestError", message);
  assert(closed.message.includes(`Can't add messages to ${thread} while a run ${run.id} is active.`), closed.message);
  assert.deepEqual(seen, [200, 400, 400]);
  await kumos.cancelRun(run);
  assert.equal((await kumos.pollRun(run)).status, "cancelled");
});

// The server whose database fails says `x-should-retry`; the SDK comes again, and by then all is well.
scenario("an outage is tried again", async (kumos) => {
  const outage = (command) =>
    execFileSync(process.env.CONTRACT_PYTHON, [
      ...["-m", "tests.contract.outage", command, process.env.CONTRACT_FRAGILE_DATABASE],
    ]);
  const seen = [];
  const mended = (status) => {
    seen.push(status);
    outage("end");
  };
  const client = kumos.connectCounting(mended, {
    baseURL: process.env.CONTRACT_FRAGILE_URL,
    apiKey: process.env.CONTRACT_DEMO_KEY,
  });
  outage("begin");
  assert.equal((await client.beta.threads.create()).object, "thread");
  assert.deepEqual(seen, [503, 200]);
});
