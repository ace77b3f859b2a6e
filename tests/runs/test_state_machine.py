"""Any order of what clients, workers, crashes, zombies, sweeps and compaction can do (reliability: I2–I7, I9, P2).

The real functions on the real database, without HTTP, beside the model in pure.py. After each step the database must
be where the model is, and the events that the step told, added to what a listener knew, must give what a GET returns.
`-m slow` is the long form.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from django.conf import settings as django_settings
from django.db import connection, transaction
from django.test import override_settings
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from assistants import conversation
from assistants.clock import now
from assistants.models import Message, Project, Thread
from runs import progress, queue, transitions
from runs.models import Run
from runs.progress import CancelRequested, Fenced
from runs.story import Piece
from runs.transitions import usage_of
from streaming import journal, retention
from streaming.models import DELTAS, TERMINAL_RUN_EVENTS, EndedRun, Event
from tests.fold import fold
from tests.runs.fetched import comparable, fetched
from tests.runs.handles import Handle, in_savepoint, refused
from tests.runs.pure import ACTIVE, HELD, Outcome, PureRun
from tests.runs.reader import Reader

pytestmark = pytest.mark.django_db

WORKERS = ("worker_a", "worker_b")
PICK = st.integers(0, 999)
TEXTS = ("a", "bc ", "ü", "\u2028")
QUESTION: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": {"value": "Hi", "annotations": []}}]}


class Lives(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.project = Project.objects.create(name="Atlas")
        self.threads: list[Thread] = []
        self.runs: dict[str, PureRun] = {}
        self.handles: list[Handle] = []
        self.readers: list[Reader] = []
        self.known: dict[str, dict[str, dict[str, Any]]] = {}
        self.told: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.compared: dict[str, tuple[Any, ...]] = {}
        self.compacted: set[str] = set()
        self.drop = False

    @initialize(mode=st.sampled_from(["restart_step"] * 3 + ["fail"]))
    def begin(self, mode: str) -> None:
        self.override = override_settings(INTERRUPTED_RUN=mode, KUMOS_CRASH_CAP=3)
        self.override.enable()
        for _ in range(2):
            self.new_thread()
        self.new_run(0)
        self.claim("worker_a", 1)
        self.new_run(1)

    def teardown(self) -> None:
        if hasattr(self, "override"):
            self.override.disable()
        self.project.delete()

    @rule(
        what=st.sampled_from(["new_run"] * 3 + ["submit"] * 2 + ["cancel", "get", "new_message", "renew_thread"]),
        pick=PICK,
    )
    def client(self, what: str, pick: int) -> None:
        getattr(self, what)(pick)

    @rule(what=st.sampled_from(["speak"] * 3 + ["call", "finish", "finish"]), pick=PICK)
    def worker_goes_on(self, what: str, pick: int) -> None:
        self.with_handle(what, pick)

    @rule(
        what=st.sampled_from(["speak", "call", "finish", "break_off", "obey_the_cancel", "hand_back", "beat"]),
        pick=PICK,
    )
    def worker(self, what: str, pick: int) -> None:
        self.with_handle(what, pick)

    def with_handle(self, what: str, pick: int) -> None:
        """By a worker that has an active run or once had it, zombies included; now and then by any other."""
        runs = [self.runs.get(handle.run.pk) for handle in self.handles]
        pairs = [(handle, run) for handle, run in zip(self.handles, runs, strict=True) if run and run.status in ACTIVE]
        zombies = [handle for handle, run in pairs if run.epoch != handle.run.epoch and run.status in HELD]
        choices = (zombies, self.handles, *[[handle for handle, _ in pairs]] * 4)
        handles = choices[pick % len(choices)]
        if handles:
            getattr(self, what)(handles[pick % len(handles)], pick)

    @rule(what=st.sampled_from(["take_over"] * 4 + ["crash", "time_passes", "sweep", "compact"]), pick=PICK)
    def trouble(self, what: str, pick: int) -> None:
        getattr(self, what)(pick)

    @rule(what=st.sampled_from(["subscribe", "reconnect", "read", "read", "lose_the_next_hints"]), pick=PICK)
    def reader(self, what: str, pick: int) -> None:
        getattr(self, what)(pick)

    # What clients do --------------------------------------------------------------------------------------------------

    def new_thread(self) -> None:
        thread = conversation.create_thread(self.project, {"messages": [QUESTION]})
        self.threads.append(thread)
        self.known[thread.pk], self.told[thread.pk] = {}, 0

    def new_message(self, pick: int) -> None:
        thread = self.thread(pick)
        active = any(run.status in ACTIVE for run in self.of(thread))
        with refused(active):
            conversation.add_message(thread, QUESTION)

    def new_run(self, pick: int) -> None:
        thread = self.thread(pick)
        active = [run for run in self.of(thread) if run.status in ACTIVE]
        for run in active:
            run.look()
        made = Run(project=self.project, thread=thread, assistant_id="asst_a", model="scripted", instructions="Hi.")
        with refused(any(run.status in ACTIVE for run in active)):
            transitions.create_run(thread, made)
            self.runs[made.pk] = PureRun(thread.pk, len(self.runs))

    def cancel(self, pick: int) -> None:
        if not self.runs:
            return
        id, run = self.any_run(pick)
        run.look()
        shown = transitions.expire_overdue(Run.objects.get(pk=id))
        with refused(not run.cancel()):
            transitions.cancel_run(shown)

    def submit(self, pick: int) -> None:
        how = ("right", "right", "partial", "wrong", "double")[pick % 5]
        waiting = [(id, run) for id, run in self.runs.items() if run.status == "requires_action"]
        if not waiting:
            return
        id, run = waiting[pick % len(waiting)]
        shown = transitions.expire_overdue(Run.objects.get(pk=id))
        run.look()
        action = shown.required_action or {"submit_tool_outputs": {"tool_calls": [{"id": "call_x"}]}}
        asked = [call["id"] for call in action["submit_tool_outputs"]["tool_calls"]]
        outputs = [{"tool_call_id": id, "output": "rain"} for id in asked]
        outputs = {"partial": outputs[1:], "wrong": [{"tool_call_id": "call_y", "output": ""}]}.get(how, outputs)
        bad = run.status != "requires_action" or how in ("partial", "wrong")
        with refused(bad):
            transitions.submit_tool_outputs(shown, outputs)
            run.status = "queued"
        if how == "double" and not bad:
            with refused(True):
                transitions.submit_tool_outputs(shown, outputs)

    def get(self, pick: int) -> None:
        if not self.runs:
            return
        id, run = self.any_run(pick)
        run.look()
        assert transitions.expire_overdue(Run.objects.get(pk=id)).status == run.status

    def renew_thread(self, pick: int) -> None:
        thread = self.thread(pick)
        self.threads.remove(thread)
        self.runs = {id: run for id, run in self.runs.items() if run.thread != thread.pk}
        self.readers = [reader for reader in self.readers if reader.watched.thread_id != thread.pk]
        thread.delete()
        self.new_thread()

    # What workers do --------------------------------------------------------------------------------------------------

    @rule(worker=st.sampled_from(WORKERS), limit=st.integers(1, 3))
    def claim(self, worker: str, limit: int) -> None:
        fail = django_settings.INTERRUPTED_RUN == "fail"
        aged = sorted(self.runs, key=lambda id: self.runs[id].age)
        abandoned = [id for id in aged if self.runs[id].status in HELD and self.runs[id].lease != "held"]
        interrupted = [id for id in abandoned if not self.runs[id].on_last_chance]
        queued = [id for id in aged if self.runs[id].status == "queued"]
        expected: list[str] = []
        for id in [*interrupted[:limit], *queued[:limit]]:
            if len(expected) < limit and self.runs[id].claimed(worker, fail=fail):
                expected.append(id)
        claimed = queue.claim(worker, limit)
        assert [run.pk for run in claimed] == expected
        self.handles += [Handle(run) for run in claimed]

    @rule(worker=st.sampled_from(WORKERS), pick=PICK)
    def claim_alone(self, worker: str, pick: int) -> None:
        fail = django_settings.INTERRUPTED_RUN == "fail"
        aged = sorted(self.runs, key=lambda id: self.runs[id].age)
        waiting = [id for id in aged if self.runs[id].on_last_chance]
        assert queue.on_last_chance(100) == waiting
        if waiting:
            id = waiting[pick % len(waiting)]
            expected = self.runs[id].claimed(worker, fail=fail)
            claimed = queue.claim_alone(worker, id)
            assert (claimed is not None) == expected
            self.handles += [Handle(claimed)] if claimed else []

    def speak(self, handle: Handle, pick: int) -> None:
        text = TEXTS[pick % len(TEXTS)]
        if handle.step is not None:
            entry = {"index": 0, "type": "function", "function": {"arguments": text}}
            self.report(handle, lambda: progress.report_calls(handle.run, handle.step.pk, [entry]))  # type: ignore[union-attr]
        elif handle.message is None:
            self.report(handle, lambda: self.open(handle, text))
        else:
            id = handle.message.message.pk
            work = lambda: progress.say(handle.run, id, [Piece(text)], first=False, annotations=0)  # noqa: E731
            if self.report(handle, work) == "done":
                self.runs[handle.run.pk].said[id] += text

    def open(self, handle: Handle, text: str) -> None:
        handle.message = progress.open_message(handle.run, [Piece(text)])
        self.runs[handle.run.pk].said[handle.message.message.pk] = text

    def call(self, handle: Handle, pick: int) -> None:
        if handle.message or handle.step:
            return

        def work() -> None:
            handle.calls += 1
            opening = {"index": 0, **function(f"call_{handle.calls}", "")}
            handle.step = progress.open_tool_step(handle.run, [opening])

        self.report(handle, work)

    def finish(self, handle: Handle, pick: int) -> None:
        """The open step; with it the run, or not."""
        whole = pick % 2 == 0
        run = self.runs.get(handle.run.pk)
        if handle.step is not None:
            output = None if whole else "Error"
            called = [function(f"call_{handle.calls}", self.arguments(handle), output)]
            report = progress.require_action if whole else progress.finish_tool_step
            outcome = self.report(handle, lambda: report(handle.run, handle.step, called, {}, usage_of(2, 1)))  # type: ignore[arg-type]
            if outcome == "done" and whole:
                run.wait()  # type: ignore[union-attr]
        else:
            if handle.message is None:
                return
            said = run.said.get(handle.message.message.pk, "") if run else ""
            content = [{"type": "text", "text": {"value": said, "annotations": []}}]
            ending = progress.complete if whole else progress.finish_message
            outcome = self.report(handle, lambda: ending(handle.run, handle.message, content, usage_of(3, 2)))  # type: ignore[arg-type]
            if outcome == "done" and whole:
                run.end("completed")  # type: ignore[union-attr]
        if outcome == "done":
            handle.message = handle.step = None

    def arguments(self, handle: Handle) -> str:
        deltas = Event.objects.filter(run_id=handle.run.pk, name="thread.run.step.delta").order_by("seq")
        step = fold([Event(name="", data=f'{{"object":"thread.run.step","id":"{handle.step.pk}","step_details":'  # type: ignore[union-attr]
                           '{"tool_calls":[]}}'), *[d for d in deltas if handle.step.pk in d.data]])  # type: ignore[union-attr]  # fmt: skip
        (shown,) = step.values()
        return "".join(call["function"]["arguments"] for call in shown["step_details"]["tool_calls"])

    def break_off(self, handle: Handle, pick: int) -> None:
        how = ("failed", "incomplete", "expired")[pick % 3]
        works: dict[str, Callable[[], None]] = {
            "failed": lambda: progress.fail(handle.run, "server_error", "No."),
            "incomplete": lambda: progress.stop_short(handle.run, "max_completion_tokens", "max_tokens", None),
            "expired": lambda: progress.expire(handle.run),
        }
        run = self.runs.get(handle.run.pk)
        expiring = how == "expired" and run is not None and run.status == "cancelling"
        if self.report(handle, works[how], also_cancelling=expiring) == "done":
            self.runs[handle.run.pk].end(how)

    def obey_the_cancel(self, handle: Handle, pick: int) -> None:
        run = self.runs.get(handle.run.pk)
        if run is None or run.status != "cancelling" or run.epoch != handle.run.epoch:
            with transaction.atomic(), pytest.raises(Fenced):
                in_savepoint(lambda: progress.cancel(handle.run))
        else:
            in_savepoint(lambda: progress.cancel(handle.run))
            run.end("cancelled")

    def report(self, handle: Handle, work: Callable[[], Any], *, also_cancelling: bool = False) -> Outcome:
        """Does `work` as the writer does; it must come to what the model says. What is fenced writes nothing."""
        run = self.runs.get(handle.run.pk)
        outcome: Outcome = "fenced" if run is None else run.attempt(handle.run.epoch)
        if outcome == "cancel" and also_cancelling:
            outcome = "done"
        before = journal.last_seqs([handle.run.thread_id])
        if outcome == "done":
            in_savepoint(work)
            return outcome
        with pytest.raises(Fenced if outcome == "fenced" else CancelRequested):
            in_savepoint(work)
        assert journal.last_seqs([handle.run.thread_id]) == before
        return outcome

    def hand_back(self, handle: Handle, pick: int) -> None:
        queue.release(handle.run)
        run = self.runs.get(handle.run.pk)
        if run and run.epoch == handle.run.epoch and run.status in HELD:
            run.lease = run.worker = ""

    def beat(self, handle: Handle, pick: int) -> None:
        """Of all runs that the worker ever had: zombies beat, too."""
        worker = handle.run.worker_id
        mine = {handle.run.pk: handle.run for handle in self.handles if handle.run.worker_id == worker}
        pulse = queue.beat(worker, list(mine.values()))
        for id, held in mine.items():
            run = self.runs.get(id)
            is_held = run is not None and run.epoch == held.epoch and run.status in HELD and run.worker == worker
            assert (id in pulse.lost) == (not is_held)
            assert (id in pulse.cancelled) == (is_held and run is not None and run.status == "cancelling")
            if is_held and run is not None:
                run.lease = "held"

    # What happens -----------------------------------------------------------------------------------------------------

    def crash(self, pick: int) -> None:
        """Its leases run out. What it remembers stays: it may only have been paused."""
        holders = [run.worker for run in self.runs.values() if run.lease == "held"]
        worker = holders[pick % len(holders)] if holders else ""
        past = now() - timedelta(seconds=1)
        Run.objects.filter(worker_id=worker, lease_until__isnull=False).update(lease_until=past)
        for run in self.runs.values():
            if run.worker == worker and run.lease:
                run.lease = "over"

    def take_over(self, pick: int) -> None:
        """Another has its runs now, and what it remembers makes it a zombie."""
        self.crash(pick)
        self.claim(WORKERS[pick % 2], 3)

    def time_passes(self, pick: int) -> None:
        if not self.runs:
            return
        id, run = self.any_run(pick)
        run.overdue = True
        Run.objects.filter(pk=id).update(expires_at=now() - timedelta(seconds=1))

    def sweep(self, pick: int) -> None:
        queue.sweep()
        for run in self.runs.values():
            run.look()

    def compact(self, pick: int) -> None:
        EndedRun.objects.update(ended_at=now() - timedelta(days=1))
        over = {id for id, run in self.runs.items() if run.status not in ACTIVE}
        assert set(EndedRun.objects.values_list("pk", flat=True)) == over - self.compacted
        events = Event.objects.filter(thread__in=self.threads).order_by("thread", "seq")
        kept = list(events.exclude(run_id__in=over, name__in=DELTAS))
        retention.compact()
        assert list(events) == kept
        self.compacted |= over

    # Readers ----------------------------------------------------------------------------------------------------------

    def subscribe(self, pick: int) -> None:
        if len(self.readers) < 4:
            self.readers.append(Reader(self.thread(pick).pk))

    def reconnect(self, pick: int) -> None:
        if self.readers:
            self.readers[pick % len(self.readers)].reconnect()

    def lose_the_next_hints(self, pick: int) -> None:
        self.drop = True

    def read(self, pick: int) -> None:
        if self.readers:
            self.readers[pick % len(self.readers)].read()

    # What always holds ------------------------------------------------------------------------------------------------

    @invariant()
    def the_database_is_where_the_model_is(self) -> None:
        rows = list(Run.objects.filter(project=self.project))
        assert {run.pk: (run.status, run.epoch, run.crash_attempts) for run in rows} == {
            id: (run.status, run.epoch, run.crashes) for id, run in self.runs.items()
        }
        for run in rows:
            assert run.epoch >= self.epochs.get(run.pk, 0)
            self.epochs[run.pk] = run.epoch
        for thread in Thread.objects.filter(project=self.project):
            active = [run.pk for run in rows if run.thread_id == thread.pk and run.status in ACTIVE]
            assert active == ([thread.active_run_id] if thread.active_run_id else [])

    @invariant()
    def the_log_is_whole_and_adds_up(self) -> None:
        lasts = journal.last_seqs([thread.pk for thread in self.threads])
        for thread in self.threads:
            told, last = self.told[thread.pk], lasts[thread.pk]
            state = (last, *((run.status, run.epoch) for run in self.of(thread)))
            if state == self.compared.get(thread.pk):
                continue
            self.compared[thread.pk] = state
            new = list(Event.objects.filter(thread=thread, seq__gt=told).order_by("seq"))
            assert [event.seq for event in new] == list(range(told + 1, last + 1))
            self.told[thread.pk] = max(told, last)
            known = self.known[thread.pk] = fold(new, self.known[thread.pk])
            assert comparable(known) == comparable(fetched(thread))
            self.check_ends(thread)
            for reader in self.readers:
                if reader.thread_id == thread.pk and not self.drop:
                    reader.hear(new)
            self.drop = self.drop and not new

    def check_ends(self, thread: Thread) -> None:
        """Each run ends once and last, and with the texts that were streamed; what goes on keeps its deltas."""
        names: dict[str, list[str]] = {}
        for id, name in Event.objects.filter(thread=thread).order_by("seq").values_list("run_id", "name"):
            names.setdefault(id, []).append(name)
        for id, run in self.runs.items():
            if run.thread == thread.pk:
                ends = [name for name in names[id] if name in TERMINAL_RUN_EVENTS]
                assert ends == ([] if run.status in ACTIVE else [f"thread.run.{run.status}"])
                assert not ends or names[id][-1] == ends[0]
        said = {id: text for run in self.of(thread) for id, text in run.said.items()}
        for message in Message.objects.filter(thread=thread, pk__in=said).exclude(status="in_progress"):
            assert message.text == said[message.pk]

    # The model's own --------------------------------------------------------------------------------------------------

    def thread(self, pick: int) -> Thread:
        return self.threads[pick % len(self.threads)]

    def of(self, thread: Thread) -> list[PureRun]:
        return [run for run in self.runs.values() if run.thread == thread.pk]

    def any_run(self, pick: int) -> tuple[str, PureRun]:
        return list(self.runs.items())[pick % len(self.runs)]


def function(id: str, arguments: str, output: str | None = None) -> dict[str, Any]:
    return {
        "id": id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments, "output": output},
    }


def lives(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Lives,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
        ),
    )


def test_any_order_of_events_is_a_life_of_the_model() -> None:
    lives(80 if connection.vendor == "sqlite" else 30, 30)  # PostgreSQL takes far longer for each


@pytest.mark.slow
def test_any_order_of_events_is_a_life_of_the_model_in_many_longer_lives() -> None:
    lives(2_000, 50)
