// What the tests of prose do in the page: draw a text in pieces, watch that nothing finished is touched, compare.
async () => {
  const { Prose } = await import("/static/chat/prose.js");
  const OPEN = 2; // blocks at the end, and items or rows in them, that may still change

  const chip = (cite) => Object.assign(document.createElement("a"), { className: "chip", textContent: cite.text });
  const make = () => new Prose({ chip });

  function formed(element) {
    const copy = element.cloneNode(true);
    copy.normalize();
    copy.querySelectorAll(".maths").forEach((formula) => formula.replaceChildren()); // drawn when Temml is here
    for (const node of copy.querySelectorAll("*")) {
      const attributes = [...node.attributes].sort((one, other) => (one.name < other.name ? -1 : 1)); // no order counts
      attributes.forEach(({ name }) => node.removeAttribute(name));
      attributes.forEach(({ name, value }) => node.setAttribute(name, value));
    }
    return copy.innerHTML;
  }

  /** The nodes that count as finished: blocks but the last two, and of an open list or table the items or rows before. */
  function finished(root) {
    const blocks = [...root.children];
    const parts = blocks.flatMap((block) => {
      if (block.matches("ul, ol")) return [...block.children];
      if (block.matches(".table")) return [block.querySelector("thead"), ...block.querySelectorAll("tbody > tr")];
      return [block];
    });
    return new Set(parts.slice(0, -OPEN));
  }

  function within(node, set) {
    for (let at = node; at; at = at.parentNode) if (set.has(at)) return true;
    return false;
  }

  /** Draws in pieces; returns how often a finished node, or anything in one, was removed or changed. */
  function stream(prose, { text, annotations, cuts, late }) {
    const marks = annotations.map((one) => [...text].slice(0, one.end_index).join("").length);
    const records = [];
    const observer = new MutationObserver(() => {});
    observer.observe(prose.element, { childList: true, characterData: true, subtree: true });
    let before = new Set();
    let removed = 0;
    let frozen = 0;
    for (const end of cuts) {
      const known = late ? [] : annotations.filter((_, index) => marks[index] <= end);
      prose.update(text.slice(0, end), known, true);
      for (const record of observer.takeRecords()) {
        const touched = [...record.removedNodes].some((node) => before.has(node)) || within(record.target, before);
        if (touched) {
          removed += 1;
          records.push(`${record.type} in ${record.target.nodeName} at ${end}`);
        }
      }
      before = finished(prose.element);
      frozen = before.size;
    }
    observer.disconnect();
    return { removed, frozen, records };
  }

  function compare(given) {
    const whole = make();
    whole.update(given.text, given.annotations, false);
    const pieces = make();
    const watched = stream(pieces, given);
    const kept = [...pieces.element.children].slice(0, -OPEN);
    pieces.update(given.text, given.annotations, false);
    const replaced = kept.filter((node, index) => pieces.element.children[index] !== node).length;
    const [drawn, wanted] = [formed(pieces.element), formed(whole.element)];
    const chips = whole.element.querySelectorAll(".chip").length;
    const result = { ...watched, removed: watched.removed + replaced, chips, blocks: whole.element.children.length };
    return drawn === wanted ? result : { ...result, error: "differs", drawn, wanted };
  }

  const compareAll = (many) => many.map(compare);

  /** What the transcript shows of its answers, and what these messages of the API are drawn as at once. */
  function asStored(messages) {
    const plain = (element) => {
      const copy = element.cloneNode(true);
      // How a chip is numbered and called is the answer's business (transcript.js); here counts where it stands.
      copy.querySelectorAll(".chip").forEach((one) => one.replaceWith(chip({ text: "" })));
      return formed(copy);
    };
    const texts = messages.flatMap((message) => message.content).map((part) => part.text);
    const wanted = texts.map(({ value, annotations }) => {
      const prose = make();
      prose.update(value, annotations, false);
      return plain(prose.element);
    });
    return { shown: [...document.querySelectorAll(".answer .parts > .prose")].map(plain), wanted };
  }

  window.drawing = { make, stream, compare, compareAll, formed, asStored };
}
