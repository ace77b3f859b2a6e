"""Time goes on, whatever becomes of the system's clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from assistants import clock

SECOND = 1_000_000_000


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What the system's clock says, in nanoseconds: its only entry."""
    says = [1_900_000_000 * SECOND]
    monkeypatch.setattr(clock, "_last", 0)
    monkeypatch.setattr("time.time_ns", lambda: says[0])
    return says


def test_no_moment_comes_twice(set_clock: list[int]) -> None:
    moments = [clock.now() for _ in range(3)]
    assert sorted(set(moments)) == moments


def test_a_clock_that_is_adjusted_does_not_turn_the_order_round(set_clock: list[int]) -> None:
    before = clock.now()
    set_clock[0] -= SECOND
    assert clock.now() > before


def test_a_clock_that_was_wrong_is_followed_back(set_clock: list[int]) -> None:
    """Leases and time limits would stand still for the whole day otherwise."""
    right = clock.now()
    set_clock[0] += 86_400 * SECOND
    clock.now()
    set_clock[0] -= 86_400 * SECOND
    assert clock.now() - right < timedelta(seconds=1)
    set_clock[0] += 30 * SECOND
    assert clock.now() - right >= timedelta(seconds=30)
