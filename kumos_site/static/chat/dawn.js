// What the page wants first, asked for before the rest of its script is there: its line to the server, with the stream
// of the thread that it opens with, and what that thread's past begins with.

import { askAhead } from "./api.js";
import { Line } from "./line.js";
import { beginningOf } from "./past.js";

/** The thread in an address of the page; the empty string where there is none. */
export function threadAt({ pathname }) {
  return decodeURIComponent(pathname.slice(document.body.dataset.home.length));
}

const thread = threadAt(location);
for (const path of thread ? beginningOf(thread) : []) askAhead(path);

export const line = new Line(thread);
