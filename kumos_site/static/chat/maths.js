// Formulas: which parts of a text are some, and how they are drawn, as MathML by Temml, which is fetched when the first
// one occurs. A dollar is a price unless the rules below say otherwise.

const LONGEST = 4000; // characters of one formula
const LONGEST_SINGLE = 400; // …between two single dollars
const SOURCE = new URL("../vendor/temml/temml.min.js", import.meta.url).href;

// Rules ---------------------------------------------------------------------------------------------------------------

const ROUND = /^\\\(((?:[^\\]|\\[^)])+?)\\\)/;
const SQUARE = /^\\\[((?:[^\\]|\\[^\]])+?)\\\]/;
const DOUBLE = /^\$\$(?!\$)((?:[^$\\]|\\[^])+?)\$\$/;
const SINGLE = /^\$(?![\s$])((?:[^$\\`\n]|\\[^\n])*?(?:[^\s$\\`]|\\[^\s]))\$(?![\p{L}\p{N}$])/u;
const SIGNS = /[\\^_={}<>]/;
const WORD = /(?<![\\\p{L}])\p{L}{3,}/u;
const LETTERED = /\\(?:text|mathrm|operatorname|mathbf|mathit)\s*\{[^{}]*\}|\\\p{L}+/gu;

/** Whether what stands between two single dollars looks like a formula and not like two prices or shell variables. */
function plausible(source) {
  const prose = source.replace(LETTERED, "");
  const signs = SIGNS.test(source);
  if (/^[\d.,]/.test(source)) return signs && !WORD.test(prose);
  if (WORD.test(prose)) return signs && !/\p{L}{2,}\s+\p{L}{2,}/u.test(prose);
  return true;
}

/** The formula that `source` begins with, `{ raw, maths, display }`, or undefined. */
export function formulaAt(source, before = "") {
  const near = source.slice(0, LONGEST);
  if (near[0] === "\\") {
    const [raw, maths] = (near[1] === "(" ? ROUND : SQUARE).exec(near) ?? [];
    return raw && maths.trim() ? { raw, maths, display: near[1] === "[" } : undefined;
  }
  if (near[0] !== "$" || /[\p{L}\p{N}$\\]$/u.test(before)) return undefined;
  const [whole, shown] = DOUBLE.exec(near) ?? [];
  if (whole) return shown.trim() && plausible(shown) ? { raw: whole, maths: shown, display: true } : undefined;
  const [raw, maths] = SINGLE.exec(near.slice(0, LONGEST_SINGLE)) ?? [];
  return raw && plausible(maths) ? { raw, maths, display: false } : undefined;
}

