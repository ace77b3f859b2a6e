// Where the threads are: a column that folds away on a wide screen, a drawer over the page on a narrow one.

const KEY = "kumos.sidebar";
const NARROW = matchMedia("(max-width: 46rem)");

export class Drawer {
  /** `rest` is what lies under the open drawer and cannot be reached meanwhile. */
  constructor({ sidebar, button, fold, veil, rest }) {
    Object.assign(this, { sidebar, button, fold, veil, rest });
    button.addEventListener("click", () => this.toggle());
    fold.addEventListener("click", () => this.toggle());
    veil.addEventListener("click", () => this.close());
    sidebar.addEventListener("keydown", (event) => this.keepFocus(event));
    NARROW.addEventListener("change", () => this.shut());
    this.draw();
  }

  isOpen() {
    return document.body.classList.contains("menu-open");
  }

  isShown() {
    return NARROW.matches ? this.isOpen() : document.documentElement.dataset.sidebar !== "folded";
  }

  toggle() {
    if (this.isShown()) this.hide();
    else this.show();
  }

  show() {
    if (this.isShown()) return;
    if (NARROW.matches) this.cover(true);
    else this.remember("");
    this.fold.focus();
  }

  /** Hide it; who was inside goes on at the button that shows it again. */
  hide() {
    if (NARROW.matches) this.cover(false);
    else this.remember("folded");
    this.button.focus();
  }

  close() {
    if (this.isOpen()) this.hide();
  }

  /** As close(), where the focus goes elsewhere anyhow. */
  shut() {
    this.cover(false);
  }

  cover(open) {
    document.body.classList.toggle("menu-open", open);
    this.veil.hidden = !open;
    for (const node of this.rest) node.inert = open;
    this.draw();
  }

  remember(state) {
    if (state) document.documentElement.dataset.sidebar = state;
    else delete document.documentElement.dataset.sidebar;
    localStorage.setItem(KEY, state);
    this.draw();
  }

  draw() {
    for (const button of [this.button, this.fold]) button.setAttribute("aria-expanded", String(this.isShown()));
  }

  /** The rest is inert, and Tab would leave for the browser's own buttons: it goes round instead. */
  keepFocus(event) {
    if (event.key !== "Tab" || !this.isOpen()) return;
    const stops = [...this.sidebar.querySelectorAll("a, button, input")].filter((node) => node.checkVisibility() && node.tabIndex >= 0);
    const [first, last] = [stops.at(0), stops.at(-1)];
    if (document.activeElement !== (event.shiftKey ? first : last)) return;
    event.preventDefault();
    (event.shiftKey ? last : first).focus();
  }
}
