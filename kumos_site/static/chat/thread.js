// One thread as a view model: the API's objects and the stream's events folded into messages, steps and runs.
// Pure: no DOM, no network. The stream wins over a list, because a list may be older than the events already seen.

export const TERMINAL = new Set(["completed", "failed", "cancelled", "expired", "incomplete"]);

const CUT_SHORT = {
  max_completion_tokens: "it reached the limit for an answer",
  max_prompt_tokens: "the conversation is longer than the limit",
  max_tokens: "it reached the limit for an answer",
  content_filter: "the model's filter stopped it",
};

function appendMessageDelta(message, delta) {
  for (const part of delta.content ?? []) {
    const at = part.index;
    if (part.type !== "text") {
      message.content[at] ??= part;
      continue;
    }
    const known = (message.content[at] ??= { type: "text", text: { value: "", annotations: [] } });
    known.text.value += part.text?.value ?? "";
    for (const annotation of part.text?.annotations ?? []) known.text.annotations[annotation.index] = annotation;
  }
}

function appendOutputs(known, outputs) {
  for (const output of outputs) {
    const before = known[output.index];
    if (before?.type === "logs") before.logs += output.logs ?? "";
    else known[output.index] = { ...output };
  }
}

function appendStepDelta(step, delta) {
  for (const part of delta.step_details?.tool_calls ?? []) {
    const calls = step.step_details.tool_calls;
    const call = (calls[part.index] ??= { id: part.id, type: part.type });
    const detail = part[part.type];
    if (part.type === "function") {
      call.function ??= { name: "", arguments: "", output: null };
      call.function.name += detail?.name ?? "";
      call.function.arguments += detail?.arguments ?? "";
    } else if (part.type === "code_interpreter") {
      call.code_interpreter ??= { input: "", outputs: [] };
      call.code_interpreter.input += detail?.input ?? "";
      appendOutputs(call.code_interpreter.outputs, detail?.outputs ?? []);
    } else {
      call[part.type] = { ...call[part.type], ...detail };
    }
  }
}

export class Thread {
  constructor(id) {
    this.id = id;
    this.seq = 0;
    this.messages = new Map(); // id → message; `version` grows with each change, `live` is set once the stream told of it
    this.steps = new Map();
    this.runs = new Map();
    this.copied = new Map(); // run id → run, of messages copied from elsewhere
    this.listed = []; // message ids in the API's order, oldest first
    this.earlier = false; // whether older messages are left on the server
    this.gone = false; // deleted, by whomever: nothing will happen in it any more
  }

  // From the stream -----------------------------------------------------------------------------------------------

  /** Fold one frame `{ id, event, data }` in. False where it was known already, or is none of the thread's own. */
  apply(frame) {
    const seq = Number(frame.id);
    if (!seq || seq <= this.seq) return false;
    this.seq = seq;
    const data = JSON.parse(frame.data);
    const name = frame.event;
    if (name === "thread.message.delta") this.change(this.messages, data.id, (message) => appendMessageDelta(message, data.delta));
    else if (name === "thread.run.step.delta") this.change(this.steps, data.id, (step) => appendStepDelta(step, data.delta));
    else if (name.startsWith("thread.message.")) this.put(this.messages, data, true);
    else if (name.startsWith("thread.run.step.")) this.put(this.steps, data, true);
    else if (name.startsWith("thread.run.")) this.put(this.runs, data, true);
    else return false;
    return true;
  }

  put(objects, object, live) {
    const version = (objects.get(object.id)?.version ?? 0) + 1;
    objects.set(object.id, { ...object, live, version });
  }

  change(objects, id, append) {
    const object = objects.get(id);
    // A delta without its beginning cannot be placed; the closing event brings the whole text.
    if (!object?.live) return;
    append(object);
    object.version += 1;
  }

  // From the API's answers ----------------------------------------------------------------------------------------

  offer(objects, object) {
    if (!objects.get(object.id)?.live) this.put(objects, object, false);
  }

  offerRun(run) {
    this.offer(this.runs, run);
  }

  offerStep(step) {
    this.offer(this.steps, step);
  }

  /** The newest messages of the thread, oldest first. */
  offerNewest(messages) {
    for (const message of messages) this.offer(this.messages, message);
    const fresh = new Set(messages.map((message) => message.id));
    this.listed = [...this.listed.filter((id) => !fresh.has(id)), ...fresh];
  }

  /** The messages before the ones known, oldest first. */
  offerEarlier(messages) {
    for (const message of messages) this.offer(this.messages, message);
    const known = new Set(this.listed);
    this.listed = [...messages.map((message) => message.id).filter((id) => !known.has(id)), ...this.listed];
  }

  // What the page asks --------------------------------------------------------------------------------------------

  activeRun() {
    if (this.gone) return null;
    return [...this.runs.values()].findLast((run) => !TERMINAL.has(run.status)) ?? null;
  }

