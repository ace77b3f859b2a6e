// A title that becomes a text field where it stands: Enter or leaving it keeps the new one, Esc the old one.

import { element } from "./nodes.js";
import { isComposing } from "./shortcuts.js";

const MOST = 200; // characters

/** Put a field in the place of `node`. `save(title)` is called once, and only for another title. */
export function rename(node, { title, save }) {
  const field = element("input", { className: "rename", value: title, maxLength: MOST, "aria-label": "Title", enterKeyHint: "done" });
  let over = false;
  const end = (kept, byKey) => {
    if (over) return;
    over = true;
    const wanted = field.value.replace(/\s+/g, " ").trim();
    field.remove();
    node.hidden = false;
    if (byKey) node.focus();
    if (kept && wanted && wanted !== title) save(wanted);
  };
  field.addEventListener("keydown", (event) => {
    if (isComposing(event) || (event.key !== "Enter" && event.key !== "Escape")) return;
    event.preventDefault();
    event.stopPropagation();
    end(event.key === "Enter", true);
  });
  field.addEventListener("blur", () => field.isConnected && document.hasFocus() && end(true, false));
  node.hidden = true;
  node.after(field);
  field.focus();
  field.select();
}
