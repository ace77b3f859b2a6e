// The quiet row under a question or an answer: what can be done with it, its versions, and what it cost.

import { messagesOf } from "./branches.js";
import { copyText, sourceOf } from "./copying.js";
import { drawing, element, setText } from "./nodes.js";
import { TERMINAL } from "./thread.js";
import { Usage } from "./usage.js";

const SIGNS = {
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  done: "M3 8.5l3.2 3.2L13 4.8",
  edit: "M10.8 2.6l2.6 2.6L6 12.6l-3.3.7.7-3.3zM9.2 4.2l2.6 2.6",
  previous: "M9.8 3.5 5.3 8l4.5 4.5",
  next: "M6.2 3.5 10.7 8l-4.5 4.5",
  regenerate: "M13 8a5 5 0 1 1-1.5-3.55M13 2.2v2.9h-2.9",
  fork: "M4.5 5.5v5M4.5 8h4a3 3 0 0 0 3-2.5M4.5 2.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3M4.5 10.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3M11.5 2.5a1.5 1.5 0 1 1 0 3a1.5 1.5 0 1 1 0-3",
};
const SAID_MS = 2_000;

function tool(sign, label, run) {
  const button = element("button", { type: "button", className: "tool", "aria-label": label, title: label }, drawing("tool-sign", SIGNS[sign]));
  button.addEventListener("click", run);
  return button;
}

/** ‹1/2›: links to the threads that part here. */
class Versions {
  constructor(page) {
    this.page = page;
    this.words = element("span");
    this.count = element("span", { className: "versions-count" });
    this.links = { previous: this.link("previous", -1), next: this.link("next", 1) };
    this.element = element("nav", { className: "versions", hidden: true, "aria-label": "Versions" });
    this.element.append(this.words, this.links.previous, this.count, this.links.next);
  }

  link(way, step) {
    const label = `${way === "next" ? "Next" : "Previous"} version`;
    const link = element("a", { className: "tool", role: "link", "aria-label": label, title: label }, drawing("tool-sign", SIGNS[way]));
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button || !link.href) return;
      event.preventDefault();
      const { place, threads, index } = this.versions;
      this.page.branches.go(place, threads[index + step], way);
    });
    return link;
  }

  update(versions, words = "") {
    this.versions = versions;
    this.element.hidden = !versions;
    setText(this.words, versions ? words : "");
    setText(this.count, versions ? `${versions.index + 1}/${versions.threads.length}` : "");
    if (!versions) return;
    const { threads, index, place } = versions;
    this.aim(this.links.previous, threads[index - 1]);
    this.aim(this.links.next, threads[index + 1]);
    this.element.setAttribute("aria-label", `Version ${index + 1} of ${threads.length}`);
    if (this.page.branches.wanted?.place === place) this.takeFocus();
  }

  aim(link, thread) {
    if (thread) link.href = this.page.addressOf(thread);
    else link.removeAttribute("href");
    link.setAttribute("aria-disabled", String(!thread));
  }

  /** The reader came over this switch, from another version: it goes on from here. */
  takeFocus() {
    const { way } = this.page.branches.wanted;
    this.page.branches.wanted = null;
    if (document.activeElement !== document.body) return; // somebody is elsewhere already
    const { [way]: wished, previous, next } = this.links;
    this.page.transcript.following = false;
    [wished, previous, next].find((link) => link.hasAttribute("href"))?.focus();
  }
}

class Foot {
  constructor(page, ...tools) {
    this.page = page;
    this.versions = new Versions(page);
    this.element = element("div", { className: "turn-foot" }, this.versions.element, ...tools);
  }

  copier(label) {
    const button = tool("copy", label, async () => {
      const done = await copyText(sourceOf(messagesOf(this.turn)));
      this.page.say(done ? "Copied." : "The browser did not let the page copy.");
      if (!done) return;
      button.replaceChildren(drawing("tool-sign", SIGNS.done));
      setTimeout(() => button.replaceChildren(drawing("tool-sign", SIGNS.copy)), SAID_MS);
    });
    return button;
  }
}

export class QuestionFoot extends Foot {
  constructor(page, onEdit) {
    super(page);
    this.element.append(this.copier("Copy question"), tool("edit", "Edit question", onEdit));
  }

  update(turn, versions) {
    this.turn = turn;
    this.versions.update(versions.get(turn.key));
  }
}

export class AnswerFoot extends Foot {
  constructor(page) {
    super(page);
    this.copy = this.copier("Copy answer");
    this.again = tool("regenerate", "Regenerate", () => this.once(this.again, () => page.branches.regenerate(this.turn)));
    this.fork = tool("fork", "Fork from here", () => this.once(this.fork, () => page.branches.fork(this.turn)));
    this.usage = new Usage(page);
    this.after = new Versions(page);
    this.element.append(this.copy, this.again, this.fork, this.usage.element, this.after.element);
  }

  update(turn, versions, isLast) {
    this.turn = turn;
    const messages = messagesOf(turn);
    const over = turn.run ? TERMINAL.has(turn.run.status) : messages.every((message) => message.status !== "in_progress");
    this.element.hidden = !over;
    this.copy.hidden = messages.length === 0;
    this.fork.hidden = messages.length === 0;
    this.again.hidden = messages.length === 0; // nothing to keep a version of: Retry does it in place
    this.usage.update(over ? turn.run : null, messages);
    this.versions.update(versions.get(turn.key));
    this.after.update(isLast ? versions.get("") : undefined, "Parted here");
  }

  async once(button, action) {
    button.disabled = true;
    await action();
    button.disabled = false;
  }
}

/** Under an answer that is not kept: nothing to fork and no versions. */
export class BriefFoot extends Foot {
  constructor(page) {
    super(page);
    this.usage = new Usage(page);
    this.element.append(this.copier("Copy answer"), this.usage.element);
  }

  update(turn) {
    this.turn = turn;
    const over = turn.run && TERMINAL.has(turn.run.status);
    this.element.hidden = !over;
    this.usage.update(over ? turn.run : null, messagesOf(turn));
  }
}
