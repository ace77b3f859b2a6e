"""docs/contract.md is whole and true: each route and each error has a row, and each test that it names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.process import ROOT
from tests.routes import ROUTES

PAGE = (ROOT / "docs" / "contract.md").read_text()
ERRORS = """
no key / wrong key / beta header missing / beta header v1 / unknown object / unknown assistant of a run / unknown file
/ bad purpose / run without input / modification of an active run / malformed id / nested malformed id / lock: message
/ lock: run / cancel / submit: status / submit: ids / missing field / unknown field / wrong type / enum
/ string too long / array too long / number too big or small / integer too big or small / metadata pairs / metadata key
/ metadata value / metadata value type / unknown model / GET of an unknown model / download refused / server fault
/ broken JSON / unknown URL
"""
"""The rows of contract 4.3."""


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading."""
    table = PAGE.split(f"## {heading}\n\n", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines()[2:]]


def defined_in(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_route_has_its_row() -> None:
    assert sorted(row[0].strip("`") for row in rows("Endpoints")) == sorted(map(str, ROUTES))


def test_every_error_has_its_row() -> None:
    assert [row[0] for row in rows("Errors")] == [case.strip() for case in ERRORS.replace("\n", " ").split(" / ")]


@pytest.mark.parametrize("heading", ["Endpoints", "Errors"])
def test_every_row_is_proven(heading: str) -> None:
    for row in rows(heading):
        assert any(re.search(r"`tests/\S+::test_\w+`", cell) for cell in row), row


def test_every_named_test_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert len(named) > 100
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert not name or (name.startswith("test_") and name in defined_in(ROOT / path)), f"{path}::{name}"


def test_every_exact_error_is_named() -> None:
    proofs = defined_in(ROOT / "tests" / "test_error_texts.py")
    assert {name for name in proofs if name.startswith("test_")} <= set(
        re.findall(r"test_error_texts\.py::(\w+)", PAGE)
    )