export const INLINE_MATHS = {
  name: "maths",
  level: "inline",
  start: (source) => {
    const at = source.search(/\\[([]|\$/);
    return at < 0 ? undefined : at;
  },
  tokenizer: (source, tokens) => {
    const found = formulaAt(source, tokens.at(-1)?.raw ?? "");
    return found && { type: "maths", ...found };
  },
};

// A formula that stands alone goes from its opening to its closing; a blank line ends it unclosed. Until one of them is
// there the text is one paragraph, so that what follows an opening never makes blocks that a closing would take back.
const OPENING = /^ {0,3}(\$\$|\\\[)/;
const ALONE = /^[^\n]*(?:\n(?![ \t]*(?:\n|$))[^\n]*)*/;
const ENDS = { "$$": /\$\$[ \t]*(?:\n|$)/, "\\[": /\\\][ \t]*(?:\n|$)/ };
const INSIDE = { "$$": /^ {0,3}\$\$[^\n]*?\$\$[ \t]*[^\s]/, "\\[": /^ {0,3}\\\[[^\n]*?\\\][ \t]*[^\s]/ }; // more words follow

export const BLOCK_MATHS = {
  name: "maths",
  level: "block",
  start: (source) => {
    const found = /\n[ \t]*(?:\n|(\$\$|\\\[))/.exec(source); // a paragraph ends at a blank line anyway
    return found?.[1] ? found.index + 1 : undefined;
  },
  tokenizer: (source) => {
    const opening = OPENING.exec(source);
    if (!opening || INSIDE[opening[1]].test(source)) return undefined;
    const [alone] = ALONE.exec(source);
    const from = opening[0].length;
    const end = ENDS[opening[1]].exec(alone.slice(from));
    const maths = end ? alone.slice(from, from + end.index) : "";
    if (maths.trim() && maths.length < LONGEST) {
      return { type: "maths", raw: alone.slice(0, from + end.index + end[0].length), maths };
    }
    const raw = source[alone.length] === "\n" ? `${alone}\n` : alone;
    return { type: "maths", raw, maths: "", text: alone };
  },
};

// Drawing -------------------------------------------------------------------------------------------------------------

const ELEMENTS = new Set(
  ("math mrow mi mn mo ms mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover mtable mtr mtd mstyle " +
    "mpadded mphantom menclose mmultiscripts mprescripts none semantics annotation").split(" "),
);
const ATTRIBUTES = new Set(
  ("accent accentunder columnalign columnlines columnspacing columnspan depth display displaystyle encoding fence form " +
    "height largeop linethickness lspace mathbackground mathcolor mathsize mathvariant maxsize minsize movablelimits " +
    "notation rowlines rowspacing rowspan rspace scriptlevel separator stretchy symmetric voffset width").split(" "),
);
const STYLES =
  /^(?:color|background-color|display|math-.*|text-align|padding-.*|border-.*|font-(?:size|weight|style)|width|height)$/;
const MATHML = "http://www.w3.org/1998/Math/MathML";

/** A copy of what Temml built, of the elements and attributes formulas are made of and of nothing else. */
function copied(node) {
  if (node.nodeType === Node.TEXT_NODE) return document.createTextNode(node.data);
  if (!ELEMENTS.has(node.localName)) {
    const row = document.createElementNS(MATHML, "mrow");
    row.append(...Array.from(node.childNodes, copied));
    return row;
  }
  const copy = document.createElementNS(MATHML, node.localName);
  for (const { name, value } of node.attributes) if (ATTRIBUTES.has(name)) copy.setAttribute(name, value);
  for (const name of node.style ?? []) {
    const value = node.style.getPropertyValue(name);
    if (STYLES.test(name) && !value.includes("(")) copy.style.setProperty(name, value);
  }
  copy.append(...Array.from(node.childNodes, copied));
  return copy;
}

let library = null;

/** Temml is no module: it is a script that leaves one name. */
function loaded() {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SOURCE;
    script.addEventListener("load", () => resolve(globalThis.temml));
    script.addEventListener("error", () => {
      library = null;
      script.remove();
      reject(new Error("Temml could not be fetched."));
    });
    document.head.append(script);
  });
  return library;
}

export class Formula {
  /** Until it is drawn the style sheet shows `data-source`, so that no node has to go when the drawing comes. */
  constructor({ maths, display }, { cites }) {
    this.maths = maths;
    this.display = display;
    this.dom = document.createElement("span");
    this.dom.className = display ? "maths display" : "maths";
    this.source = cites.plain(maths).trim();
    this.dom.dataset.source = this.source;
    if (display) this.dom.tabIndex = 0; // it may scroll sideways: the keyboard must reach it
    if (globalThis.temml) this.draw(globalThis.temml);
    else loaded().then((temml) => this.draw(temml), () => this.giveUp());
  }

  fits(node) {
    return node.maths === this.maths && node.display === this.display;
  }

  update() {}

  draw(temml) {
    const scratch = document.createElement("span");
    try {
      const options = { displayMode: this.display, throwOnError: true, annotate: true, maxSize: [20, 500], maxExpand: 500 };
      temml.render(this.source, scratch, options);
      this.dom.append(...Array.from(scratch.childNodes, copied));
    } catch {
      this.giveUp();
    }
  }

  giveUp() {
    const source = document.createElement("code");
    source.textContent = this.source;
    this.dom.replaceChildren(source);
  }
}
