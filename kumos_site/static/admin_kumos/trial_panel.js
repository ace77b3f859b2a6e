// "Try it" beside the form: a frame with a talk (static/chat/trial.js), and a second one for comparing with what is saved.
// Before each question the form as it stands is judged by the server, as if it were saved, and becomes the assistant that
// answers; what is wrong with it is shown beside the fields.

import { Refusal, ask } from "./requests.js";

const KEPT = "kumos.trial"; // of this tab: the talk goes on over a save
const KEPT_MS = 60_000;

function errorList(messages) {
  const list = document.createElement("ul");
  list.className = "errorlist kumos-tried";
  list.append(...messages.map((message) => Object.assign(document.createElement("li"), { textContent: message })));
  return list;
}

export class Trial {
  constructor({ form, panel, base, saved, onErrors }) {
    Object.assign(this, { form, panel, base, saved, onErrors });
    this.id = this.carried();
    this.asking = false;
    this.words = panel.querySelector("#trial-words");
    this.joining = panel.querySelector("#trial-join");
    this.box = panel.querySelector(".kumos-trial-frames");
    this.frames = [panel.querySelector("iframe")];
    this.compare = panel.querySelector("#trial-compare");
    this.compare?.addEventListener("change", () => this.comparing());
    panel.querySelector("#trial-new").addEventListener("click", () => this.clear());
    panel.querySelector("#trial-again").addEventListener("click", () => this.submit());
    this.joining.querySelector("button").addEventListener("click", () => this.join());
    window.addEventListener("message", (event) => this.hear(event));
    form.addEventListener("keydown", (event) => this.pressed(event));
    form.addEventListener("submit", () => this.carry());
    window.addEventListener("pagehide", () => this.left());
  }

  // Over a save ---------------------------------------------------------------------------------------------------

  carried() {
    const { id = "", until = 0 } = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    sessionStorage.removeItem(KEPT);
    return until > Date.now() ? id : "";
  }

  carry() {
    if (this.id) sessionStorage.setItem(KEPT, JSON.stringify({ id: this.id, until: Date.now() + KEPT_MS }));
  }

  /** Whoever comes back over the browser's cache begins another. */
  left() {
    if (!this.id || sessionStorage.getItem(KEPT)) return;
    const body = new FormData();
    body.append("trial", this.id);
    ask(`${this.base}trial/end/`, { body, keepalive: true }).catch(() => {});
  }

  // Asking --------------------------------------------------------------------------------------------------------

  pressed(event) {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
    event.preventDefault();
    this.submit();
  }

  submit() {
    this.tell(this.frames[0], { trial: "submit" });
    const { top, bottom } = this.panel.getBoundingClientRect();
    if (top > innerHeight || bottom < 0) this.panel.scrollIntoView({ block: "start" });
  }

  clear() {
    this.fresh = true;
    this.frames.forEach((frame) => this.tell(frame, { trial: "clear" }));
    this.frames[0].focus();
  }

  tell(frame, message) {
    frame.contentWindow.postMessage(message, location.origin);
  }

  hear({ origin, source, data }) {
    const frame = this.frames.find((one) => one.contentWindow === source);
    if (origin !== location.origin || !frame) return;
    if (data.trial === "ask") this.ask(frame, data);
  }

  /** A question of one frame goes to all of them, if the form may be saved so. */
  async ask(frame, { text, fresh }) {
    if (this.asking) return this.tell(frame, { trial: "no", words: "The question before is still on its way." });
    this.asking = true;
    try {
      const { trial, project, sides } = await ask(this.address(), { body: this.body(fresh || this.fresh) });
      this.fresh = false;
      this.id = trial;
      this.showErrors({});
      this.joining.hidden = true;
      this.frames.forEach((one, index) => this.tell(one, { trial: "go", text, project, ...sides[index] }));
    } catch (failure) {
      if (!(failure instanceof Refusal)) throw failure;
      this.refused(failure, frame);
    } finally {
      this.asking = false;
    }
  }

  address() {
    return `${this.base}trial/${location.search}`; // an assistant that is cloned stands in it
  }

  body(fresh) {
    const body = new FormData(this.form);
    body.append("trial_of", this.saved);
    body.append("trial", this.id);
    if (this.compare?.checked) body.append("trial_compare", "1");
    if (fresh) body.append("trial_fresh", "1");
    return body;
  }

  refused({ message, body }, frame) {
    let words = message;
    if (body.errors) {
      this.showErrors(body.errors);
      const first = Object.entries(body.errors).map(([name, messages]) => `${body.labels[name] ?? name}: ${messages[0]}`);
      words = `The form cannot be tried so. ${first.join(" ")}`;
    }
    if (body.join) {
      this.offerJoin(body.join);
      words = "Only members of the project can talk with its assistants.";
    }
    this.tell(frame, { trial: "no", words });
  }

  /** What was said about the form before gives way to this, whoever said it. */
  showErrors(errors) {
    this.form.querySelectorAll(".errorlist, .errornote").forEach((list) => list.remove());
    this.form.querySelectorAll(".errors").forEach((row) => row.classList.remove("errors"));
    for (const [name, messages] of Object.entries(errors)) {
      const row = this.form.querySelector(`.fieldBox.field-${name}, .form-row.field-${name} > .flex-container`) ?? this.form;
      const label = row.querySelector("label, legend");
      row.classList.add("errors");
      if (label?.parentElement === row) label.after(errorList(messages));
      else row.prepend(errorList(messages));
    }
    this.onErrors();
    this.form.querySelector(".errorlist")?.scrollIntoView({ block: "center" });
  }

  // Membership ----------------------------------------------------------------------------------------------------

  offerJoin({ project, name, may }) {
    this.joining.hidden = false;
    this.joining.dataset.project = project;
    this.joining.querySelector("span").textContent = may
      ? `You are not a member of “${name}”.`
      : `You are not a member of “${name}”. Somebody who may add members has to let you in.`;
    this.joining.querySelector("button").hidden = !may;
  }

  async join() {
    const body = new FormData();
    body.append("project", this.joining.dataset.project);
    try {
      await ask(`${this.base}trial/join/`, { body });
      this.joining.hidden = true;
      this.words.textContent = "You are a member now.";
      this.submit();
    } catch (failure) {
      this.words.textContent = failure.message;
    }
  }

  // Comparing -----------------------------------------------------------------------------------------------------

  comparing() {
    const [side] = this.box.children;
    const on = this.compare.checked;
    side.querySelector("h3").hidden = !on;
    this.panel.parentElement.classList.toggle("kumos-comparing", on);
    if (!on) {
      this.frames.pop();
      side.nextElementSibling.remove();
      return;
    }
    const other = side.cloneNode(true);
    other.setAttribute("aria-label", "As saved");
    other.querySelector("h3").textContent = "As saved";
    const frame = other.querySelector("iframe");
    frame.id = "trial-frame-saved";
    frame.title = "Talk with the assistant as saved";
    this.box.append(other);
    this.frames.push(frame);
    this.fresh = true; // both begin with the same question
  }
}
