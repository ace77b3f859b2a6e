// What the test of cut streams does in the page: the bytes of one run, cut anywhere and taken up behind the last id as
// the server would, folded and drawn by the page's own modules into a transcript that stands nowhere.
async ({ bytes: given, seed, rounds }) => {
  const { FrameParser } = await import("/static/chat/stream.js");
  const { Thread } = await import("/static/chat/thread.js");
  const { Transcript } = await import("/static/chat/transcript.js");
  const COMPLETED = "thread.message.completed"; // it carries the whole text, and would mend what was lost
  const bytes = Uint8Array.from(given);
  let state = seed;
  const random = (below) => (state = (state * 48271) % 2147483647) % below;

  const page = {
    readOnly: true,
    branches: { at: () => new Map() },
    assistantName: () => "",
    fileName: async (id) => id,
    glance: { watch() {} },
    now: () => 0,
  };
  /** Everything below a node; the order of attributes, and how text is divided into nodes, says nothing. */
  const written = (node) => {
    if (node.nodeType === Node.TEXT_NODE) return JSON.stringify(node.data).slice(1, -1).replaceAll("<", "&lt;");
    const attributes = [...node.attributes].map(({ name, value }) => ` ${name}=${JSON.stringify(value)}`).sort();
    return `<${node.localName}${attributes.join("")}>${[...node.childNodes].map(written).join("")}</>`;
  };

  class Sheet {
    constructor() {
      const scroller = document.createElement("div");
      const log = scroller.appendChild(Object.assign(document.createElement("div"), { role: "log" }));
      const list = (this.list = log.appendChild(document.createElement("ol")));
      this.transcript = new Transcript({ scroller, list, pill: document.createElement("button"), page });
    }

    show(model) {
      this.transcript.show(model);
      this.transcript.drawNow();
    }

    draw() {
      this.transcript.drawNow();
    }

    written() {
      return written(this.list);
    }
  }

  // Where the stream goes on behind each id, and what a page that comes there for the first time draws at once.
  const behind = new Map([["", 0]]);
  const text = new TextDecoder("latin1").decode(bytes);
  for (const match of text.matchAll(/id: (\d+)\n[^]*?\n\n/g)) behind.set(match[1], match.index + match[0].length);
  const frames = [];
  new FrameParser((frame) => frames.push(frame)).push(bytes);
  const sheet = new Sheet();
  const words = new Map();
  const atOnce = new Map();
  const said = (model) => {
    const answers = [...model.messages.values()].filter((message) => message.role === "assistant");
    return answers.flatMap((message) => message.content.map((part) => part.text.value)).join("");
  };
  for (const last of behind.keys()) {
    const fresh = new Thread("t");
    const before = frames.slice(0, frames.findIndex((frame) => frame.id === last) + 1);
    for (const frame of before) if (frame.event !== COMPLETED) fresh.apply(frame);
    sheet.show(fresh);
    words.set(last, said(fresh));
    atOnce.set(last, sheet.written());
  }

  const wrong = [];
  const end = frames.at(-1).id;
  const pieces = new Sheet();
  const note = (cuts, last, model) => {
    pieces.draw();
    if (said(model) !== words.get(last)) wrong.push({ cuts, last, said: said(model), wanted: words.get(last) });
    else if (pieces.written() !== atOnce.get(last)) wrong.push({ cuts, last, drawn: pieces.written(), wanted: atOnce.get(last) });
  };
  for (let round = 0; round < rounds; round += 1) {
    const model = new Thread("t");
    pieces.show(model);
    let last = "";
    const read = (from, to) => {
      const parser = new FrameParser((frame) => {
        if (frame.event !== COMPLETED) model.apply(frame);
        last = frame.id;
      });
      for (let at = from, next; at < to; at = next) {
        next = Math.min(to, at + 1 + random(900));
        parser.push(bytes.slice(at, next));
        if (random(8) === 0) pieces.draw();
      }
    };
    const cuts = [];
    for (let at = 0, count = 1 + random(4); count > 0; count -= 1) {
      cuts.push(at + random(bytes.length - at));
      read(at, cuts.at(-1));
      note(cuts, last, model);
      at = behind.get(last);
    }
    read(behind.get(last), bytes.length);
    note(cuts, last, model);
    if (last !== end) wrong.push({ cuts, last });
  }
  return { wrong: wrong.slice(0, 3), said: words.get(end), drawings: new Set(atOnce.values()).size };
}
