"""Group commit: what waits goes in together, nobody spoils it for others, answers come after the commit (P1)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from pytest_django.fixtures import Settings

from assistants.models import Project, Thread
from runs.writer import ATTEMPTS, OutcomeUnknown, Writer
from streaming import journal
from streaming.journal import Draft
from streaming.models import Event
from tests.loops import PATIENCE_SECONDS, run_async

pytestmark = pytest.mark.django_db(transaction=True)


class Gate:
    """Work that keeps the writer thread busy until it is let go, so that what is asked meanwhile waits together."""

    def __init__(self) -> None:
        self.busy = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> None:
        self.busy.set()
        assert self.go.wait(PATIENCE_SECONDS)


async def together(writer: Writer, *works: Callable[[], Any], urgent: bool = True) -> list[Any]:
    """The outcomes of `works`, all of which waited for the writer at the same time."""
    gate = Gate()
    first = asyncio.create_task(writer.run(gate))
    await asyncio.to_thread(gate.busy.wait, PATIENCE_SECONDS)
    tasks = [asyncio.create_task(writer.run(work, urgent=urgent)) for work in works]
    await asyncio.sleep(0)  # lets each of them ask
    gate.go.set()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


def project(name: str) -> str:
    return Project.objects.create(name=name).name


def names() -> set[str]:
    return set(Project.objects.values_list("name", flat=True))


def test_it_returns_what_the_work_returns_and_raises_what_it_raises(writer: Writer) -> None:
    def broken() -> None:
        project("lost")
        raise LookupError("no such thing")

    async def work() -> None:
        assert await writer.run(lambda: project("kept")) == "kept"
        with pytest.raises(LookupError, match="no such thing"):
            await writer.run(broken)

    run_async(work)
    assert names() == {"kept"}


@pytest.mark.parametrize("urgent", [True, False])
def test_what_waits_together_is_one_transaction_in_order(urgent: bool, writer: Writer) -> None:
    log: list[str] = []

    def work(number: int) -> None:
        log.append(f"work {number}")
        transaction.on_commit(lambda: log.append(f"committed {number}"))

    outcomes = run_async(lambda: together(writer, *[lambda n=n: work(n) for n in range(5)], urgent=urgent))
    assert outcomes == [None] * 5
    assert log == [*[f"work {n}" for n in range(5)], *[f"committed {n}" for n in range(5)]]


def test_one_failure_takes_nobody_with_it(writer: Writer) -> None:
    def broken() -> None:
        project("lost")
        raise ValueError("broken")

    def atomic_and_broken() -> None:
        with transaction.atomic(savepoint=False):
            project("lost too")
            raise KeyError("broken")

    works = [lambda: project("a"), broken, lambda: project("a"), atomic_and_broken, lambda: project("b")]
    outcomes = run_async(lambda: together(writer, *works))
    assert outcomes[0] == "a"
    assert [type(outcome) for outcome in outcomes[1:4]] == [ValueError, IntegrityError, KeyError]
    assert outcomes[4] == "b"
    assert names() == {"a", "b"}
    assert Project.objects.count() == 2


def test_what_waits_with_a_failure_is_still_one_transaction(writer: Writer) -> None:
    """One run that was taken over must not cost all the others a commit of their own."""
    committed: list[list[int]] = []
    batch: list[int] = []

    def work(number: int) -> None:
        if not batch:
            transaction.on_commit(lambda: committed.append(batch.copy()))
        batch.append(number)

    def broken() -> None:
        batch.clear()
        raise ValueError("broken")

    works: list[Callable[[], Any]] = [lambda n=n: work(n) for n in range(4)]  # type: ignore[misc]
    outcomes = run_async(lambda: together(writer, *works, broken, *works))
    assert [type(outcome) for outcome in outcomes] == [*[type(None)] * 4, ValueError, *[type(None)] * 4]
    assert committed == [[0, 1, 2, 3, 0, 1, 2, 3]]


def test_what_may_work_a_moment_later_is_tried_again(writer: Writer) -> None:
    attempts = []

    def locked_at_first() -> int:
        attempts.append(1)
        if len(attempts) < ATTEMPTS:
            raise OperationalError("database is locked")
        return len(attempts)

    assert run_async(lambda: writer.run(locked_at_first)) == ATTEMPTS


def break_connection() -> None:
    """Once this is committed, every statement on the writer's connection fails."""

    def broken() -> None:
        if connection.vendor == "sqlite":
            connection.connection.set_progress_handler(lambda: 1, 1)
        else:
            connection.connection.close()

    transaction.on_commit(broken)


def test_a_connection_that_breaks_while_it_is_idle_loses_nothing(writer: Writer) -> None:
    """As when the database restarts: the writer is all that a process writes its runs with, and must outlive it."""

    async def work() -> None:
        await writer.run(break_connection)
        await writer.run(lambda: project("kept"))

    run_async(work)
    assert names() == {"kept"}


