// A question before something that cannot be undone.

import { element } from "./nodes.js";

/** A promise of true once `action` was chosen; Esc, Cancel and a click beside the dialog are a no. */
export function confirm({ title, text, action }) {
  return new Promise((resolve) => {
    const cancel = element("button", { className: "button", value: "", autofocus: true }, "Cancel");
    const go = element("button", { className: "button danger", value: "yes" }, action);
    const form = element("form", { method: "dialog" }, element("p", { id: "confirm-text" }, text), element("div", { className: "buttons" }, cancel, go));
    const dialog = element("dialog", { className: "dialog small", role: "alertdialog", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text" });
    dialog.append(element("h2", { id: "confirm-title" }, title), form);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close(""));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
