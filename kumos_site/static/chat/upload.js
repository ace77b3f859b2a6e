// One file on its way to /v1/files: how far it is, that it failed and why, cancelling, trying again, deleting.
// What becomes of it there (a vector store, a message) is the business of shelf.js and attachments.js.

import { Failure, csrfToken, remove } from "./api.js";
import { isPicture } from "./files.js";

const WORDS = 12; // random numbers of a key

function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(WORDS))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function failureFrom(request) {
  let message = `The server answered ${request.status}.`;
  try {
    message = JSON.parse(request.responseText).error.message;
  } catch {
    // a proxy's page: its number must do
  }
  return new Failure(message, { status: request.status, requestId: request.getResponseHeader("x-request-id") ?? "" });
}

/** POST /v1/files. XMLHttpRequest, because fetch does not tell how much of a body has left. */
function send(file, purpose, key, onProgress) {
  const request = new XMLHttpRequest();
  const sent = new Promise((resolve, reject) => {
    request.upload.addEventListener("progress", (event) => onProgress(event.total ? event.loaded / event.total : 0));
    request.addEventListener("load", () => {
      if (request.status === 200) resolve(JSON.parse(request.responseText));
      else reject(failureFrom(request));
    });
    request.addEventListener("error", () => reject(new Failure("The server cannot be reached.")));
    request.addEventListener("abort", () => reject(new Failure("It was cancelled.")));
  });
  const form = new FormData();
  form.append("purpose", purpose);
  form.append("file", file, file.name);
  request.open("POST", "/v1/files");
  request.setRequestHeader("X-CSRFToken", csrfToken());
  request.setRequestHeader("Idempotency-Key", key); // tried again after a lost answer it is still one file
  request.send(form);
  return { sent, abort: () => request.abort() };
}

export class Upload {
  /**
   * Of a chosen `file`, or of a `stored` one that a draft remembers. `shelve(fileId)` does what comes behind the
   * upload and resolves when tools can read the file; `onChange(upload)` hears of everything.
   */
  constructor({ file = null, stored = null, shelve, onChange }) {
    Object.assign(this, { file, shelve, onChange });
    this.name = file?.name ?? stored.name;
    this.size = file?.size ?? stored.size;
    this.picture = isPicture(this.name);
    this.fileId = stored?.fileId ?? "";
    this.phase = "waiting"; // then sending, indexing, ready; or failed
    this.progress = 0;
    this.reason = "";
    this.removed = false;
    this.key = newKey();
  }

  turn(phase, reason = "") {
    if (this.removed) return;
    this.phase = phase;
    this.reason = reason;
    this.onChange(this);
  }

  get canRetry() {
    return this.phase === "failed" && (this.file !== null || this.fileId !== "");
  }

  fail(reason) {
    this.turn("failed", reason);
  }

  async start() {
    try {
      if (!this.fileId) await this.send();
      if (this.removed) return;
      if (!this.picture) {
        this.turn("indexing");
        await this.shelve(this.fileId, () => this.removed);
      }
      this.turn("ready");
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      this.fail(failure.message);
    }
  }

  async send() {
    if (!this.file) throw new Failure("Its upload was interrupted. Choose it again.");
    this.progress = 0;
    this.turn("sending");
    // Whoever uploads for one conversation does not offer the file to every search of the project: user_data.
    const { sent, abort } = send(this.file, this.picture ? "vision" : "user_data", this.key, (progress) => {
      this.progress = progress;
      this.turn("sending");
    });
    this.abort = abort;
    const object = await sent;
    this.fileId = object.id;
    if (this.removed) this.erase();
  }

  /** Takes it back: a running upload is cut, an uploaded file is deleted. */
  remove() {
    this.removed = true;
    if (this.fileId) this.erase();
    else this.abort?.();
  }

  erase() {
    remove(`/files/${this.fileId}`).catch(() => {}); // gone already, or no line: nobody waits for it
  }
}
