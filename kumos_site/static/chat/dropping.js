// Files dropped anywhere on the page, with a zone that shows where they go, and files pasted into it.

/** Text that was copied together with a picture of itself (from an office program) is meant as text. */
function pasted(clipboard) {
  const types = [...clipboard.types];
  return types.includes("text/plain") ? [] : [...clipboard.files];
}

function hasFiles(event) {
  return [...(event.dataTransfer?.types ?? [])].includes("Files");
}

export class Dropping {
  constructor({ zone, onFiles }) {
    this.zone = zone;
    this.onFiles = onFiles;
    document.addEventListener("dragenter", (event) => this.entered(event));
    document.addEventListener("dragover", (event) => this.over(event));
    document.addEventListener("dragleave", (event) => this.left(event));
    document.addEventListener("drop", (event) => this.dropped(event));
    document.addEventListener("paste", (event) => this.paste(event));
  }

  entered(event) {
    if (hasFiles(event)) this.zone.hidden = false;
  }

  over(event) {
    if (!hasFiles(event)) return;
    event.preventDefault(); // else the browser opens the file and the page is gone
    event.dataTransfer.dropEffect = "copy";
  }

  left(event) {
    if (event.relatedTarget === null) this.zone.hidden = true; // out of the window, not into another element
  }

  dropped(event) {
    if (!hasFiles(event)) return;
    event.preventDefault();
    this.zone.hidden = true;
    this.onFiles([...event.dataTransfer.files]);
  }

  paste(event) {
    if (document.querySelector("dialog[open]")) return;
    const files = event.clipboardData ? pasted(event.clipboardData) : [];
    if (files.length === 0) return;
    event.preventDefault();
    this.onFiles(files);
  }
}
