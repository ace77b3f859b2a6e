"""Text out of every supported format, a plain answer for every hostile one."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from docx import Document
from fpdf import FPDF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pypdf import PdfReader, PdfWriter

from assistants.retrieval import extract as limits
from assistants.retrieval.extract import InvalidFile, UnsupportedFile, extract

ROOT = Path(__file__).resolve().parents[2]
NOT_TEXT = "The file is not text in UTF-8, UTF-16 or ASCII."
DAMAGED = "The file is damaged or not what its name says."
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def pdf_of(*pages: str) -> bytes:
    document = FPDF()
    document.set_font("helvetica", size=12)
    for page in pages:
        document.add_page()
        document.multi_cell(0, text=page)
    return bytes(document.output())


def zip_of(members: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return target.getvalue()


def word_of(body: str, prolog: str = "") -> bytes:
    document = f'{prolog}<w:document xmlns:w="{WORD}"><w:body>{body}</w:body></w:document>'
    return zip_of({"word/document.xml": document.encode(), "padding": bytes(range(256)) * 40})


def message_of(content: bytes, name: str) -> str:
    with pytest.raises(InvalidFile) as caught:
        extract(content, name)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_each_encoding(encoding: str) -> None:
    assert extract("Ahoy!\r\nA ship.".encode(encoding), "log.TXT") == "Ahoy!\nA ship."


def test_utf16_with_a_mark_holds_any_script() -> None:
    assert extract("龙计划 – Überblick".encode("utf-16"), "a.md") == "龙计划 – Überblick"


@pytest.mark.parametrize("name", ["a.py", "a.cpp", "a.json", "a.csv", "a.md", "a.tex", "a.ts", "dir/a.sh"])
def test_text_is_kept_as_it_is(name: str) -> None:
    text = '{"ü": [1, 2]}\n\tif a < b && c > d:  # "x"\n'
    assert extract(text.encode(), name) == text


def test_html_is_what_a_reader_sees() -> None:
    page = """<html><head><title>Tide</title><style>p{color:red}</style><script>alert("<p>no</p>")</script></head>
    <body><h1>High &amp; low</h1><p>Twice a <b>day</b>,<br>roughly.</p><ul><li>one</li><li>two</li></ul>
    <table><tr><td>a</td><td>b</td></tr></table><svg><text>hidden</text></svg></body></html>"""
    text = extract(page.encode(), "tide.html")
    assert text == "Tide\n\nHigh & low\n\nTwice a day,\nroughly.\n\none\n\ntwo\n\na b"


def test_pdf_pages_are_set_apart_and_lines_are_joined() -> None:
    sentence = "The ferry leaves the northern quay at seven and returns when the last crate of apples is aboard."
    text = extract(pdf_of(sentence, "Second page."), "ferry.pdf")
    assert text == f"{sentence}\n\nSecond page."


def test_docx_paragraphs_and_tables() -> None:
    document = Document()
    document.add_heading("Status", 1)
    document.add_paragraph("All ").add_run("well.").bold = True
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ["Risk", "Owner", "Ice", "Mira"], strict=True):
        cell.text = text
    target = io.BytesIO()
    document.save(target)
    assert extract(target.getvalue(), "status.docx") == "Status\n\nAll well.\n\nRisk | Owner\n\nIce | Mira"


def test_pptx_slides_in_their_order() -> None:
    drawing = "http://schemas.openxmlformats.org/drawingml/2006/main"
    slides = {
        f"ppt/slides/slide{n}.xml": f'<s xmlns:a="{drawing}"><a:p><a:t>Slide {n}</a:t></a:p></s>'.encode()
        for n in (10, 2)
    }
    assert extract(zip_of(slides), "talk.pptx") == "Slide 2\n\nSlide 10"


@pytest.mark.parametrize("name", ["photo.png", "old.doc", "program", "archive.zip", "x.pdf.exe", ""])
def test_other_types_are_not_supported(name: str) -> None:
    with pytest.raises(UnsupportedFile, match=r"^The file type is not supported\.$"):
        extract(b"anything", name)


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (b"", "empty.txt", "The file is empty."),
        (b"", "empty.pdf", "The file is empty."),
        (b" \n\t\n", "blank.md", "The file holds no text."),
        (bytes(range(256)) * 50, "garbage.txt", NOT_TEXT),
        (bytes(5_000), "zeros.txt", NOT_TEXT),
        ("Überfahrt".encode("latin-1"), "latin.txt", NOT_TEXT),
        (b"\xff\xfe" + b"a\x00b\x00\x00\xd8", "half.txt", NOT_TEXT),
        (b"\x7fELF\x01\x01\x01" + b"\x00\x03" * 500, "program.py", NOT_TEXT),
        (b"not a PDF at all", "x.pdf", DAMAGED),
        (b"not a zip at all", "x.docx", DAMAGED),
        (zip_of({"other.xml": b"<a/>"}), "x.docx", DAMAGED),
        (word_of("<w:p><w:t>never closed"), "x.docx", DAMAGED),
    ],
)
def test_broken_files_are_invalid(content: bytes, name: str, message: str) -> None:
    assert message_of(content, name) == message


def test_every_truncation_of_a_pdf_is_answered() -> None:
    whole = pdf_of("A sentence that ends.")
    for length in range(0, len(whole), 37):
        with suppress(InvalidFile):
            assert extract(whole[:length], "cut.pdf").strip()


def test_a_locked_pdf_says_so() -> None:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf_of("secret"))))
    writer.encrypt("password", algorithm="RC4-128")
    target = io.BytesIO()
    writer.write(target)
    assert message_of(target.getvalue(), "locked.pdf") == "The file is locked with a password."


def test_a_pdf_of_too_many_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PDF_PAGES_MAX", 2)
    assert extract(pdf_of("1", "2"), "a.pdf")
    assert message_of(pdf_of("1", "2", "3"), "a.pdf") == "The file has more than 2 pages."


def test_too_much_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TEXT_BYTES_MAX", 30)
    for content, name in (
        (b"x" * 31, "a.txt"),
        (pdf_of("A page of text.", "Another page of text."), "a.pdf"),
        (word_of("<w:p><w:t>Sixteen letters.</w:t></w:p>" * 2), "a.docx"),
    ):
        assert message_of(content, name) == "The file holds more than 20 MB of text."


def test_zip_bomb() -> None:
    content = zip_of({"word/document.xml": bytes(50 * 1024 * 1024)})
    assert message_of(content, "bomb.docx") == "The file unpacks to far more than it should."


def test_zip_of_too_many_entries() -> None:
    content = zip_of({f"{number}": b"" for number in range(limits.ZIP_ENTRIES_MAX + 1)})
    assert message_of(content, "many.docx") == "The file unpacks to far more than it should."


def test_billion_laughs_and_external_entities() -> None:
    laughs = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    outside = f'<!DOCTYPE l [<!ENTITY b SYSTEM "{Path(__file__).as_uri()}">]>'
    for prolog in (laughs, outside):
        assert message_of(word_of("<w:p><w:t>&b;</w:t></w:p>", prolog), "x.docx") == DAMAGED


def test_deep_xml() -> None:
    body = "<w:p>" * 100_000 + "</w:p>" * 100_000
    padding = random.Random(1).randbytes(20_000)  # keeps the ratio of the archive honest
    document = f'<w:document xmlns:w="{WORD}">{body}</w:document>'.encode()
    content = zip_of({"word/document.xml": document, "padding": padding})
    assert message_of(content, "deep.docx") == "The file is nested too deeply."


@given(st.binary(max_size=300), st.sampled_from(["a.txt", "a.html", "a.pdf", "a.docx", "a.pptx", "a.csv"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_are_answered(content: bytes, name: str) -> None:
    prefix = {"a.pdf": b"%PDF-1.7\n", "a.docx": b"PK\x03\x04", "a.pptx": b"PK\x05\x06"}.get(name, b"")
    with suppress(InvalidFile):
        assert extract(prefix + content, name).strip()


def run_child(path: Path, *arguments: str) -> list[object]:
    finished = subprocess.run(
        [sys.executable, "-m", "assistants.retrieval.extract", str(path), *arguments],
        cwd=ROOT,
        env={},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return [json.loads(line) for line in finished.stdout.splitlines()]


def test_the_child_prints_passages_and_their_number(tmp_path: Path) -> None:
    path = tmp_path / "random-name"
    path.write_text("One two three. " * 30 + "Ende\u2028über.")
    *passages, last = run_child(path, "a.txt", "100", "0")
    assert last == {"passages": len(passages)}
    assert len(passages) == 2
    assert isinstance(passages[1], list)
    text, repeated = passages[1]
    assert (text[-10:], repeated) == ("Ende\u2028über.", 0)


def test_the_child_names_the_error(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(b"x")
    assert run_child(path, "a.exe", "800", "400") == [
        {"error": "unsupported_file", "message": "The file type is not supported."}
    ]
    assert run_child(path, "a.docx", "800", "400") == [{"error": "invalid_file", "message": DAMAGED}]


def test_a_flate_bomb_costs_the_child_only(tmp_path: Path) -> None:
    """A page whose content stream unpacks to 1 GiB: the child ends by itself, with a reason."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(1_024)) + packer.flush()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, content) for number, content in enumerate(objects, 1))
    path = tmp_path / "blob"
    path.write_bytes(b"%PDF-1.4\n" + body + b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF")

    (last,) = run_child(path, "bomb.pdf", "800", "400")

    assert isinstance(last, dict)
    assert last["error"] == "invalid_file"


def test_the_child_starts_without_django(tmp_path: Path) -> None:
    code = "import sys, assistants.retrieval.extract; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
