// Keeps what a page of the admin says of runs up to date: every element with data-run="run_…", wherever it comes from.
//
// data-part says what of the run it shows: "status" (the default: a badge), "took" (counts while the run is active),
// "first", "tokens", "trouble". An element with data-new-since="MILLISECONDS" is shown, with the number in its
// [data-count], once there are runs that are newer. One stream a page, none while its tab is hidden.

const ADDRESS = document.currentScript.dataset.address;
const AGAIN_MS = 10_000; // after a refusal; what breaks, the browser opens again by itself
const GATHER_MS = 50;

let source = null;
let following = "";
let asked = 0;
let refusedUntil = 0;
let ahead = 0; // of this clock, in milliseconds: the server's

const elements = () => [...document.querySelectorAll("[data-run]")];

function wanted() {
  const query = new URLSearchParams();
  for (const id of new Set(elements().map((element) => element.dataset.run))) query.append("runs", id);
  const since = document.querySelector("[data-new-since]")?.dataset.newSince;
  if (since) query.set("since", since);
  return query.toString();
}

function close() {
  source?.close();
  source = null;
  following = "";
}

function follow() {
  const query = document.hidden ? "" : wanted();
  if (query === following) return;
  close();
  if (!query) return;
  const wait = refusedUntil - Date.now();
  if (wait > 0) {
    asked = setTimeout(follow, wait);
    return;
  }
  following = query;
  source = new EventSource(`${ADDRESS}?${query}`);
  source.addEventListener("run", (event) => show(JSON.parse(event.data)));
  source.addEventListener("new", (event) => announce(JSON.parse(event.data).count));
  source.addEventListener("done", () => source?.close());
  source.onerror = () => {
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    refusedUntil = Date.now() + AGAIN_MS;
    soon();
  };
}

function show(state) {
  ahead = state.now - Date.now();
  for (const element of elements().filter((one) => one.dataset.run === state.id)) {
    const part = element.dataset.part ?? "status";
    if (part === "status") {
      element.className = `kumos-badge kumos-${state.status}`;
      write(element, state.label);
    } else if (part === "took" && state.active) {
      element.dataset.since = state.created;
      tick(element);
    } else if (state[part] !== undefined) {
      delete element.dataset.since;
      write(element, state[part]);
    }
  }
  document.dispatchEvent(new CustomEvent("kumos:run", { detail: state }));
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function announce(count) {
  for (const element of document.querySelectorAll("[data-new-since]")) {
    element.hidden = count === 0;
    for (const number of element.querySelectorAll("[data-count]")) write(number, count > 99 ? "99+" : String(count));
  }
}

// As `duration` of the server, but in whole seconds: what counts should not flicker.
function tick(element) {
  const seconds = Math.max(0, Math.floor((Date.now() + ahead - Number(element.dataset.since)) / 1000));
  write(element, seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`);
}

setInterval(() => {
  if (!document.hidden) document.querySelectorAll("[data-run][data-since]:not([data-since=''])").forEach(tick);
}, 1000);

function soon() {
  clearTimeout(asked);
  asked = setTimeout(follow, GATHER_MS);
}

new MutationObserver(soon).observe(document.documentElement, { childList: true, subtree: true });
document.addEventListener("visibilitychange", soon);
addEventListener("pagehide", close);
addEventListener("pageshow", soon);
