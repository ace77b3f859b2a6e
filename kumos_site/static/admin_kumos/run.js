// The page of a run, while the run is active: it is told of each event, adds it to the log, writes on the answer, and
// asks for itself again for what only the server can tell. What the reader has opened, closed or focused stays so.

const REFRESH_MS = 2000; // the axis grows
const SOON_MS = 250;
const ROWS_ADDED = 1000;

const run = document.getElementById("run");
const created = Number(run.dataset.created);
let added = [];
let pieces = []; // of the answer, newer than the parts on the page
let asked = 0;
let asking = false;
let again = false;
let source = null;
let restUntil = 0; // a run that waits for its client has no stream until it goes on
let after = run.dataset.seq;

const active = () => document.getElementById("run-top").dataset.live === "yes";

function open() {
  if (source || !active() || document.hidden || Date.now() < restUntil) return;
  source = new EventSource(`${run.dataset.stream}?starting_after=${after}`);
  // Every event has a name of its own, so each is listened for by its name as it is announced.
  for (const name of NAMES) source.addEventListener(name, (event) => heard(name, event));
  source.addEventListener("done", () => {
    close();
    restUntil = Date.now() + REFRESH_MS / 2;
    refresh();
  });
  source.addEventListener("error", () => {
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    setTimeout(open, 5 * REFRESH_MS);
  });
}

function close() {
  source?.close();
  source = null;
}

const NAMES = [
  ...["created", "queued", "in_progress", "requires_action", "cancelling", "cancelled", "failed", "completed"],
  ...["incomplete", "expired"],
].map((status) => `thread.run.${status}`);
NAMES.push(...["created", "in_progress", "delta", "completed", "failed", "cancelled", "expired"].map((name) => `thread.run.step.${name}`));
NAMES.push(...["created", "in_progress", "delta", "completed", "incomplete"].map((name) => `thread.message.${name}`));

function heard(name, event) {
  const data = JSON.parse(event.data);
  after = event.lastEventId;
  log(Number(event.lastEventId), name, data);
  if (data.text !== undefined) write({ seq: Number(event.lastEventId), ...data });
  if (!name.endsWith(".delta")) soon();
}

function log(seq, name, { size, at }) {
  const body = document.getElementById("run-events");
  if (!body) return;
  const row = body.insertRow();
  for (const [text, number] of [[seq, true], [name, false], [size, true], [`${((at - created) / 1000).toFixed(2)} s`, true]]) {
    const cell = row.insertCell();
    cell.textContent = text;
    if (number) cell.className = "kumos-number";
  }
  added.push(row);
  if (added.length > ROWS_ADDED) added.shift().remove();
}

// Pieces that came before the parts on the page were made are in them already.
function write(piece) {
  pieces.push(piece);
  append(piece);
}

function append({ seq, message, text }) {
  const said = document.getElementById(`said-${message}`);
  if (!said || seq <= Number(document.getElementById("run-top").dataset.seq)) return;
  let place = said.querySelector(".kumos-text");
  if (!place) {
    place = document.createElement("div");
    place.className = "kumos-text";
    said.querySelector(".kumos-note")?.replaceWith(place);
    if (!place.isConnected) said.append(place);
  }
  place.append(text);
  const box = said.closest(".run-talk");
  if (box) box.scrollTop = box.scrollHeight;
}

function soon() {
  clearTimeout(asked);
  asked = setTimeout(refresh, SOON_MS);
}

async function refresh() {
  clearTimeout(asked);
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    const answer = await fetch(`${location.pathname}?live`, { headers: { Accept: "text/html" } });
    if (answer.ok && !answer.redirected) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
  } catch {
    // The server is away for a moment; the next time it answers.
  } finally {
    asking = false;
  }
  if (again) {
    again = false;
    soon();
  } else if (active() && !document.hidden) {
    asked = setTimeout(refresh, REFRESH_MS);
  }
}

function take(page) {
  const focused = document.activeElement;
  const place = focused && focused !== document.body ? path(focused) : null;
  for (const part of document.querySelectorAll("[data-part-of-run]")) {
    const fresh = page.getElementById(part.id);
    if (!fresh) continue;
    for (const old of part.querySelectorAll("details[id]")) {
      const details = fresh.querySelector(`#${CSS.escape(old.id)}`);
      if (details) details.open = old.open;
    }
    for (const name of ["seq", "live"]) if (name in fresh.dataset) part.dataset[name] = fresh.dataset[name];
    if (part.innerHTML === fresh.innerHTML) continue;
    const scrolled = [...part.querySelectorAll(".run-talk, .kumos-scroll")].map((box) => [box.scrollTop, box.scrollLeft]);
    part.replaceChildren(...[...fresh.childNodes].map((node) => document.adoptNode(node)));
    part.querySelectorAll(".run-talk, .kumos-scroll").forEach((box, index) => {
      if (scrolled[index]) [box.scrollTop, box.scrollLeft] = scrolled[index];
    });
  }
  if (place && !document.contains(focused)) document.querySelector(place)?.focus();
  const seq = Number(document.getElementById("run-top").dataset.seq);
  pieces = pieces.filter((piece) => piece.seq > seq);
  pieces.forEach(append);
  if (active()) open();
}

// Where the same element will be in the new part: by its id, or by its place below the next one with an id.
function path(element) {
  const steps = [];
  for (let one = element; one; one = one.parentElement) {
    if (one.id) return [`#${CSS.escape(one.id)}`, ...steps].join(" > ");
    steps.unshift(`:nth-child(${[...one.parentElement.children].indexOf(one) + 1})`);
  }
  return null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    close();
    clearTimeout(asked);
  } else if (active()) {
    refresh();
    open();
  }
});
addEventListener("pagehide", close);

if (active()) {
  open();
  soon();
}
