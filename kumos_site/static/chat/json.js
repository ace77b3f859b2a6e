// JSON that is still arriving, laid out as far as it goes. What was printed stays as it is and only grows, so a reader
// can follow it and nothing flickers. Text that turns out to be no JSON is shown as it came.

const CLOSER = { "{": "}", "[": "]" };

export class JsonPrinter {
  constructor() {
    this.raw = "";
    this.text = "";
    this.first = ""; // the first plain value one level deep, as far as it is here: what tells a call from another
    this.broken = false;
    this.open = []; // brackets that wait for their closing one
    this.empty = false; // nothing stands behind the last bracket yet
    this.string = false;
    this.escape = false;
    this.key = false; // whether the string is a property's name
    this.found = "waiting"; // for the first value: then "reading", "whole"
  }

  /** The whole text so far, of which the beginning must be what was given before. */
  update(raw) {
    const piece = raw.slice(this.raw.length);
    this.raw = raw;
    if (!this.broken) for (const character of piece) this.take(character);
    return this.broken ? raw : this.text;
  }

  /** Whether `raw` goes on where the last update ended. */
  continues(raw) {
    return raw.length >= this.raw.length && raw.startsWith(this.raw);
  }

  take(character) {
    if (this.string) this.inString(character);
    else if (/\s/.test(character)) this.endOfWord();
    else if (character === "{" || character === "[") this.begin(character);
    else if (character === "}" || character === "]") this.end(character);
    else if (character === ",") this.next();
    else if (character === ":") this.text += ": ";
    else this.inWord(character);
  }

  line() {
    this.text += `\n${"  ".repeat(this.open.length)}`;
  }

  room() {
    if (this.empty) this.line();
    this.empty = false;
  }

  begin(character) {
    this.endOfWord();
    this.room();
    this.text += character;
    this.open.push(character);
    this.empty = true;
    this.key = character === "{";
  }

  end(character) {
    this.endOfWord();
    if (CLOSER[this.open.pop()] !== character) {
      this.broken = true;
      return;
    }
    if (!this.empty) this.line();
    this.empty = false;
    this.text += character;
  }

  next() {
    this.endOfWord();
    this.text += ",";
    this.line();
    this.key = this.open.at(-1) === "{";
  }

  inWord(character) {
    if (this.open.length === 0) {
      this.broken = true; // plain words, or something behind the end
      return;
    }
    this.room();
    this.text += character;
    if (character === '"') this.string = true;
    else this.read(character);
  }

  inString(character) {
    this.text += character;
    if (this.escape) this.escape = false;
    else if (character === "\\") this.escape = true;
    else if (character === '"') {
      this.string = false;
      if (!this.key) this.endOfWord();
      this.key = false;
      return;
    }
    if (!this.key) this.read(character);
  }

  read(character) {
    if (this.open.length !== 1 || this.found === "whole") return;
    this.found = "reading";
    this.first += character;
  }

  endOfWord() {
    if (this.found === "reading") this.found = "whole";
  }
}

/** A whole text laid out where it is a JSON object or list, else as it is. */
export function laidOut(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" && value !== null ? JSON.stringify(value, null, 2) : text;
  } catch {
    return text;
  }
}
