// Calls of the public /v1 API as the person logged in, or with the token that the page was given (shared.js). An answer
// that is not 2xx becomes a Failure that can be shown.

import { cursorsOf } from "./stream.js";

export const CONTENT = "include[]=" + encodeURIComponent("step_details.tool_calls[*].file_search.results[*].content");

export class Failure extends Error {
  constructor(message, { status = 0, requestId = "", code = null } = {}) {
    super(message);
    this.status = status; // 0: no answer at all
    this.requestId = requestId;
    this.code = code;
  }
}

let shown = {};

/** From here on every call shows this token, and no cookie. */
export function showToken(token) {
  shown = { headers: { Authorization: `Bearer ${token}` }, credentials: "omit" };
}

/** From here on every call is meant for this project of the person's, not for their first. */
export function actFor(project) {
  shown = { headers: { "OpenAI-Project": project } };
}

/** What a request of the page's own must have: `{ headers, credentials }`, for fetch. */
export const identity = () => shown;

export function csrfToken() {
  const cookie = document.cookie.split("; ").find((pair) => pair.startsWith("csrftoken="));
  return cookie ? decodeURIComponent(cookie.slice("csrftoken=".length)) : "";
}

/** What a refusing Response says, in the words of its error object where it has one. */
export async function failureOf(response) {
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? `The server answered ${response.status}.`;
  const requestId = response.headers.get("x-request-id") ?? "";
  return new Failure(message, { status: response.status, requestId, code: body?.error?.code });
}

const responses = new WeakMap(); // answer → the Response that brought it

/** The id of the request that was answered so. */
export const requestOf = (answer) => responses.get(answer)?.headers.get("x-request-id") ?? "";

/** Up to which event of the thread a list was read, at least. */
export const cursorOf = (list, thread) => cursorsOf(responses.get(list)).get(thread) ?? 0;

async function call(method, path, body, { key, signal } = {}) {
  let response;
  const headers = { ...shown.headers };
  if (method !== "GET") Object.assign(headers, { "Content-Type": "application/json", "X-CSRFToken": csrfToken() });
  if (key) headers["Idempotency-Key"] = key;
  try {
    response = await fetch(`/v1${path}`, {
      ...shown,
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error; // whoever took it back knows
    throw new Failure("The server cannot be reached.");
  }
  if (!response.ok) throw await failureOf(response);
  const answer = await response.json();
  responses.set(answer, response);
  return answer;
}

const ahead = new Map(); // path → the answer to come

/** Ask now for what a `get` will want in a moment. */
export function askAhead(path) {
  const answer = call("GET", path);
  answer.catch(() => {}); // whoever gets it is told
  ahead.set(path, answer);
}

export function get(path, { signal } = {}) {
  const answer = ahead.get(path) ?? call("GET", path, undefined, { signal });
  ahead.delete(path);
  return answer;
}

/** With the same `key` the same request is done once, however often it is sent. */
export const post = (path, body = {}, { key } = {}) => call("POST", path, body, { key });
export const remove = (path) => call("DELETE", path);
