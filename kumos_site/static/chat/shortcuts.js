// The keyboard: one table from which both the keys and the list behind `?` (keyboard.js) are made.
// A key without Ctrl or Cmd does nothing while somebody types, and no key does anything while an input method composes.

export const SINGLE = "kumos.single-keys";
export const MAC = /Mac|iPhone|iPad/.test(navigator.platform);
const TYPED = "textarea, select, [contenteditable], input:not([type=radio], [type=checkbox], [type=button], [type=submit])";

/**
 * Every shortcut of the page. `within` limits one to an element, `when` to a moment, `needs` to a part that the page has;
 * one without `run` is only listed, because the element it belongs to answers for it. Of several with one key the first
 * whose moment it is has it: so Esc closes what lies on top before it stops a run.
 */
export function tableOf(page) {
  const { area } = page.composer;
  return [
    { group: "Message", keys: ["Enter"], words: "Send it", within: area, run: () => page.composer.submit() },
    { group: "Message", keys: ["Shift+Enter"], words: "Begin a new line", within: area },
    {
      group: "Message",
      keys: ["ArrowUp"],
      words: "Edit your last question, while the box is empty",
      within: area,
      needs: () => page.editLast,
      when: () => area.value === "",
      run: () => page.editLast(),
    },
    { keys: ["Escape"], when: () => page.drawer.isOpen(), run: () => page.drawer.close() },
    { keys: ["Escape"], when: () => page.sources.isOpen(), run: () => page.sources.close() },
    {
      group: "Message",
      keys: ["Escape"],
      words: "Close what lies on top; else stop the answer",
      when: () => page.model.activeRun() !== null,
      run: () => page.stop(),
    },
    { group: "Threads", keys: ["Mod+Shift+O"], words: "New chat", run: () => page.newChat() },
    { group: "Threads", keys: ["Mod+K", "/"], words: "Search", run: () => page.search.begin() },
    { group: "Threads", keys: ["Mod+B"], words: "Show or hide the list", run: () => page.drawer.toggle() },
    { group: "Threads", keys: ["ArrowUp", "ArrowDown"], words: "In the list: go through it" },
    { group: "Threads", keys: ["F2"], words: "In the list: rename" },
    { group: "Threads", keys: ["Delete"], words: "In the list: delete" },
    { group: "Page", keys: ["i"], words: "Open or close the inspector", needs: () => page.inspector, run: () => page.inspector.toggle() },
    { group: "Page", keys: ["?"], words: "This list", run: () => page.shortcuts.show() },
  ];
}

function parsed(keys) {
  const names = keys.split("+");
  return { key: names.at(-1), mod: names.includes("Mod"), shift: names.includes("Shift") };
}

/** Whether `event` is the combination. Letters are also known by their place, for alphabets that have no K. */
function matches({ key, mod, shift }, event) {
  const graph = event.getModifierState?.("AltGraph");
  if ((MAC ? event.metaKey : event.ctrlKey && !graph) !== mod || (MAC && event.ctrlKey) || (event.altKey && !graph)) return false;
  const letter = /^[a-z]$/i.test(key);
  const isSign = key.length === 1 && !letter; // where a sign needs Shift depends on the keyboard
  if (!isSign && event.shiftKey !== shift) return false;
  if (event.key.toLowerCase() === key.toLowerCase()) return true;
  return letter && event.key.length === 1 && event.key > "\u007f" && event.code === `Key${key.toUpperCase()}`;
}

/** An input method has the keys: some browsers tell by the old key code alone. */
export function isComposing(event) {
  return event.isComposing || event.keyCode === 229;
}

function isCovered() {
  return document.querySelector("dialog:modal, :popover-open") !== null; // these answer for their own keys
}

export class Shortcuts {
  constructor(table) {
    this.table = table.map((entry) => ({ ...entry, combinations: entry.keys.map(parsed) }));
    document.addEventListener("keydown", (event) => this.pressed(event));
  }

  pressed(event) {
    if (event.defaultPrevented || isComposing(event) || isCovered()) return;
    const entry = this.table.find((one) => this.answers(one, event));
    if (!entry) return;
    event.preventDefault();
    entry.run();
  }

  answers({ combinations, within, when, needs, run }, event) {
    if (!run || (within && within !== event.target) || (needs && !needs())) return false;
    const found = combinations.find((one) => matches(one, event));
    if (!found || (when && !when())) return false;
    const plain = found.key.length === 1 && !found.mod;
    return !plain || (localStorage.getItem(SINGLE) !== "off" && !event.target.closest?.(TYPED));
  }

  /** The list of them, made by what is fetched when somebody asks for it. */
  async show() {
    const { Keyboard } = await import("./keyboard.js");
    this.keyboard ??= new Keyboard(this.table);
    this.keyboard.show();
  }
}
