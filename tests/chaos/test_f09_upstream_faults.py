"""F9: each way in which a model server can fail: the run ends as the contract says, with the right reason, in time, and
the server was asked again only where it had not said a word.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import pytest

from tests.chaos.load import Load, at_most
from tests.chaos.rig import Plan, Rig, conduct

pytestmark = pytest.mark.chaos

ATTEMPTS = 3
IDLE_SECONDS = 2
"""Long enough that no server that only has much to do counts as silent."""


@dataclass(frozen=True, slots=True)
class Owed:
    """How a run must end, by whose model server fails in some way (`owed` in history.py)."""

    status: str = "failed"
    code: str | None = "server_error"
    calls: int = 1
    reason: str | None = None


AGAIN = Owed(calls=ATTEMPTS)
IN_THE_MIDDLE = Owed(reason="run_failed")
RECOVERS = Owed("completed", None, 2)
ANSWERS = Owed("completed", None)
FAULTS = {
    "429": Owed(code="rate_limit_exceeded", calls=ATTEMPTS),
    "500": AGAIN,
    "drop": AGAIN,
    "slow-first:30": AGAIN,
    "error-chunk": AGAIN,
    "400-context": Owed(code="invalid_prompt"),
    "401": Owed(),
    "html": Owed(),
    "huge-line": Owed(),
    "cut": IN_THE_MIDDLE,
    "rst": IN_THE_MIDDLE,
    "stall:3": IN_THE_MIDDLE,
    "garbage": IN_THE_MIDDLE,
    "no-finish": IN_THE_MIDDLE,
    # The upstream counts by the whole name: with a number of their own, the first call of each run fails.
    "429:1:0": RECOVERS,
    "503-then-ok": RECOVERS,
    "empty-once": RECOVERS,
    "no-done": ANSWERS,
    "finish-hangs": ANSWERS,
}


@pytest.mark.parametrize(
    ("database", "times", "at_once"),
    [
        ("sqlite", 2, 19),
        pytest.param("sqlite", 25, 40, marks=pytest.mark.slow),
        pytest.param("postgresql", 25, 40, marks=pytest.mark.slow),
    ],
    ids=["sqlite-short", "sqlite-full", "postgresql-full"],
)
def test_f9_the_model_server_fails(database: str, times: int, at_once: int) -> None:
    async def scenario(rig: Rig) -> None:
        await rig.warm_up(at_once, at_once=at_once)

        async def one(load: Load) -> None:
            rig.injector.note("fault of the model server", mode=load.model)
            await load.work()

        loads = [load_of(rig, mode, owed, number) for number in range(times) for mode, owed in FAULTS.items()]
        await at_most(at_once, one, loads)

    settings = {"KUMOS_UPSTREAM_ATTEMPTS": str(ATTEMPTS), "KUMOS_UPSTREAM_IDLE_SECONDS": str(IDLE_SECONDS)}
    plan = Plan("F9", database, ends=("completed", "failed"), attempts=ATTEMPTS, settings=settings)
    conduct(plan, scenario)


def load_of(rig: Rig, mode: str, owed: Owed, number: int) -> Load:
    model = f"{mode}:{number}" if owed is RECOVERS else mode
    streamed = number % 3 == 0
    how = {"subscribers": 2, "sdk_every": 0, "posted_every": int(streamed), "after_accept": rig.owing(**asdict(owed))}
    return rig.load(1, model=model, mark=f"{mode} {number}", **how)
