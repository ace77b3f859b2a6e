// Colours for code, by highlight.js, which is fetched when a block of code first comes into sight, one grammar at a time.
// They are CSS highlights over ranges of the text: no node is made or replaced, a selection stays, and a block can be
// coloured again while it grows. Blocks out of sight have none, so that a long transcript costs what is seen of it.

const GRAMMARS = {
  python: ["py", "python3", "pycon"],
  javascript: ["js", "jsx", "mjs", "cjs", "node"],
  typescript: ["ts", "tsx"],
  bash: ["sh", "shell", "zsh", "console", "shell-session"],
  json: ["jsonc", "json5", "jsonl"],
  yaml: ["yml"],
  sql: ["postgresql", "sqlite", "mysql", "psql"],
  xml: ["html", "svg", "xhtml", "vue"],
  css: ["scss"],
  go: ["golang"],
  rust: ["rs"],
  java: ["kotlin", "kt"],
  cpp: ["c", "c++", "h", "hpp", "cc", "arduino"],
  diff: ["patch"],
};
const NAMES = new Map(Object.entries(GRAMMARS).flatMap(([name, others]) => [name, ...others].map((one) => [one, name])));
const INSIDE = { xml: ["css", "javascript"] };

const SCOPES = {
  keyword: "keyword", literal: "keyword", built_in: "keyword", type: "type", string: "string", regexp: "string",
  char: "string", number: "number", symbol: "number", comment: "comment", quote: "comment", meta: "comment",
  doctag: "comment", title: "title", section: "title", name: "type", tag: "type", attr: "attribute",
  attribute: "attribute", property: "attribute", variable: "attribute", "selector-tag": "type", "selector-id": "title",
  "selector-class": "title", "selector-attr": "attribute", "selector-pseudo": "attribute", addition: "addition",
  deletion: "deletion", link: "string", operator: "keyword",
};
const LONGEST = 60_000; // characters of one block
const REST = 20; // a growing block waits this many times as long as its last colouring took

/** What highlight.js writes to instead of HTML: `[scope, from, to]` for each piece of text that has a scope. */
class Pieces {
  constructor() {
    this.pieces = [];
    this.scopes = [];
    this.at = 0;
  }

  addText(text) {
    const scope = this.scopes.findLast(Boolean);
    if (scope && text !== "") this.pieces.push([scope, this.at, this.at + text.length]);
    this.at += text.length;
  }

  startScope(scope) {
    this.scopes.push(SCOPES[scope.split(".")[0]]);
  }

  endScope() {
    this.scopes.pop();
  }

  __addSublanguage(other) {
    for (const [scope, from, to] of other.pieces) this.pieces.push([scope, this.at + from, this.at + to]);
    this.at += other.at;
  }

  finalize() {}

  toHTML() {
    return "";
  }
}
Pieces.prototype.openNode = Pieces.prototype.startScope;
Pieces.prototype.closeNode = Pieces.prototype.endScope;

const grammars = new Map(); // name → promise of highlight.js that knows it

async function load(name) {
  const [{ default: hljs }, ...found] = await Promise.all([
    import("../vendor/highlight/core.min.js"),
    ...[name, ...(INSIDE[name] ?? [])].map((one) => import(`../vendor/highlight/languages/${one}.min.js`)),
  ]);
  hljs.configure({ __emitter: Pieces });
  [name, ...(INSIDE[name] ?? [])].forEach((one, index) => hljs.registerLanguage(one, found[index].default));
  return hljs;
}

function knowing(name) {
  if (!grammars.has(name)) grammars.set(name, load(name));
  return grammars.get(name);
}

function layer(scope) {
  const name = `code-${scope}`;
  if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
  return CSS.highlights.get(name);
}

const blocks = new Map(); // element → { block, ranges, seen, timer, took }

const watcher = globalThis.CSS?.highlights && new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const state = blocks.get(target);
    if (!state) continue;
    state.seen = isIntersecting;
    if (isIntersecting) colour(state);
    else bleach(state);
    if (!target.isConnected) forget(state.block);
  }
}, { rootMargin: "400px 0px" });

function bleach(state) {
  for (const [scope, range] of state.ranges) layer(scope).delete(range);
  state.ranges = [];
}

async function colour(state) {
  const { block } = state;
  clearTimeout(state.timer);
  state.timer = 0;
  const hljs = await knowing(NAMES.get(block.language)).catch(() => null);
  if (!hljs || !state.seen || block.text.length > LONGEST || state.timer) return;
  const begin = performance.now();
  const { pieces } = hljs.highlight(block.text, { language: NAMES.get(block.language), ignoreIllegals: true })._emitter;
  bleach(state);
  state.ranges = pieces.map(([scope, from, to]) => {
    const node = block.words;
    const range = new StaticRange({ startContainer: node, startOffset: from, endContainer: node, endOffset: to });
    layer(scope).add(range);
    return [scope, range];
  });
  state.took = performance.now() - begin;
}

/** Colour a block (code.js) whose text or language is new: at once when it is finished, now and then while it grows. */
export function paint(block) {
  if (!watcher) return;
  if (!NAMES.has(block.language)) {
    forget(block);
    return;
  }
  let state = blocks.get(block.dom);
  if (!state) {
    state = { block, ranges: [], seen: false, timer: 0, took: 0 };
    blocks.set(block.dom, state);
    watcher.observe(block.dom);
  } else if (!block.open && state.seen) {
    clearTimeout(state.timer);
    state.timer = setTimeout(() => colour(state));
  } else if (state.seen && !state.timer) {
    state.timer = setTimeout(() => colour(state), Math.max(100, REST * state.took));
  }
}

export function forget(block) {
  const state = blocks.get(block.dom);
  if (!state) return;
  clearTimeout(state.timer);
  bleach(state);
  watcher.unobserve(block.dom);
  blocks.delete(block.dom);
}
