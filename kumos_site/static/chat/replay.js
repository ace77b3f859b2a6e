// Scrub and replay: the transcript as it was at any event of a finished run, drawn by the same Transcript from a second
// Thread into which the run's events are folded. The live Thread goes on meanwhile, and comes back with `leave`.

import { secondsInWords, shortName } from "./eventlist.js";
import { element, setText } from "./nodes.js";

const SPEEDS = [1, 10];
const LONG = 2; // seconds without an event that are announced

export class Replay {
  /** `bar` is the element of the controls; onMove(entry) tells which event is shown, onEnd() that it is over. */
  constructor(bar, { transcript, live, onMove, onEnd }) {
    Object.assign(this, { bar, transcript, live, onMove, onEnd });
    this.entries = [];
    this.speed = 1;
    this.build();
  }

  get active() {
    return this.entries.length > 0;
  }

  /** The moment that is shown, in milliseconds, for the clocks of what is drawn. */
  now() {
    return this.clock * 1000;
  }

  build() {
    this.slider = element("input", { type: "range", min: 0, step: 1, "aria-label": "Event" });
    this.words = element("p", { className: "replay-words" });
    this.play = this.button("Play", "▶", () => this.toggle());
    const back = this.button("One event back", "−", () => this.step(-1));
    const on = this.button("One event on", "+", () => this.step(1));
    this.speeds = SPEEDS.map((speed) => this.button(`${speed} times the speed`, `${speed}×`, () => this.setSpeed(speed)));
    const leave = element("button", { type: "button", className: "small" }, "Back to now");
    leave.addEventListener("click", () => this.leave());
    this.slider.addEventListener("input", () => this.to(Number(this.slider.value)));
    this.bar.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation(); // it must not stop a run as well
      this.leave();
    });
    const controls = element("div", { className: "replay-controls" }, back, this.play, on, ...this.speeds, leave);
    this.bar.append(element("strong", {}, "Replay"), this.slider, controls, this.words);
    this.setSpeed(1);
  }

  button(label, sign, action) {
    const button = element("button", { type: "button", className: "small", "aria-label": label, title: label }, sign);
    button.addEventListener("click", action);
    return button;
  }

  /** Begin with the events of one run, at its first one. */
  enter(model, entries) {
    if (entries.length === 0) return;
    if (this.active) this.stop();
    this.model = model;
    this.entries = entries;
    this.run = entries[0].run;
    this.gaps = entries.some((entry, index) => index && entry.seq !== entries[index - 1].seq + 1);
    this.bar.hidden = false;
    this.slider.max = entries.length;
    this.position = Infinity;
    this.to(0);
    this.slider.focus();
  }

  /** Show the state after `position` events of the run. What was said cannot be unsaid: backwards begins anew. */
  to(position, { playing = false } = {}) {
    if (!playing) this.stop();
    const back = position < this.position;
    if (back) [this.past, this.position] = [this.model.before(this.run), 0];
    for (; this.position < position; this.position += 1) {
      const { seq, event, data } = this.entries[this.position];
      this.past.apply({ id: String(seq), event, data });
    }
    const entry = this.entries[this.position - 1] ?? null;
    if (!playing) this.clock = entry?.at ?? this.entries[0].at;
    this.slider.value = this.position;
    this.say(entry);
    if (back) this.transcript.swap(this.past, this.run);
    else this.transcript.draw();
    this.onMove(entry);
  }

  say(entry) {
    const where = entry ? `event ${this.position} of ${this.entries.length}` : `before the first of ${this.entries.length} events`;
    const what = entry ? ` · ${shortName(entry.event)} · ${secondsInWords(Math.max(0, this.clock - this.entries[0].at))}` : "";
    const left = this.frame ? (this.entries[this.position]?.at ?? 0) - this.clock : 0;
    const wait = left > LONG ? ` · the next one in ${Math.ceil(left)} s` : "";
    setText(this.words, `${where}${what}${wait}${this.gaps ? " · its typing is no longer kept" : ""}`);
    this.slider.setAttribute("aria-valuetext", `${where}${what}`);
  }

  step(by) {
    this.to(Math.min(this.entries.length, Math.max(0, this.position + by)));
  }

  setSpeed(speed) {
    this.speed = speed;
    this.speeds.forEach((button, index) => button.setAttribute("aria-pressed", String(SPEEDS[index] === speed)));
  }

  toggle() {
    if (this.frame) {
      this.stop();
      return;
    }
    if (this.position === this.entries.length) this.to(0);
    this.drawPlay(true);
    this.before = 0;
    this.frame = requestAnimationFrame((time) => this.tick(time));
  }

  /** One frame of playing: the clock goes on, and every event that was written by then is shown. */
  tick(time) {
    if (this.before) this.clock += ((time - this.before) / 1000) * this.speed;
    this.before = time;
    let position = Math.max(1, this.position);
    while (position < this.entries.length && this.entries[position].at <= this.clock) position += 1;
    if (position !== this.position) this.to(position, { playing: true });
    else this.say(this.entries[this.position - 1] ?? null);
    if (position === this.entries.length) this.stop();
    else this.frame = requestAnimationFrame((next) => this.tick(next));
  }

  stop() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.drawPlay(false);
  }

  drawPlay(playing) {
    setText(this.play, playing ? "❚❚" : "▶");
    this.play.setAttribute("aria-label", playing ? "Pause" : "Play");
    this.play.title = playing ? "Pause" : "Play";
  }

  /** Back to the live state, with all that came meanwhile. */
  leave() {
    if (!this.active) return;
    const hadFocus = this.bar.contains(document.activeElement);
    const { run } = this;
    this.forget();
    this.transcript.swap(this.live(), run);
    this.onEnd(hadFocus);
  }

  /** The page shows another thread: there is nothing to go back to. */
  forget() {
    this.stop();
    this.entries = [];
    this.bar.hidden = true;
  }
}
