"""Files as a browser hands them to a page: dropped, pasted, chosen; and a picture that a browser can really draw."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

from playwright.sync_api import FilePayload, Page

# `kind` is dragenter, dragover, drop or paste. The event is the browser's own; only its cause is the test.
HAND_OVER = """([kind, files, text]) => {
  const transfer = new DataTransfer();
  for (const [name, type, bytes] of files) {
    transfer.items.add(new File([Uint8Array.from(atob(bytes), (one) => one.charCodeAt(0))], name, { type }));
  }
  if (text) transfer.setData("text/plain", text);
  const options = { bubbles: true, cancelable: true };
  const event = kind === "paste"
    ? new ClipboardEvent(kind, { ...options, clipboardData: transfer })
    : new DragEvent(kind, { ...options, dataTransfer: transfer });
  (kind === "paste" ? document.activeElement : document.querySelector("#scroller")).dispatchEvent(event);
  return event.defaultPrevented;
}"""


def payload(name: str, content: bytes, kind: str = "application/octet-stream") -> FilePayload:
    return {"name": name, "mimeType": kind, "buffer": content}


def hand_over(page: Page, kind: str, *files: FilePayload, text: str = "") -> bool:
    """Whether the page took them: else the browser would do with them what it does."""
    given = [[file["name"], file["mimeType"], base64.b64encode(file["buffer"]).decode()] for file in files]
    taken: Any = page.evaluate(HAND_OVER, [kind, given, text])
    return bool(taken)


def png(width: int, height: int, colour: tuple[int, int, int] = (44, 95, 148)) -> bytes:
    """A whole PNG in one colour."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + bytes(colour) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
