// The list of the page's keys in a dialog, and whether those without Ctrl or Cmd count. What they do is in shortcuts.js.

import { element } from "./nodes.js";
import { MAC, SINGLE, isComposing } from "./shortcuts.js";

const SHOWN = { Mod: MAC ? "⌘" : "Ctrl", Shift: MAC ? "⇧" : "Shift", Escape: "Esc", ArrowUp: "↑", ArrowDown: "↓", Delete: "Del" };

function line({ keys, words }) {
  const shown = keys.flatMap((combination, index) => {
    const caps = combination.split("+").map((name) => element("kbd", {}, SHOWN[name] ?? (name.length === 1 ? name.toUpperCase() : name)));
    return index ? [" or ", ...caps] : caps;
  });
  return element("div", {}, element("dt", {}, ...shown), element("dd", {}, words));
}

export class Keyboard {
  constructor(table) {
    this.table = table;
    const title = element("h2", { id: "shortcuts-title" }, "Keyboard");
    const close = element("button", { type: "button", className: "icon", "aria-label": "Close" }, "✕");
    const single = element("input", { type: "checkbox", checked: localStorage.getItem(SINGLE) !== "off" });
    const option = element("label", { className: "option" }, single, "Keys without Ctrl or ⌘ work outside of text fields");
    this.body = element("div", { className: "keys", tabIndex: 0, role: "region", "aria-labelledby": "shortcuts-title" });
    const dialog = (this.dialog = element("dialog", { className: "dialog", "aria-labelledby": "shortcuts-title" }));
    dialog.append(element("header", {}, title, close), this.body, option);
    single.addEventListener("change", () => localStorage.setItem(SINGLE, single.checked ? "on" : "off"));
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => event.key === "?" && !isComposing(event) && dialog.close());
    document.body.append(dialog);
  }

  show() {
    const listed = this.table.filter((entry) => entry.words && (!entry.needs || entry.needs()));
    const groups = [...Map.groupBy(listed, (entry) => entry.group)].flatMap(([group, entries]) => [
      element("h3", {}, group),
      element("dl", {}, ...entries.map(line)),
    ]);
    this.body.replaceChildren(...groups);
    if (!this.dialog.open) this.dialog.showModal(); // asked for twice while it was fetched
  }
}
