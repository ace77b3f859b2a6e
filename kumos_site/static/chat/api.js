// Calls of the public /v1 API as the person logged in, or with the token that the page was given (shared.js). An answer
// that is not 2xx becomes a Failure that can be shown.

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

const requests = new WeakMap(); // answer → id of its request

/** The id of the request that was answered so. */
export const requestOf = (answer) => requests.get(answer) ?? "";

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
  requests.set(answer, response.headers.get("x-request-id") ?? "");
  return answer;
}

export const get = (path, { signal } = {}) => call("GET", path, undefined, { signal });
/** With the same `key` the same request is done once, however often it is sent. */
export const post = (path, body = {}, { key } = {}) => call("POST", path, body, { key });
export const remove = (path) => call("DELETE", path);
