// The dialog behind the Share button: links to the open thread for people without a login. Makes them, shows a new one
// with a code for a phone's camera, lists and revokes them. What such a link opens is shared.js.

import { Failure, get, post, remove } from "./api.js";
import { element, setText } from "./nodes.js";

const QR = new URL("../vendor/lean-qr/nano.mjs", import.meta.url);
const HOUR = 3_600;
const LIVES = [
  ["1 hour", HOUR],
  ["1 day", 24 * HOUR],
  ["7 days", 7 * 24 * HOUR],
  ["never", 0],
];
const QUIET = 4; // modules around a code that must stay empty

function moment(seconds) {
  const form = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
  return new Date(seconds * 1000).toLocaleString(undefined, form);
}

function inWords(share) {
  const kind = share.frozen ? `Frozen on ${moment(share.created_at)}` : `Live since ${moment(share.created_at)}`;
  const isOver = share.expires_at !== null && share.expires_at * 1000 <= Date.now();
  const end = share.expires_at === null ? "never expires" : `${isOver ? "expired" : "until"} ${moment(share.expires_at)}`;
  const use = share.last_used_at === null ? "not opened yet" : `last opened ${moment(share.last_used_at)}`;
  return `${kind}, ${end}, ${use}`;
}

/** A code as a drawing: black on white whatever the page's colours are, for cameras need it so. */
async function codeOf(text) {
  const { correction, generate } = await import(QR);
  const code = generate(text, { minCorrectionLevel: correction.M });
  let path = "";
  for (let y = 0; y < code.size; y += 1) {
    for (let x = 0; x < code.size; x += 1) if (code.get(x, y)) path += `M${x} ${y}h1v1h-1z`;
  }
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const dots = document.createElementNS("http://www.w3.org/2000/svg", "path");
  const side = code.size + 2 * QUIET;
  dots.setAttribute("d", path);
  svg.setAttribute("viewBox", `${-QUIET} ${-QUIET} ${side} ${side}`);
  svg.setAttribute("class", "qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", "QR code of the link, for the camera of a second device");
  svg.append(dots);
  return svg;
}

function choice(name, value, title, words, checked) {
  const input = element("input", { type: "radio", name, value, checked });
  return element("label", { className: "choice" }, input, element("span", {}, element("b", {}, title), element("small", {}, words)));
}

export class ShareDialog {
  /** `thread()` is the id of the thread that is open. */
  constructor(thread) {
    this.thread = thread;
  }

  show() {
    this.dialog ??= this.build();
    this.shared = this.thread();
    this.fresh.replaceChildren();
    this.links.replaceChildren();
    setText(this.note, "");
    this.dialog.showModal();
    this.attempt(() => this.list());
  }

  build() {
    const close = element("button", { type: "button", className: "icon", "aria-label": "Close" }, "✕");
    const kinds = element("fieldset", { className: "choices" }, element("legend", { className: "hidden" }, "What the link shows"));
    kinds.append(
      choice("kind", "live", "Live", "Shows what is added later; answers type themselves.", true),
      choice("kind", "frozen", "Frozen", "Shows the thread as it is now.", false),
    );
    const options = LIVES.map(([words, seconds]) => element("option", { value: String(seconds) }, words));
    const select = element("select", { name: "seconds" }, ...options);
    select.value = String(24 * HOUR);
    const expires = element("label", { className: "expires" }, "Expires after ", select);
    this.create = element("button", { type: "submit", className: "button main-button" }, "Create link");
    this.form = element("form", {}, kinds, element("div", { className: "share-row" }, expires, this.create));
    this.fresh = element("div", { className: "share-fresh" });
    this.note = element("p", { className: "quiet", role: "status" });
    this.links = element("ul", { className: "share-links", "aria-label": "Links to this thread" });
    const words = "Anybody who has the link can read this thread: messages, tool calls and cited passages. Nobody can write.";
    const body = element("div", { className: "share" }, element("p", { className: "quiet" }, words), this.form, this.fresh, this.note, this.links);
    const dialog = element("dialog", { id: "share-dialog", className: "dialog", "aria-labelledby": "share-title" });
    dialog.append(element("header", {}, element("h2", { id: "share-title" }, "Share this thread"), close), body);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    // A link is shown once: it must not lie in a closed dialog.
    dialog.addEventListener("close", () => this.fresh.replaceChildren());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.attempt(() => this.make());
    });
    document.body.append(dialog);
    return dialog;
  }

  async attempt(action) {
    this.create.disabled = true;
    try {
      await action();
    } catch (failure) {
      if (!(failure instanceof Failure)) throw failure;
      setText(this.note, failure.message);
    }
    this.create.disabled = false;
  }

  async make() {
    const given = new FormData(this.form);
    const seconds = Number(given.get("seconds"));
    const share = await post(`/threads/${this.shared}/shares`, {
      frozen: given.get("kind") === "frozen",
      expires_after: seconds ? { anchor: "created_at", seconds } : null,
    });
    await this.present(share.url);
    await this.list();
  }

  async present(url) {
    const field = element("input", { type: "text", readOnly: true, value: url, "aria-label": "Link" });
    const copy = element("button", { type: "button", className: "button" }, "Copy");
    field.addEventListener("focus", () => field.select());
    copy.addEventListener("click", () => this.copy(field, copy));
    const isLocal = /^(localhost|127\.|\[::1\])/.test(new URL(url).hostname);
    const reach = isLocal
      ? "It works on this computer only: open this page under an address that the second device can reach."
      : "On a second device, point the camera at the code.";
    const once = element("p", { className: "quiet" }, `Copy it now: it is not shown again. ${reach}`);
    this.fresh.replaceChildren(element("div", { className: "share-row" }, field, copy), await codeOf(url), once);
    setText(this.note, "The link is made.");
    copy.focus();
  }

  async copy(field, button) {
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      field.select(); // without HTTPS there is no clipboard for scripts: one key is left to press
      setText(this.note, "The link is selected: press Ctrl+C or ⌘C.");
      return;
    }
    setText(button, "Copied");
    setText(this.note, "The link is copied.");
  }

  async list() {
    const thread = this.shared;
    const page = await get(`/threads/${thread}/shares?limit=100`);
    if (thread === this.shared) this.links.replaceChildren(...page.data.map((share) => this.row(share)));
  }

  row(share) {
    const words = element("span", {}, inWords(share));
    const revoke = element("button", { type: "button", className: "button danger", "aria-label": `Revoke: ${words.textContent}` }, "Revoke");
    const item = element("li", {}, words, revoke);
    revoke.addEventListener("click", () =>
      this.attempt(async () => {
        await remove(`/threads/${share.thread_id}/shares/${share.id}`);
        const next = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector("button");
        item.remove();
        this.fresh.replaceChildren();
        setText(this.note, "The link is revoked.");
        (next ?? this.create).focus();
      }),
    );
    return item;
  }
}
