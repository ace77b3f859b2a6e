// What the searches of a run found, text included: asked of the server once per run, when somebody wants to read it.

import { CONTENT, get } from "./api.js";
import { TERMINAL } from "./thread.js";

const MARKER = /^【(\d+):(\d+)/;

function passageOf(result) {
  return {
    fileId: result.file_id,
    fileName: result.file_name || "",
    score: result.score,
    text: (result.content ?? []).map((part) => part.text).join("\n"),
  };
}

class Found {
  constructor(steps) {
    this.steps = [];
    this.calls = new Map(); // call id → its passages
    this.queries = new Map(); // call id → what was searched for, where the server tells
    for (const step of steps) {
      const own = [];
      for (const call of step.step_details.tool_calls ?? []) {
        if (call.type !== "file_search") continue;
        const passages = (call.file_search.results ?? []).map(passageOf);
        this.calls.set(call.id, passages);
        if (call.file_search.query) this.queries.set(call.id, call.file_search.query);
        own.push(...passages);
      }
      this.steps.push(own);
    }
  }

  /** The passage that the marker 【step:result†…】 of a citation points at; null where it is not kept. */
  cited(cite) {
    const [, step, result] = MARKER.exec(cite.text) ?? [];
    const passage = this.steps[step]?.[result];
    return passage?.fileId === cite.fileId ? passage : null;
  }

  all() {
    return this.steps.flat();
  }
}

export class Passages {
  constructor({ modelOf }) {
    this.modelOf = modelOf; // the open thread
    this.known = new Map();
  }

  forget() {
    this.known.clear();
  }

  /** Promise of what a run found. */
  of(runId) {
    if (this.known.has(runId)) return this.known.get(runId);
    const model = this.modelOf();
    const thread = model.threadOf?.(runId) ?? model.id; // what was forked was run in another thread
    const path = `/threads/${thread}/runs/${runId}/steps?order=asc&limit=100&${CONTENT}`;
    const asked = get(path).then((page) => new Found(page.data));
    // What a running one found may not be all.
    if (TERMINAL.has(model.runs.get(runId)?.status)) {
      this.known.set(runId, asked);
      asked.catch(() => this.known.delete(runId));
    }
    return asked;
  }
}
