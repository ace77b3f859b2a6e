"""What a run did when, worked out from its events' times and its steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.admin.timeline_bars import TICKS, Axis, Bar, Mark, Work, bars_of, tick_of

ZERO = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return ZERO + timedelta(seconds=seconds)


def marks(*named: tuple[float, str]) -> list[Mark]:
    return [Mark(f"thread.run.{name}", at(seconds)) for seconds, name in named]


def told(bars: list[Bar]) -> list[tuple[str, float, float]]:
    return [(bar.kind, (bar.began - ZERO).total_seconds(), (bar.ended - ZERO).total_seconds()) for bar in bars]


def message(began: float, ended: float | None, status: str = "completed", interrupted: bool = False) -> Work:
    return Work(f"step_{began}", at(began), None if ended is None else at(ended), status, interrupted=interrupted)


def calls(began: float, ended: float | None, *names: str, client: bool = False, status: str = "completed") -> Work:
    return Work(f"step_{began}", at(began), None if ended is None else at(ended), status, names, client)


def test_a_simple_run_waits_asks_and_writes() -> None:
    events = marks((0, "created"), (0, "queued"), (1, "in_progress"), (5, "completed"))
    bars = bars_of(ZERO, events, [message(2, 5)], at(5), at(99))
    assert told(bars) == [("queue", 0, 1), ("model", 1, 5), ("message", 2, 5)]
    assert bars[1].note == "first piece after 1.00 s"
    assert not any(bar.open for bar in bars)


def test_a_search_is_a_tool_between_two_model_calls() -> None:
    events = marks((0, "queued"), (1, "in_progress"), (9, "completed"))
    bars = bars_of(ZERO, events, [calls(2, 3, "file_search"), message(4, 9)], at(9), at(99))
    assert told(bars) == [
        ("queue", 0, 1),
        ("model", 1, 2),
        ("tool", 2, 3),
        ("model", 3, 9),
        ("message", 4, 9),
    ]
    assert [bar.label for bar in bars if bar.kind == "model"] == ["Model call 1", "Model call 2"]


def test_words_before_calls_are_of_the_same_model_call() -> None:
    events = marks((0, "queued"), (1, "in_progress"), (9, "completed"))
    steps = [message(2, 3), calls(3, 5, "file_search"), message(6, 9)]
    assert [bar.kind for bar in bars_of(ZERO, events, steps, at(9), at(99))] == [
        *("queue", "model", "message", "tool", "model", "message")
    ]


def test_the_client_is_waited_for_and_then_the_queue_again() -> None:
    events = marks((0, "queued"), (1, "in_progress"), (3, "requires_action"), (60, "queued"), (61, "in_progress"))
    events += marks((65, "completed"))
    steps = [calls(2, 60, "roar", client=True), message(62, 65)]
    bars = bars_of(ZERO, events, steps, at(65), at(99))
    assert told(bars) == [
        ("queue", 0, 1),
        ("model", 1, 3),
        ("tool", 2, 3),
        ("client", 3, 60),
        ("queue", 60, 61),
        ("model", 61, 65),
        ("message", 62, 65),
    ]
    assert bars[4].label == "Waiting for a runner again"


def test_a_run_under_way_goes_on_until_now() -> None:
    bars = bars_of(ZERO, marks((0, "queued"), (1, "in_progress")), [message(2, None, "in_progress")], None, at(8))
    assert told(bars) == [("queue", 0, 1), ("model", 1, 8), ("message", 2, 8)]
    assert [bar.open for bar in bars] == [False, True, True]


def test_before_its_first_piece_the_model_is_what_it_waits_for() -> None:
    bars = bars_of(ZERO, marks((0, "queued"), (1, "in_progress")), [], None, at(8))
    assert told(bars) == [("queue", 0, 1), ("model", 1, 8)]
    assert bars[-1].open


def test_a_waiting_run_waits_until_now() -> None:
    (bar,) = bars_of(ZERO, marks((0, "created"), (0, "queued")), [], None, at(8))
    assert (bar.kind, bar.open, bar.length) == ("queue", True, timedelta(seconds=8))


def test_a_failure_without_a_word_shows_the_model_call() -> None:
    bars = bars_of(ZERO, marks((0, "queued"), (1, "in_progress"), (4, "failed")), [], at(4), at(99))
    assert told(bars) == [("queue", 0, 1), ("model", 1, 4)]
    assert [bar.failed for bar in bars] == [False, True]


def test_a_takeover_begins_the_step_again() -> None:
    events = marks((0, "queued"), (1, "in_progress"), (9, "completed"))
    steps = [message(2, 4, "failed", interrupted=True), message(5, 9)]
    bars = bars_of(ZERO, events, steps, at(9), at(99))
    assert told(bars) == [
        ("queue", 0, 1),
        ("model", 1, 4),
        ("message", 2, 4),
        ("takeover", 4, 4),
        ("model", 4, 9),
        ("message", 5, 9),
    ]
    assert bars[1].failed
    assert not bars[4].failed


def test_usage_is_summed_over_a_model_calls_steps() -> None:
    steps = [
        Work("a", at(2), at(3), "completed", prompt=0, completion=7),
        Work("b", at(3), at(5), "completed", ("file_search",), prompt=1000, completion=5),
    ]
    bars = bars_of(ZERO, marks((0, "queued"), (1, "in_progress")), steps, None, at(5))
    assert "1,000 in, 12 out" in bars[1].note


seconds = st.floats(0, 1000, allow_nan=False)
names = st.sampled_from(
    ["created", "queued", "in_progress", "requires_action", "cancelling", "completed", "failed", "step.created", "x"]
)
works = st.builds(
    Work,
    st.just("step"),
    seconds.map(at),
    st.one_of(st.none(), seconds.map(at)),
    st.sampled_from(["completed", "failed", "in_progress"]),
    st.sampled_from([(), ("f",), ("f", "g")]),
    st.booleans(),
    st.booleans(),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.lists(st.tuples(seconds, names), max_size=8), st.lists(works, max_size=6), st.one_of(st.none(), seconds.map(at))
)
def test_whatever_the_log_says_bars_lie_on_the_axis(
    events: list[tuple[float, str]], steps: list[Work], ended: datetime | None
) -> None:
    """Clocks of several machines, logs with holes: nothing ends before it begins or leaves the picture."""
    now = at(1000)
    ordered = sorted(steps, key=lambda step: step.began)
    axis = Axis(ZERO, ended or now)
    for bar in bars_of(ZERO, marks(*sorted(events)), ordered, ended, now):
        assert bar.began <= bar.ended
        assert 0 <= axis.percent(bar.began) <= axis.percent(bar.ended) <= 100
        assert axis.width(bar) >= 0


@pytest.mark.parametrize(
    ("length", "step"),
    [(0.004, 0.001), (0.3, 0.1), (4.2, 1), (9, 2), (47, 10), (70, 15), (240, 60), (600, 120), (7000, 1800)],
)
def test_ticks_are_round(length: float, step: float) -> None:
    assert tick_of(length) == pytest.approx(step)


@given(st.floats(0.001, 1e6))
def test_ticks_are_few_and_on_the_axis(length: float) -> None:
    ticks = Axis(ZERO, at(length)).ticks()
    assert ticks[0][0] == 0
    assert 1 <= len(ticks) <= TICKS + 1
    assert all(0 <= place <= 100.01 for place, _ in ticks)
