// Calls of the public /v1 API as the person logged in. An answer that is not 2xx becomes a Failure that can be shown.

export const CONTENT = "include[]=" + encodeURIComponent("step_details.tool_calls[*].file_search.results[*].content");

export class Failure extends Error {
  constructor(message, { status = 0, requestId = "" } = {}) {
    super(message);
    this.status = status; // 0: no answer at all
    this.requestId = requestId;
  }
}

function csrfToken() {
  const cookie = document.cookie.split("; ").find((pair) => pair.startsWith("csrftoken="));
  return cookie ? decodeURIComponent(cookie.slice("csrftoken=".length)) : "";
}

/** What a refusing Response says, in the words of its error object where it has one. */
export async function failureOf(response) {
  const body = await response.json().catch(() => null);
  const message = body?.error?.message ?? `The server answered ${response.status}.`;
  return new Failure(message, { status: response.status, requestId: response.headers.get("x-request-id") ?? "" });
}

async function call(method, path, body, signal) {
  let response;
  try {
    response = await fetch(`/v1${path}`, {
      method,
      headers: method === "GET" ? {} : { "Content-Type": "application/json", "X-CSRFToken": csrfToken() },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error; // whoever took it back knows
    throw new Failure("The server cannot be reached.");
  }
  if (!response.ok) throw await failureOf(response);
  return response.json();
}

export const get = (path, { signal } = {}) => call("GET", path, undefined, signal);
export const post = (path, body = {}) => call("POST", path, body);
export const remove = (path) => call("DELETE", path);
