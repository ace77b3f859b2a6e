// Under the instructions: how many tokens they are, as the server counts, and how many characters are left.

import { ask } from "./requests.js";

const IDLE_MS = 400;
const number = new Intl.NumberFormat("en");

export class Length {
  constructor(area, address) {
    Object.assign(this, { area, address });
    this.words = document.createElement("p");
    this.words.className = "kumos-length";
    this.words.id = `${area.id}_length`;
    area.after(this.words);
    area.setAttribute("aria-describedby", `${area.getAttribute("aria-describedby") ?? ""} ${this.words.id}`.trim());
    area.addEventListener("input", () => this.changed());
    this.count();
  }

  changed() {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.count(), IDLE_MS);
  }

  async count() {
    this.request?.abort();
    this.request = new AbortController();
    const body = new FormData();
    body.append("text", this.area.value);
    try {
      this.show(await ask(this.address, { body, signal: this.request.signal }));
    } catch (failure) {
      if (failure.name !== "AbortError") this.words.textContent = failure.message;
    }
  }

  show({ tokens, characters, most }) {
    const left = most - characters;
    this.words.classList.toggle("kumos-length-over", left < 0);
    const room = left < 0 ? `${number.format(-left)} characters too many` : `${number.format(left)} characters left`;
    this.words.textContent = `About ${number.format(tokens)} ${tokens === 1 ? "token" : "tokens"} · ${room}`;
    this.words.dataset.tokens = tokens;
  }
}
