"""Makes the demo's PDF and Word files from `sources/`: `python kumos_site/demo/make_documents.py`.

Needs the dependency group `documents`. What it makes is kept in `documents/`, byte for byte the same at each call.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from fpdf import FPDF

HERE = Path(__file__).resolve().parent
MADE_ON = datetime(2026, 11, 9, 9, 0, tzinfo=UTC)
AUTHOR = "Aldermoor Instruments"

Block = tuple[str, str]
"""What it is (title, heading, item, row, paragraph) and its text."""

MARKS = {"# ": "title", "## ": "heading", "- ": "item", "| ": "row"}


def blocks_of(source: str) -> Iterator[Block]:
    """One block per line of the source."""
    for line in filter(None, source.splitlines()):
        for mark, kind in MARKS.items():
            if line.startswith(mark):
                yield kind, line.removeprefix(mark)
                break
        else:
            yield "paragraph", line


def cells_of(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip(" |").split("|")]


def pdf_of(blocks: list[Block]) -> bytes:
    document = FPDF(format="A4")
    document.set_creation_date(MADE_ON)
    document.set_author(AUTHOR)
    document.set_title(blocks[0][1])
    document.set_margins(25, 22)
    document.add_page()
    for kind, text in blocks:
        size = {"title": 18, "heading": 13}.get(kind, 11)
        document.set_font("helvetica", "B" if kind in {"title", "heading"} else "", size)
        document.multi_cell(
            0, size * 0.5, f"- {text}" if kind == "item" else text, align="L", new_x="LMARGIN", new_y="NEXT"
        )
        document.ln({"item": 1, "heading": 1.5}.get(kind, 4))
    return bytes(document.output())


def docx_of(blocks: list[Block]) -> bytes:
    document = Document()
    document.core_properties.author = AUTHOR
    document.core_properties.title = blocks[0][1]
    document.core_properties.created = document.core_properties.modified = MADE_ON.replace(tzinfo=None)
    table = None
    for kind, text in blocks:
        if kind == "row":
            cells = cells_of(text)
            table = table or document.add_table(rows=0, cols=len(cells), style="Light Grid Accent 1")
            for cell, value in zip(table.add_row().cells, cells, strict=True):
                cell.text = value
            continue
        table = None
        if kind in {"title", "heading"}:
            document.add_heading(text, 0 if kind == "title" else 1)
        else:
            document.add_paragraph(text, style="List Bullet" if kind == "item" else None)
    target = io.BytesIO()
    document.save(target)
    return undated(target.getvalue())


def undated(content: bytes) -> bytes:
    """The archive without the time at which it was packed."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as packed, zipfile.ZipFile(target, "w") as repacked:
        for entry in packed.infolist():
            fresh = zipfile.ZipInfo(entry.filename, MADE_ON.timetuple()[:6])
            repacked.writestr(fresh, packed.read(entry), zipfile.ZIP_DEFLATED)
    return target.getvalue()


MAKERS = {".pdf": pdf_of, ".docx": docx_of}


def made_documents() -> Iterator[tuple[str, bytes]]:
    """File name and content of each."""
    for source in sorted((HERE / "sources").glob("*.md")):
        name = source.stem
        yield name, MAKERS[Path(name).suffix](list(blocks_of(source.read_text())))


if __name__ == "__main__":
    for name, content in made_documents():
        (HERE / "documents" / name).write_bytes(content)