def test_a_database_that_is_away_for_a_moment_stops_nobody(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = BaseDatabaseWrapper.connect
    away = [True] * 3 * ATTEMPTS

    def unreachable_at_first(self: BaseDatabaseWrapper) -> None:
        if threading.current_thread().name == "kumos-writer" and away:
            away.pop()
            raise OperationalError("connection refused")
        connect(self)

    async def work() -> None:
        await writer.run(lambda: None)
        monkeypatch.setattr(BaseDatabaseWrapper, "connect", unreachable_at_first)
        await writer.run(break_connection)
        await writer.run(lambda: project("Atlas"))

    run_async(work)
    assert not away
    assert names() == {"Atlas"}


def test_what_may_be_stored_already_is_not_done_again(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]
    faults = [OperationalError("the connection was lost while COMMIT was under way")]

    def committed_and_lost(self: BaseDatabaseWrapper) -> None:
        commit(self)
        if threading.current_thread().name == "kumos-writer" and faults:
            raise faults.pop()

    async def work() -> None:
        await writer.run(lambda: None)
        monkeypatch.setattr(BaseDatabaseWrapper, "_commit", committed_and_lost)
        with pytest.raises(OutcomeUnknown):
            await writer.run(lambda: Project.objects.create(name="Atlas"))
        await writer.run(lambda: Project.objects.create(name="Comet"))

    run_async(work)
    assert sorted(Project.objects.values_list("name", flat=True)) == ["Atlas", "Comet"]


def test_the_answer_comes_after_the_commit(writer: Writer) -> None:
    async def work() -> None:
        await writer.run(lambda: project("Atlas"))
        # Another thread, so another connection.
        assert await asyncio.to_thread(names) == {"Atlas"}

    run_async(work)


def test_a_bell_that_fails_does_not_repeat_the_commit(writer: Writer, settings: Settings) -> None:
    """Bells ring when the commit has happened: were their failure its failure, everything would be told twice."""
    thread = Thread.objects.create(project=Project.objects.create(name="Atlas"))
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "no.such.Layer"}}
    works = [lambda: journal.append(thread.pk, [Draft("thread.run.queued", "{}", "run_a")])] * 2
    outcomes = run_async(lambda: together(writer, *works), bells=False)
    assert [entry.seq for entries in outcomes for entry in entries] == [1, 2]
    assert list(Event.objects.values_list("seq", flat=True)) == [1, 2]


def test_who_is_cancelled_does_not_undo_the_work(writer: Writer) -> None:
    async def work() -> None:
        gate = Gate()
        first = asyncio.create_task(writer.run(gate))
        await asyncio.to_thread(gate.busy.wait, PATIENCE_SECONDS)
        second = asyncio.create_task(writer.run(lambda: project("kept")))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        gate.go.set()
        await first
        await writer.run(lambda: None)

    run_async(work)
    assert names() == {"kept"}


def test_many_at_once_lose_nothing(writer: Writer) -> None:
    """Far more than the pace allows, urgent and not, from two loops."""

    async def work(prefix: str) -> None:
        await asyncio.gather(
            *[writer.run(lambda n=n: project(f"{prefix}{n}"), urgent=bool(n % 2)) for n in range(60)]  # type: ignore[misc]
        )

    other = threading.Thread(target=lambda: run_async(lambda: work("b"), bells=False))
    other.start()
    run_async(lambda: work("a"))
    other.join()
    assert names() == {f"{prefix}{n}" for prefix in "ab" for n in range(60)}


def test_stopping_commits_what_waits() -> None:
    writer = Writer()

    async def work() -> None:
        gate = Gate()
        first = asyncio.create_task(writer.run(gate))
        await asyncio.to_thread(gate.busy.wait, PATIENCE_SECONDS)
        waiting = [asyncio.create_task(writer.run(lambda n=n: project(str(n)), urgent=False)) for n in range(3)]  # type: ignore[misc]
        await asyncio.sleep(0)
        stopping = asyncio.create_task(asyncio.to_thread(writer.stop))
        gate.go.set()
        await asyncio.gather(first, stopping)
        assert await asyncio.gather(*waiting) == ["0", "1", "2"]
        with pytest.raises(RuntimeError, match="stopped"):
            await writer.run(lambda: project("late"))

    run_async(work)
    assert names() == {"0", "1", "2"}


def test_a_loop_that_is_gone_does_not_stop_the_writer(writer: Writer) -> None:
    gate = Gate()
    loop = asyncio.new_event_loop()
    with closing(loop):
        task = loop.create_task(writer.run(gate))
        loop.run_until_complete(asyncio.sleep(0))
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    gate.go.set()
    assert run_async(lambda: writer.run(lambda: project("still here"))) == "still here"
