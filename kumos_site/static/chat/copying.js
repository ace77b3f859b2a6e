// Copying what was said: its source, with the numbers of the page in place of the citations' markers.

/** Markdown as it was written. */
export function sourceOf(messages) {
  const numbers = new Map();
  const texts = messages.flatMap((message) => message.content).map((part) => {
    let text = part.text?.value ?? part.refusal ?? "";
    for (const annotation of part.text?.annotations ?? []) {
      const file = annotation.file_citation?.file_id;
      if (!file) continue;
      if (!numbers.has(file)) numbers.set(file, numbers.size + 1);
      text = text.replaceAll(annotation.text, ` [${numbers.get(file)}]`);
    }
    return text;
  });
  return texts.filter(Boolean).join("\n\n");
}

/** True where it was copied. The old way is for pages that are served over plain HTTP to other machines. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const before = document.activeElement;
    area.value = text;
    area.className = "hidden";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus();
    return done;
  }
}
