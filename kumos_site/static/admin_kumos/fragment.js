// Elements with data-fragment="ADDRESS" are drawn again by the server each second while something in them is under way
// (data-active) and the tab is looked at, and at once on the event kumos-refresh. Focus stays where it was.
const PERIOD = 1000;

for (const element of document.querySelectorAll("[data-fragment]")) follow(element);

function follow(element) {
  let timer = null;
  let shown = "";
  let asking = false;

  const plan = () => {
    clearTimeout(timer);
    if (element.querySelector("[data-active]") && !document.hidden) timer = setTimeout(ask, PERIOD);
  };
  const ask = async () => {
    if (asking) return;
    asking = true;
    try {
      const answer = await fetch(element.dataset.fragment, { redirect: "error" });
      if (!answer.ok) return; // logged out, or the object is gone: what is shown stays
      const text = await answer.text();
      if (text !== shown) replace(element, text);
      shown = text;
    } catch {
      // the next round asks again
    } finally {
      asking = false;
      plan();
    }
  };
  element.addEventListener("kumos-refresh", ask);
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : plan()));
  plan();
}

function replace(element, text) {
  const focused = element.contains(document.activeElement) ? document.activeElement.id : "";
  const scrolled = element.querySelector(".kumos-scroll")?.scrollLeft ?? 0;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  element.replaceChildren(...fresh.body.childNodes);
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  const scroll = element.querySelector(".kumos-scroll");
  if (scroll) scroll.scrollLeft = scrolled;
}
