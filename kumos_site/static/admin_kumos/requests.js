// What the admin's scripts ask of the admin itself, as the person whose page it is.

export class Refusal extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status; // 0: no answer
    this.body = body; // what the server said, an object
  }
}

function token() {
  return document.querySelector("[name=csrfmiddlewaretoken]").value;
}

const ENDED = "You are not logged in any more. Log in again in another tab, then go on here.";

/** The answer's object. Refusal for every answer that is not 2xx, and for the login page that came instead of one. */
export async function ask(address, { body, signal, keepalive } = {}) {
  let response;
  try {
    response = await fetch(address, {
      method: body ? "POST" : "GET",
      headers: { Accept: "application/json", ...(body && { "X-CSRFToken": token() }) },
      body,
      signal,
      keepalive,
    });
  } catch (failure) {
    if (signal?.aborted) throw failure;
    throw new Refusal("The server cannot be reached.", 0, {});
  }
  const said = response.headers.get("content-type")?.startsWith("application/json") ? await response.json() : null;
  if (response.ok && said) return said;
  if (response.redirected) throw new Refusal(ENDED, 401, {});
  const words = response.status === 403 ? "You may not do that." : `The server answered ${response.status}.`;
  throw new Refusal(said?.message ?? words, response.status, said ?? {});
}

/** The same for a file: `onProgress(part)` from 0 to 1. */
export function send(address, body, onProgress) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", address);
    request.responseType = "json";
    request.setRequestHeader("X-CSRFToken", token());
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", ({ loaded, total }) => total && onProgress(loaded / total));
    request.addEventListener("error", () => reject(new Refusal("The server cannot be reached.", 0, {})));
    request.addEventListener("load", () => {
      const said = request.response;
      if (request.status === 200 && said) resolve(said);
      else reject(new Refusal(said?.message ?? (request.status === 200 ? ENDED : `The server answered ${request.status}.`), request.status, said ?? {}));
    });
    request.send(body);
  });
}
