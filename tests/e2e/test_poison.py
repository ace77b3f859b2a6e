"""A run that kills whoever works on it takes nobody with it: it alone fails, in the end in a process of its own."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.databases import Database, Postgresql, Sqlite
from tests.e2e.events import Desk
from tests.e2e.holders import holder_pid
from tests.lanes import on_postgres
from tests.loops import PATIENCE_SECONDS
from tests.process import KumosProcess
from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

CRASH_CAP = 3
NEIGHBOURS = 6
CRASHES = "SELECT crash_attempts FROM runs_run WHERE id <> '{}'"


def test_a_run_that_kills_its_process_fails_and_its_neighbours_do_not(tmp_path: Path) -> None:
    settings = {
        "KUMOS_CRASH_CAP": str(CRASH_CAP),
        "KUMOS_LEASE_SECONDS": "1000",  # who is dead is known by the locks
        "KUMOS_BEAT_SECONDS": "1",
    }
    with Upstream() as up, KumosProcess(tmp_path, OPENAI_BASE_URL=up.base_url, **settings) as server:
        database: Database = Postgresql(server.database_url) if on_postgres() else Sqlite(tmp_path)
        with Desk(server) as desk:
            neighbours = [desk.ask("Hello", model="gated:40") for _ in range(NEIGHBOURS)]
            poison = desk.ask("Die", model="stall")
            deaths = kill_whoever_has_it(server, database, desk, poison, on_last_chance=lambda: up.release(10_000))
            ends = [desk.ended(path) for path in [*neighbours, poison]]
    assert [run["status"] for run in ends] == ["completed"] * NEIGHBOURS + ["failed"]
    assert ends[-1]["last_error"]["code"] == "server_error"
    assert deaths == [True] * (CRASH_CAP - 1) + [False], "the last one was a process of its own"
    assert all(row["crash_attempts"] < CRASH_CAP for row in database.rows(CRASHES.format(poison.rsplit("/", 1)[1])))


def kill_whoever_has_it(
    server: KumosProcess, database: Database, desk: Desk, path: str, on_last_chance: Callable[[], None]
) -> list[bool]:
    """Until the run is over. For each death, whether it was the server, which is started again."""
    deaths: list[bool] = []
    killed: set[int] = set()
    give_up_at = time.monotonic() + 2 * PATIENCE_SECONDS
    while desk.get(path)["status"] != "failed":
        assert time.monotonic() < give_up_at, server.output()
        pid = holder_pid(database, path)
        if pid is not None and pid not in killed:
            killed.add(pid)
            deaths.append(pid == server.pid)
            if deaths[-1]:
                server.kill()
                if len(deaths) == CRASH_CAP - 1:
                    on_last_chance()
                server.start()
            else:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    return deaths
