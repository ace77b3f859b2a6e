"""A worker is gone in the middle of a function that the server carries out: what has an effect is not done twice."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from assistants.clock import now
from runs import queue, recovery
from runs.executor import Executor, Stop
from runs.models import Run
from runs.tools import function_tool, python
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.loops import until
from tests.runs.conftest import GET_WEATHER, ask
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import Live, check, data_of, live, names, worked
from tests.runs.test_functions import outputs, tool

pytestmark = pytest.mark.django_db(transaction=True)


class Bank:
    """Functions with an effect. The call that pays `stuck` does not return until the test says so."""

    def __init__(self) -> None:
        self.paid: list[str] = []
        self.looked = 0
        self.begun, self.go_on = threading.Event(), threading.Event()

    def enter(self, *, idempotent: bool = False) -> None:
        @function_tool(idempotent=idempotent)
        def pay(to: str) -> str:
            self.paid.append(to)
            if to == "stuck" and not self.go_on.is_set():
                self.begun.set()
                self.go_on.wait(60)
            return f"paid {to}"

        @function_tool(idempotent=True)
        def balance() -> int:
            self.looked += 1
            return 7


@pytest.fixture
def bank() -> Iterator[Bank]:
    before = dict(python.functions)
    bank = Bank()
    yield bank
    bank.go_on.set()
    python.functions.clear()
    python.functions.update(before)


TOOLS = [tool("pay"), tool("balance"), GET_WEATHER]


def taken_over(run: Run, writer: Writer, bank: Bank) -> Run:
    """Executed by a worker that stands still in the call `stuck`, until another takes the run over and ends it."""

    async def work(live: Live) -> None:
        first = await live.start()
        await until(bank.begun.is_set)
        await asyncio.to_thread(lapse, run)
        second = await writer.run(lambda: queue.claim_one(Run.objects.get(pk=run.pk), "worker_b"))
        assert second is not None
        await Executor(second, writer).execute()
        bank.go_on.set()
        await first  # it is fenced, and writes nothing more

    return live(run, writer, work)


def lapse(run: Run) -> None:
    Run.objects.filter(pk=run.pk).update(lease_until=now() - timedelta(seconds=1))


def told(model: Model) -> list[Any]:
    return [one["content"] for one in model.requests[-1]["messages"] if one["role"] == "tool"]


def pay(to: str, index: int = 0) -> list[dict[str, Any]]:
    return call("pay", f'{{"to": "{to}"}}', id=f"call_{to}", index=index)


def test_a_call_that_has_begun_is_not_repeated(alice: ApiClient, model: Model, writer: Writer, bank: Bank) -> None:
    bank.enter()
    model.will("Paying.", pay("stuck"), finish="tool_calls")
    model.will("I do not know whether it was paid.")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)
    ended = taken_over(run, writer, bank)
    assert (ended.status, bank.paid) == ("completed", ["stuck"])
    assert outputs(run) == told(model) == [recovery.UNKNOWN]
    assert "interrupted, outcome unknown" in recovery.UNKNOWN
    assert "thread.run.step.failed" not in names(run)
    assert len(model.requests) == 2, "the model is not asked for the same again"
    steps = list(run.steps.order_by("created_at"))
    assert [step.status for step in steps] == ["completed"] * 3
    assert sum(step.usage["total_tokens"] for step in steps[:2] if step.usage) == USAGE["total_tokens"]
    assert steps[1].begun is None
    check(alice, run)


def test_one_that_may_be_repeated_is(alice: ApiClient, model: Model, writer: Writer, bank: Bank) -> None:
    bank.enter(idempotent=True)
    model.will(pay("stuck"), finish="tool_calls")
    model.will(pay("again"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)
    assert taken_over(run, writer, bank).status == "completed"
    assert bank.paid == ["stuck", "again"]
    assert [step.status for step in run.steps.filter(type="tool_calls").order_by("created_at")] == [
        "failed",
        "completed",
    ]
    assert told(model) == ["paid again"]
    check(alice, run)


def test_what_was_done_before_is_kept_and_what_was_not_is_said(
    alice: ApiClient, model: Model, writer: Writer, bank: Bank
) -> None:
    """What may be repeated goes first, whatever the model's order: so it is kept as well."""
    bank.enter()
    weather, balance = call("get_weather", "{}", index=0), call("balance", "{}", index=4)
    model.will(weather, pay("one", 1), pay("stuck", 2), pay("three", 3), balance, finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)
    assert taken_over(run, writer, bank).status == "completed"
    assert (bank.paid, bank.looked) == (["one", "stuck"], 1)
    not_made = recovery.NOT_MADE
    assert outputs(run) == told(model) == [not_made, "paid one", recovery.UNKNOWN, not_made, "7"]
    check(alice, run)


def test_a_run_that_was_handed_back_is_no_different(alice: ApiClient, model: Model, writer: Writer, bank: Bank) -> None:
    bank.enter()
    model.will(pay("stuck"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)

    async def work(live: Live) -> None:
        first = await live.start()
        await until(bank.begun.is_set)
        live.executor.stop(Stop.HANDED_BACK)
        await first

    assert live(run, writer, work).status == "in_progress"
    assert worked(run, writer).status == "completed"
    assert (bank.paid, told(model)) == (["stuck"], [recovery.UNKNOWN])
    check(alice, run)


def test_a_run_that_is_cancelled_shows_what_was_done(
    alice: ApiClient, model: Model, writer: Writer, bank: Bank
) -> None:
    bank.enter()
    model.will(pay("one"), pay("stuck", 1), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)

    async def work(live: Live) -> None:
        first = await live.start()
        await until(bank.begun.is_set)
        await asyncio.to_thread(alice.make, f"/threads/{run.thread_id}/runs/{run.pk}/cancel")
        live.executor.stop(Stop.CANCELLED)
        await first

    assert live(run, writer, work).status == "cancelled"
    assert outputs(run) == ["paid one", None]
    check(alice, run)


def test_one_that_waits_for_its_client_keeps_what_was_done_when_it_is_cancelled(
    alice: ApiClient, model: Model, writer: Writer, bank: Bank
) -> None:
    bank.enter()
    model.will(pay("one"), call("get_weather", "{}", index=1), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)
    assert worked(run, writer).status == "requires_action"
    check(alice, run)
    assert alice.make(f"/threads/{run.thread_id}/runs/{run.pk}/cancel")["status"] == "cancelled"
    assert outputs(run) == ["paid one", None]
    check(alice, run)


def test_nothing_begins_in_a_run_that_is_to_be_cancelled(
    alice: ApiClient, model: Model, writer: Writer, bank: Bank
) -> None:
    """The note of what begins is fenced, as every write is."""
    bank.enter()
    speak = threading.Event()
    model.will(pay("one"), speak, finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=TOOLS)

    async def work(live: Live) -> None:
        first = await live.start()
        await live.until("thread.run.step.delta")
        await asyncio.to_thread(alice.make, f"/threads/{run.thread_id}/runs/{run.pk}/cancel")
        speak.set()
        await first

    assert live(run, writer, work).status == "cancelled"
    assert bank.paid == []
    (step,) = data_of(run, "thread.run.step.cancelled")
    assert step["step_details"]["tool_calls"][0]["function"]["output"] is None
    check(alice, run)
