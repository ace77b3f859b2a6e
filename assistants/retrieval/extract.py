"""A file's bytes → its text. Which formats, and how much of a file is read before it counts as hostile.

Imports neither Django nor anything that starts it: the runner calls this module as a child process,

    python -m assistants.retrieval.extract PATH NAME MAX_TOKENS OVERLAP_TOKENS

which limits itself and prints one JSON value per line: the passages (`[text, repeated]`, as in chunk.Slice), then
`{"passages": n}`; or, as the last line, `{"error": "unsupported_file" | "invalid_file", "message": …}`. A bomb ends the
child, not the server.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import re
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Final

TEXT_BYTES_MAX: Final = 20 * 1024 * 1024
PDF_PAGES_MAX: Final = 2_000
ZIP_ENTRIES_MAX: Final = 10_000
ZIP_BYTES_MAX: Final = 200 * 1024 * 1024
ZIP_RATIO_MAX: Final = 100
XML_DEPTH_MAX: Final = 200
BULLETS: Final = ("- ", "• ", "* ", "– ")
SENTENCE: Final = re.compile(r"[.!?][\"'”’)]*$")

# The child's limits; the wall clock is the parent's (runs/ingest.py).
MEMORY_BYTES: Final = 512 * 1024 * 1024
CPU_SECONDS: Final = 20
OUTPUT_BYTES: Final = 128 * 1024 * 1024
OPEN_FILES: Final = 64

_PLAIN = (
    "c cc cfg conf cpp cs css csv go h hpp ini java js json jsx jsonl kt log lua markdown md mjs php pl py r rb rs rst"
    " scala sh sql svg swift tex toml ts tsv tsx txt vue xml yaml yml"
)
PLAIN_SUFFIXES: Final = frozenset(_PLAIN.split())


class UnsupportedFile(Exception):
    """Kumos does not read this kind of file (contract 5.3: `unsupported_file`)."""

    def __init__(self) -> None:
        super().__init__("The file type is not supported.")


class InvalidFile(Exception):
    """The file is not what its name says, or is too much to read (contract 5.3: `invalid_file`)."""


def extract(content: bytes, name: str) -> str:
    """The text of a file called `name`. Raises UnsupportedFile or InvalidFile, and nothing else for any content.

    Pages, slides and paragraphs are set apart by empty lines. Never empty: a file without text is invalid.
    """
    reader = READERS.get(Path(name).suffix.lower().lstrip("."))
    if reader is None:
        raise UnsupportedFile
    if not content:
        raise InvalidFile("The file is empty.")
    try:
        text = reader(content)
    except InvalidFile:
        raise
    except MemoryError:
        raise InvalidFile("The file needs too much memory to be read.") from None
    except Exception as error:  # the parsers of foreign formats raise anything
        raise InvalidFile("The file is damaged or not what its name says.") from error
    if not text.strip():
        raise InvalidFile("The file holds no text.")
    return text


def bounded(pieces: Iterator[str], separator: str) -> str:
    """The pieces joined, up to TEXT_BYTES_MAX."""
    kept, size = [], 0
    for piece in pieces:
        size += len(piece.encode(errors="replace")) + len(separator)
        if size > TEXT_BYTES_MAX:
            raise InvalidFile("The file holds more than 20 MB of text.")
        kept.append(piece)
    return separator.join(kept)


# Text -----------------------------------------------------------------------------------------------------------------


def plain(content: bytes) -> str:
    """UTF-8 (so also ASCII) or UTF-16, with or without a byte order mark."""
    if len(content) > TEXT_BYTES_MAX:
        raise InvalidFile("The file holds more than 20 MB of text.")
    try:
        text = content.decode(encoding_of(content))
    except UnicodeDecodeError:
        raise InvalidFile("The file is not text in UTF-8, UTF-16 or ASCII.") from None
    if odd := sum(map(text.count, "\x00\x01\x02\x03\x04\x05\x06\ufffe\uffff")):
        if odd > len(text) // 1_000:
            raise InvalidFile("The file is not text in UTF-8, UTF-16 or ASCII.")
        text = text.replace("\x00", "")
    return text.replace("\r\n", "\n")


def encoding_of(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    sample = content[:2_000]
    zeros = sample.count(0)
    if zeros * 3 > len(sample):  # text of a Latin script in UTF-16: every second byte is 0
        return "utf-16-be" if sample[0::2].count(0) * 2 > zeros else "utf-16-le"
    return "utf-8-sig"


_BLOCKS = (
    "address article aside blockquote body dd div dl dt figcaption figure footer form h1 h2 h3 h4 h5 h6 header hr"
    " li main nav ol p pre section table title ul"
)


class Markup(HTMLParser):
    """Collects what a reader of the page sees: no scripts, no styles, block elements on lines of their own."""

    HIDDEN = frozenset({"script", "style", "template", "noscript", "svg", "math"})
    BLOCKS = frozenset(_BLOCKS.split())

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.hidden = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if self.hidden:
            return
        if tag in self.HIDDEN:
            self.hidden = tag
        elif tag in self.BLOCKS:
            self.pieces.append("\n\n")
        elif tag in {"br", "tr"}:
            self.pieces.append("\n")
        elif tag in {"td", "th"}:
            self.pieces.append(" ")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.HIDDEN:  # <svg/> hides nothing
            self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if tag == self.hidden:
            self.hidden = ""
        elif tag in self.BLOCKS and not self.hidden:
            self.pieces.append("\n\n")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.pieces.append(re.sub(r"\s+", " ", data))


def html(content: bytes) -> str:
    markup = Markup()
    markup.feed(plain(content))
    markup.close()
    return re.sub(r" *\n[ \n]*\n *", "\n\n", re.sub(r" *\n *", "\n", "".join(markup.pieces))).strip()


# PDF ------------------------------------------------------------------------------------------------------------------


def pdf(content: bytes) -> str:
    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # it comments on every oddity of a file
    document = PdfReader(io.BytesIO(content))
    if document.is_encrypted and not document.decrypt(""):
        raise InvalidFile("The file is locked with a password.")
    if len(document.pages) > PDF_PAGES_MAX:
        raise InvalidFile(f"The file has more than {PDF_PAGES_MAX:,} pages.")
    return bounded((unwrapped(page.extract_text()) for page in document.pages), "\n\n")


def unwrapped(page: str) -> str:
    """A PDF knows lines, not paragraphs: full lines are joined to the next, short ones end a paragraph or a heading."""
    lines = [line.strip() for line in page.splitlines() if line.strip()]
    full = 0.75 * max(map(len, lines), default=0)
    pieces = []
    for line, following in pairwise([*lines, ""]):
        if following.startswith(BULLETS):
            pieces += [line, "\n"]
        elif len(line) < full or (SENTENCE.search(line) and len(following) < full and not SENTENCE.search(following)):
            pieces += [line, "\n\n"]
        elif line.endswith("-") and following[:1].islower():
            pieces.append(line[:-1])
        else:
            pieces += [line, " "]
    return "".join(pieces).strip()


# Office ---------------------------------------------------------------------------------------------------------------


def member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as opened:
        return opened.read(ZIP_BYTES_MAX)


def opened_archive(content: bytes) -> zipfile.ZipFile:
    archive = zipfile.ZipFile(io.BytesIO(content))
    entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if len(entries) > ZIP_ENTRIES_MAX or size > ZIP_BYTES_MAX or size > ZIP_RATIO_MAX * max(len(content), 1):
        raise InvalidFile("The file unpacks to far more than it should.")
    return archive


def office_text(document: bytes) -> Iterator[str]:
    """The paragraphs of a WordprocessingML or DrawingML part; a table row is one, its cells parted by bars."""
    from defusedxml.ElementTree import iterparse

    line: list[str] = []
    depth = cells = 0
    for event, element in iterparse(io.BytesIO(document), events=("start", "end"), forbid_dtd=True):
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            depth += 1
            if depth > XML_DEPTH_MAX:
                raise InvalidFile("The file is nested too deeply.")
            if tag == "tc":
                cells += 1
            continue
        depth -= 1
        if tag == "t":
            line.append(element.text or "")
        elif tag in {"tab", "br", "cr"} or (tag == "p" and cells):
            line.append(" ")
        elif tag == "tc":
            cells -= 1
            line.append("| ")
        elif tag in {"p", "tr"} and line:
            yield re.sub(r"[ \t]+", " ", "".join(line)).strip(" |")
            line = []
        if tag in {"p", "tc", "tr"}:
            element.clear()


def docx(content: bytes) -> str:
    with opened_archive(content) as archive:
        return bounded(office_text(member(archive, "word/document.xml")), "\n\n")


def pptx(content: bytes) -> str:
    with opened_archive(content) as archive:
        found = (re.fullmatch(r"ppt/slides/slide(\d+)\.xml", name) for name in archive.namelist())
        slides = sorted((int(match[1]), match[0]) for match in found if match)
        return bounded((bounded(office_text(member(archive, name)), "\n") for _, name in slides), "\n\n")


READERS: Final[dict[str, Callable[[bytes], str]]] = {
    **dict.fromkeys(PLAIN_SUFFIXES, plain),
    **dict.fromkeys(("html", "htm", "xhtml"), html),
    "pdf": pdf,
    "docx": docx,
    "pptx": pptx,
}


# The child process ----------------------------------------------------------------------------------------------------


def limit_this_process() -> None:
    for kind, wanted in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(kind, (wanted, wanted))
        except (OSError, ValueError):  # not every system has every limit; a lower one may already hold
            continue


def main(path: str, name: str, max_tokens: int, overlap_tokens: int) -> None:
    from assistants.retrieval.chunk import slices

    limit_this_process()
    count = 0
    last: dict[str, object]
    try:
        for piece in slices(extract(Path(path).read_bytes(), name), max_tokens, overlap_tokens):
            sys.stdout.write(json.dumps([piece.text, piece.repeated], ensure_ascii=False) + "\n")
            count += 1
        last = {"passages": count}
    except UnsupportedFile as error:
        last = {"error": "unsupported_file", "message": str(error)}
    except InvalidFile as error:
        last = {"error": "invalid_file", "message": str(error)}
    except MemoryError:
        last = {"error": "invalid_file", "message": "The file needs too much memory to be read."}
    sys.stdout.write(json.dumps(last) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
