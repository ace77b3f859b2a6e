// Single characters of an answer: those that would mislead a reader are made visible, line ends are made alike, and
// entities are read without handing anything to an HTML parser.

// Control characters, and the bidirectional controls that make a line read otherwise than it is ("Trojan Source").
// U+FDD0 and its neighbours mean nothing in any text: citations.js marks places with them, so none may come in.
const MISLEADING = /[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff]/g;

function visible(character) {
  const code = character.charCodeAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code); // ␀ ␛ …
  if (code === 0x7f) return "\u2421";
  return code === 0x2028 || code === 0x2029 ? " " : "\ufffd";
}

/** `piece` with every misleading character replaced by one that shows; the length stays the same. */
export function defused(piece) {
  return piece.replace(MISLEADING, visible);
}

// What models write. HTML knows two thousand names more; those stay as they are written.
const NAMED = new Map(
  Object.entries({
    amp: "&", lt: "<", gt: ">", quot: '"', apos: "'", nbsp: "\u00a0", shy: "\u00ad", ensp: "\u2002", emsp: "\u2003",
    thinsp: "\u2009", copy: "©", reg: "®", trade: "™", hellip: "…", mdash: "—", ndash: "–", minus: "−", lsquo: "‘",
    rsquo: "’", ldquo: "“", rdquo: "”", sbquo: "‚", bdquo: "„", laquo: "«", raquo: "»", lsaquo: "‹", rsaquo: "›",
    bull: "•", middot: "·", deg: "°", times: "×", divide: "÷", plusmn: "±", frac12: "½", frac14: "¼", frac34: "¾",
    sup2: "²", sup3: "³", micro: "µ", para: "¶", sect: "§", cent: "¢", pound: "£", yen: "¥", euro: "€", larr: "←",
    rarr: "→", uarr: "↑", darr: "↓", harr: "↔", rArr: "⇒", hArr: "⇔", ne: "≠", le: "≤", ge: "≥", asymp: "≈",
    infin: "∞", sum: "∑", prod: "∏", radic: "√", pi: "π", check: "✓", cross: "✗", star: "☆", hearts: "♥",
    iexcl: "¡", iquest: "¿", auml: "ä", ouml: "ö", uuml: "ü", Auml: "Ä", Ouml: "Ö", Uuml: "Ü", szlig: "ß",
    eacute: "é", egrave: "è", agrave: "à", ccedil: "ç", ntilde: "ñ", lsqb: "[", rsqb: "]", lbrace: "{", rbrace: "}",
    lpar: "(", rpar: ")", ast: "*", lowbar: "_", grave: "`", vert: "|", bsol: "\\", dollar: "$", num: "#", colon: ":",
  }),
);
const ENTITY = /&(?:#[xX]([\da-fA-F]{1,6})|#(\d{1,7})|([a-zA-Z][a-zA-Z\d]{1,8}));/g;

function character(whole, hex, decimal, name) {
  if (name) return NAMED.get(name) ?? whole;
  const code = hex ? parseInt(hex, 16) : Number(decimal);
  if (code === 0 || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return "\ufffd";
  return defused(String.fromCodePoint(code));
}

/** `text` with its entities read: "&amp;lt;" is "&lt;", as text. */
export function decoded(text) {
  return text.includes("&") ? text.replace(ENTITY, character) : text;
}
