// Keeps the overview's numbers fresh: asks for its live part again and again while somebody can see it, and changes in
// the page what has changed, so that focus, selection and scroll position stay where they are.
"use strict";

(() => {
  const PAUSE_MS = 3000;
  const PAUSE_MAX_MS = 60_000;

  const live = document.getElementById("kumos-live");
  const line = document.getElementById("kumos-line");
  if (!live) return;

  let timer = 0;
  let request = null;
  let failures = 0;

  const keyOf = (node) => (node?.nodeType === Node.ELEMENT_NODE ? node.id : "");

  /** Makes `old` what `fresh` is, keeping every node that can be kept. */
  function become(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName) return void old.replaceWith(fresh);
    if (old.nodeType !== Node.ELEMENT_NODE) return void (old.nodeValue = fresh.nodeValue);
    for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    children(old, fresh);
  }

  function children(old, fresh) {
    const known = new Map([...old.children].filter(keyOf).map((child) => [child.id, child]));
    let place = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      const key = keyOf(wanted);
      const match = key ? known.get(key) : place && !keyOf(place) && place.nodeName === wanted.nodeName ? place : null;
      if (!match) {
        old.insertBefore(wanted, place);
      } else {
        if (match === place) place = place.nextSibling;
        else old.insertBefore(match, place);
        become(match, wanted);
      }
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  function show(html) {
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    const held = live.contains(document.activeElement);
    children(live, fresh.content);
    // What had the focus is gone: its list is the nearest place, not the top of the page.
    if (held && !live.contains(document.activeElement)) document.getElementById("attention")?.focus({ preventScroll: true });
  }

  function say(text) {
    if (line && line.textContent !== text) line.textContent = text;
  }

  async function refresh() {
    clearTimeout(timer);
    request?.abort();
    const mine = (request = new AbortController());
    try {
      const response = await fetch(live.dataset.source, {
        headers: { "X-Requested-With": "XMLHttpRequest" },
        redirect: "manual",
        signal: mine.signal,
      });
      if (response.type === "opaqueredirect" || response.status === 403) {
        say("You are logged out. Load this page again.");
        return; // and nothing more is asked for
      }
      if (!response.ok) throw new Error(String(response.status));
      show(await response.text());
      failures = 0;
      say("");
    } catch (error) {
      if (mine.signal.aborted) return;
      failures += 1;
      say("The server cannot be reached. The numbers are as they were.");
    }
    if (request === mine) timer = setTimeout(refresh, Math.min(PAUSE_MS * 2 ** failures, PAUSE_MAX_MS));
  }

  function pause() {
    clearTimeout(timer);
    request?.abort();
    request = null;
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? pause() : refresh()));
  window.addEventListener("pagehide", pause);
  window.addEventListener("pageshow", (event) => event.persisted && refresh());
  if (!document.hidden) timer = setTimeout(refresh, PAUSE_MS);
})();
