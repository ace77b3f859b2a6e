"""Each promise of docs/architecture.md has a test that carries its number."""

from __future__ import annotations

import re

from django.conf import settings


def test_every_promise_has_its_test() -> None:
    page = (settings.BASE_DIR / "docs" / "architecture.md").read_text()
    promised = {int(number) for number in re.findall(r"^\| P(\d+) \|", page, re.MULTILINE)}
    sources = "\n".join(path.read_text() for path in (settings.BASE_DIR / "tests").rglob("test_*.py"))
    tested = {int(number) for number in re.findall(r"^ *def test_p(\d+)_", sources, re.MULTILINE)}
    assert tested == promised