  lastRun() {
    // Lists bring older runs after the stream has brought the newest.
    return [...this.runs.values()].reduce((last, run) => (last && last.created_at > run.created_at ? last : run), null);
  }

  /** Runs that wrote messages of which this thread, a fork, has copies; they are kept in the threads they were written in. */
  offerCopied(run) {
    this.copied.set(run.id, { ...run, version: 0 });
  }

  /** The thread that has a run and its steps. */
  threadOf(runId) {
    if (this.runs.has(runId)) return this.id;
    const message = [...this.messages.values()].find((one) => one.run_id === runId && one.copied_from);
    return message?.copied_from.thread_id ?? this.id;
  }

  stepsOf(runId) {
    return [...this.steps.values()].filter((step) => step.run_id === runId);
  }

  ordered() {
    const listed = new Set(this.listed);
    const streamed = [...this.messages.keys()].filter((id) => !listed.has(id));
    return [...this.listed, ...streamed].map((id) => this.messages.get(id));
  }

  /** The transcript: `{ key, message }` for what people wrote, `{ key, run, parts }` for what a run did, in order. */
  turns() {
    const turns = [];
    const byRun = new Map();
    for (const message of this.ordered()) {
      if (message.role !== "assistant") {
        turns.push({ key: message.id, at: message.created_at, message });
        continue;
      }
      const key = message.run_id ?? message.id; // an assistant's message may come from the API too
      if (!byRun.has(key)) {
        const turn = { key, at: message.created_at, run: this.runs.get(key) ?? this.copied.get(key) ?? null, messages: [] };
        byRun.set(key, turn);
        turns.push(turn);
      }
      byRun.get(key).messages.push(message);
    }
    for (const run of this.runs.values()) {
      if (byRun.has(run.id)) continue;
      const turn = { key: run.id, at: run.created_at, run, messages: [] };
      byRun.set(run.id, turn);
      const before = TERMINAL.has(run.status) ? turns.findIndex((other) => other.at > run.created_at) : -1;
      turns.splice(before < 0 ? turns.length : before, 0, turn);
    }
    for (const [runId, turn] of byRun) turn.parts = this.parts(runId, turn.messages);
    return turns;
  }

  /** The thread as it was before a run began; replay.js folds that run's events into it. Objects are shared. */
  before(runId) {
    const past = new Thread(this.id);
    for (const turn of this.turns()) {
      if (turn.key === runId) break;
      if (turn.run) past.runs.set(turn.run.id, turn.run);
      for (const step of this.stepsOf(turn.key)) past.steps.set(step.id, step);
      for (const message of turn.messages ?? [turn.message]) {
        past.messages.set(message.id, message);
        past.listed.push(message.id);
      }
    }
    return past;
  }

  /** What a run did, in order: `{ key, step }` for tool calls, `{ key, message }` for text. */
  parts(runId, messages) {
    // Steps name messages as they were called where they were written.
    const left = new Map(messages.map((message) => [message.copied_from?.message_id ?? message.id, message]));
    const parts = [];
    for (const step of this.stepsOf(runId)) {
      if (step.type === "tool_calls") {
        parts.push({ key: step.id, step });
      } else {
        const id = step.step_details.message_creation.message_id;
        if (left.has(id)) parts.push({ key: left.get(id).id, message: left.get(id) });
        left.delete(id);
      }
    }
    for (const message of left.values()) parts.push({ key: message.id, message });
    // A worker died in mid-text and the next one began again: the API lists the new message only, and so does the page.
    const newest = parts.findLastIndex((part) => part.message);
    return parts.filter((part, index) => index >= newest || part.message?.incomplete_details?.reason !== "run_failed");
  }
}

/** What a tool call is called in the page. */
export function nameOf(call) {
  return call.type === "function" ? call.function.name : call.type;
}

/** What a step's newest tool call does, in words. */
export function callInWords(step) {
  const call = step.step_details.tool_calls.at(-1);
  if (!call) return "thinking…";
  if (call.type === "file_search") return "searching files…";
  if (call.type === "code_interpreter") return "running code…";
  return `running \`${call.function.name}\`…`;
}

function doing(steps) {
  const open = steps.findLast((step) => step.status === "in_progress");
  return open?.type === "tool_calls" ? callInWords(open) : "";
}

/** The state of a run in words; empty while its text speaks for itself, and once it completed. */
export function inWords(run, steps, writing) {
  switch (run.status) {
    case "queued":
      return steps.length ? "thinking…" : "queued";
    case "in_progress":
      return doing(steps) || (writing ? "" : "thinking…");
    case "requires_action":
      return "waiting for a tool's answer";
    case "cancelling":
      return "stopping…";
    case "cancelled":
      return "stopped";
    case "failed":
      return `failed: ${run.last_error?.message ?? "no reason was given"}`;
    case "expired":
      return "expired: it took longer than a run may take";
    case "incomplete":
      return `cut short: ${CUT_SHORT[run.incomplete_details?.reason] ?? "no reason was given"}`;
    default:
      return "";
  }
}
