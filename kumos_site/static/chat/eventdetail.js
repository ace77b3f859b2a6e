// All of one event: its JSON, the frame as it was on the wire, and the curl line that replays from just before it.

import { rawOf } from "./events.js";
import { secondsInWords, sizeInWords } from "./eventlist.js";
import { element, setText } from "./nodes.js";

const CLOCK = { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" };

function pretty(data) {
  try {
    return JSON.stringify(JSON.parse(data), null, 2);
  } catch {
    return data;
  }
}

/** A shell line that asks the same of this server, with the key from the environment. */
export function curl(path, ...options) {
  const words = ["curl", ...options, `"${location.origin}/v1${path}"`];
  return `${words.join(" ")} -H "Authorization: Bearer $KUMOS_API_KEY"`;
}

/** A text in a box of its own with a button that copies it. */
export class Copyable {
  constructor(title) {
    this.text = element("pre", { tabIndex: 0, role: "region", "aria-label": title });
    this.button = element("button", { type: "button", className: "small" }, "Copy");
    this.button.setAttribute("aria-label", `Copy: ${title}`);
    this.button.addEventListener("click", () => this.copy());
    this.element = element("section", { className: "copyable" }, element("h3", {}, title), this.button, this.text);
  }

  show(text) {
    setText(this.text, text);
    setText(this.button, "Copy");
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.text.textContent);
      setText(this.button, "Copied");
    } catch {
      getSelection().selectAllChildren(this.text); // no clipboard without https: it is marked, the keyboard copies it
      setText(this.button, "Marked");
    }
  }
}

export class EventDetail {
  constructor({ onClose }) {
    this.title = element("h3", { className: "detail-title", tabIndex: -1 });
    this.facts = element("p", { className: "quiet" });
    this.curl = new Copyable("Replay from here");
    this.json = new Copyable("Data");
    this.raw = new Copyable("Frame");
    const close = element("button", { type: "button", className: "icon", "aria-label": "Close the event" }, "✕");
    close.addEventListener("click", onClose);
    const body = element("div", { className: "detail-body" }, this.facts, this.curl.element, this.json.element, this.raw.element);
    this.element = element("section", { className: "detail", hidden: true, "aria-label": "Event" });
    this.element.append(element("header", {}, this.title, close), body);
  }

  show(thread, entry) {
    setText(this.title, `${entry.seq} ${entry.event}`);
    const when = new Date(entry.at * 1000).toLocaleTimeString(undefined, CLOCK);
    setText(this.facts, `${when} · ${secondsInWords(entry.since)} after its run began · ${sizeInWords(entry.size)}`);
    this.curl.show(curl(`/threads/${thread}/runs/stream?starting_after=${entry.seq - 1}`, "-N"));
    this.json.show(pretty(entry.data));
    this.raw.show(rawOf(entry));
    this.element.hidden = false;
  }
}
