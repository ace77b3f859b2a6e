"""Pages of the log: where each ends, and what a database is asked for one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.db import connection

from assistants.models import Thread
from streaming import journal
from streaming.journal import PAGE_BYTES, PAGE_EVENTS, Draft
from tests.streaming.conftest import RUN, drafts

pytestmark = pytest.mark.django_db(transaction=True)


def texts(*sizes: int, letter: str = "x") -> list[Draft]:
    """Events whose data are a text of so many letters."""
    return [Draft("thread.message.delta", f'"{letter * size}"', RUN) for size in sizes]


def pages(thread: Thread) -> list[list[int]]:
    """The numbers on each page, up to the first that is not full."""
    cursor, read = 0, []
    while True:
        page = journal.read_after(thread.pk, cursor)
        read.append([entry.seq for entry in page])
        if not journal.is_full(page):
            return read
        cursor = page[-1].seq


@pytest.mark.parametrize("letter", ["x", "é", "漢"])
def test_a_page_ends_with_the_event_that_makes_it_full(thread: Thread, letter: str) -> None:
    """Whatever is written: a page that is not taken for full is taken for the last."""
    half = PAGE_BYTES // len(letter.encode()) // 2
    journal.append(thread.pk, texts(half, half, 1, 4 * half, 1, 1, letter=letter))
    assert pages(thread) == [[1, 2], [3, 4], [5, 6]]


def test_a_page_holds_so_many_events_at_most(thread: Thread) -> None:
    journal.append(thread.pk, drafts(PAGE_EVENTS + 1))
    first, last = pages(thread)
    assert (len(first), last) == (PAGE_EVENTS, [PAGE_EVENTS + 1])


@pytest.mark.postgres
def test_a_page_is_one_question_and_holds_what_was_asked_for(thread: Thread, tmp_path: Path) -> None:
    journal.append(thread.pk, texts(*[20_000] * 200))
    said = tmp_path / "protocol"
    with said.open("w") as file:
        connection.ensure_connection()
        connection.connection.pgconn.trace(file.fileno())
        page = journal.read_after(thread.pk, 0)
        connection.connection.pgconn.untrace()
    protocol = said.read_text()
    assert [entry.seq for entry in page] == [1, 2, 3, 4]
    assert len(re.findall(r"\tF\t\d+\tExecute\b|\tF\t\d+\tQuery\b", protocol)) == 1, protocol[:2000]
    assert len(re.findall(r"\tB\t\d+\tDataRow\b", protocol)) == len(page)
