"""F25: what was answered with 2xx is on the disk, before the first byte of the answer.

On SQLite the system calls of the server are read: between the last write to the write-ahead log and each answer, that
log was synced. On PostgreSQL the commit has to wait for its log (`synchronous_commit`, `fsync`), and after each answer
the whole cluster is killed: everything that was answered is there when it comes back.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.chaos.rig import Plan, Rig, conduct
from tests.chaos.servers import AUTHORISED
from tests.chaos.wire import Lost, ask

pytestmark = pytest.mark.chaos

ALONE = {"KUMOS_LEASE_SECONDS": "3000", "KUMOS_BEAT_SECONDS": "1000", "KUMOS_SWEEP_SECONDS": "1000"}
"""Nobody but the requests writes: whose sync it is that an answer waits for, no trace could tell."""
CREATES = [20, pytest.param(100, marks=pytest.mark.slow)]
CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?[\d.]+ (?P<name>\w+)\(\d+<(?P<file>[^>]*)>(?P<rest>.*)")
"""A line of `strace -f -ttt -y`: who, when, and what was called with which file."""


@dataclass(slots=True)
class Synced:
    """Reads the calls in their order and counts the answers that came too early."""

    answers: int = 0
    syncs: int = 0
    early: int = 0
    _written: bool = False

    def read(self, lines: Iterable[str]) -> None:
        for line in lines:
            call = CALL.match(line)
            if call is None:
                continue
            name, file = call["name"], call["file"]
            if file.endswith("-wal"):
                if name.startswith(("write", "pwrite")):
                    self._written = True
                elif name in ("fsync", "fdatasync"):
                    self.syncs += 1
                    self._written = False
            elif "HTTP/1.1 200" in call["rest"] and file.startswith(("socket:", "TCP")):
                self.answers += 1
                self.early += self._written


@asynccontextmanager
async def watched(pid: int, to: Path) -> AsyncIterator[None]:
    """The system calls of the process are written down, from when strace has it until it is told to stop."""
    calls = "trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg"
    process = subprocess.Popen(  # noqa: ASYNC220
        ["strace", "-f", "-ttt", "-y", "-s", "40", "-e", calls, "-o", str(to), "-p", str(pid)],
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    said = await asyncio.to_thread(process.stderr.readline)
    assert b"attached" in said, said
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.wait)
        process.stderr.close()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
@pytest.mark.parametrize("creates", CREATES)
def test_f25_on_sqlite_the_log_is_synced_before_each_answer(creates: int) -> None:
    seen = Synced()

    async def scenario(rig: Rig) -> None:
        (server,) = rig.fleet.servers
        trace = rig.history.directory / "calls"
        async with watched(server.pid, trace):
            for number in range(creates):
                answer = await ask(server.address, "POST", "/v1/threads", AUTHORISED, {"metadata": {"n": str(number)}})
                assert answer.status == 200
        with trace.open(errors="replace") as lines:
            seen.read(lines)
        await rig.load(4, sdk_every=0).work()

    conduct(
        Plan("F25", "sqlite", settings=ALONE),
        scenario,
        bites=lambda row: seen.answers == creates and seen.syncs >= creates,
    )
    assert seen.early == 0


def test_a_trace_without_a_sync_is_found() -> None:
    """The reader of system calls itself."""
    lines = [
        '7 1700000000.000001 pwrite64(9</data/kumos.sqlite3-wal>, "\\0"..., 24, 0) = 24',
        "7 1700000000.000002 fdatasync(9</data/kumos.sqlite3-wal>) = 0",
        '7 1700000000.000003 sendto(5<socket:[77]>, "HTTP/1.1 200 OK\\r\\n"..., 300, 0, NULL, 0) = 300',
    ]
    whole, broken = Synced(), Synced()
    whole.read(lines)
    broken.read([lines[0], lines[2]])
    assert (whole.answers, whole.early) == (1, 0)
    assert (broken.answers, broken.early) == (1, 1)


# A cluster needs some seconds after each kill, so the full form has 80 of them, not 100.
@pytest.mark.parametrize("creates", [4, pytest.param(80, marks=pytest.mark.slow)])
def test_f25_on_postgresql_an_answer_outlives_the_cluster(creates: int) -> None:
    async def scenario(rig: Rig) -> None:
        assert rig.postgres is not None
        postgres, made = rig.postgres, []
        with psycopg.connect(rig.postgres.url) as connection:
            for setting in ("synchronous_commit", "fsync", "full_page_writes"):
                assert connection.execute(f"SHOW {setting}").fetchone() == ("on",)
        for number in range(creates):
            while True:
                try:
                    answer = await ask(rig.addresses[0], "POST", "/v1/threads", AUTHORISED, {})
                except Lost:
                    continue
                if answer.status == 200:
                    break
                await asyncio.sleep(0.05)
            await asyncio.to_thread(postgres.kill)
            rig.injector.note("postgresql killed", after=number)
            made.append(answer.object["id"])
            await asyncio.to_thread(postgres.start)
        there = {row["id"] for row in rig.database.rows("SELECT id FROM assistants_thread")}
        assert there >= set(made)
        await rig.load(4, sdk_every=0).work()

    plan = Plan("F25", "postgresql", refusals=(500, 503))
    conduct(plan, scenario, bites=lambda row: row.injections >= creates)
