// Where a page says what went wrong: in the server's words, with the id of the request, and a button that tries again.

import { Failure } from "./api.js";
import { element } from "./nodes.js";

export class Alert {
  constructor(place) {
    this.place = place;
  }

  /** Do it; where it fails, say so with a Retry that does it again. */
  async attempt(action) {
    try {
      await action();
    } catch (failure) {
      this.complain(failure, () => {
        this.forgive();
        this.attempt(action);
      });
    }
  }

  /** `failure` is a Failure; anything else is a fault of the page's own, and thrown. Without `retry` no button. */
  complain(failure, retry = null) {
    if (!(failure instanceof Failure)) throw failure;
    const words = element("p", {}, failure.message);
    if (failure.requestId) words.append(" ", element("span", { className: "quiet" }, `Request ${failure.requestId}`));
    const { login } = document.body.dataset;
    if (failure.status === 401 && login) words.append(" ", element("a", { href: login }, "Log in again"));
    this.place.replaceChildren(words);
    if (retry) {
      const button = element("button", { type: "button", className: "button" }, "Retry");
      button.addEventListener("click", retry);
      this.place.append(button);
    }
    this.place.hidden = false;
  }

  forgive() {
    this.place.hidden = true;
    this.place.replaceChildren();
  }
}
