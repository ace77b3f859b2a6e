// `node main.mjs ALIAS [async:SCENARIO …]`: plays those scenarios, or all, with the SDK of that alias in package.json.
// A JSON line for each that ended: {"mode", "scenario", "seconds", "failure": null or the stack}. Several at once: most
// of the time they wait.

import { Kumos, scenarios } from "./stage.mjs";
import "./assistants.mjs";
import "./errors.mjs";
import "./files.mjs";
import "./runs.mjs";
import "./streams.mjs";
import "./vector_stores.mjs";

const PLAYED_AT_ONCE = 4;

async function play(kumos, name) {
  const started = performance.now();
  let failure = null;
  try {
    await scenarios.get(name)(kumos);
  } catch (error) {
    failure = `${error?.stack ?? error}`;
  }
  const seconds = Math.round((performance.now() - started) / 10) / 100;
  console.log(JSON.stringify({ mode: "async", scenario: name, seconds, failure }));
}

const [alias, ...cases] = process.argv.slice(2);
const kumos = new Kumos(await import(alias), process.env.CONTRACT_KEY);
const waiting = cases.length ? cases.map((name) => name.replace("async:", "")) : [...scenarios.keys()];
await Promise.all(
  Array.from({ length: PLAYED_AT_ONCE }, async () => {
    for (let name = waiting.shift(); name; name = waiting.shift()) await play(kumos, name);
  }),
);
