"""The servers that tests start: they come back with their data, and they end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
import redis

from tests import reaper
from tests.backends import Postgres, Redis, has_redis, postgres_programs
from tests.loops import PATIENCE_SECONDS
from tests.process import ROOT

needs_postgres = pytest.mark.skipif(postgres_programs() is None, reason="PostgreSQL is not installed")
needs_redis = pytest.mark.skipif(not has_redis(), reason="Redis is not installed")


def wait_for(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


@needs_postgres
def test_postgres_keeps_what_was_committed() -> None:
    with Postgres() as server:
        with psycopg.connect(server.url) as connection:
            connection.execute("CREATE TABLE kept (number int)")
        for number, go in enumerate([server.stop, server.kill]):
            with psycopg.connect(server.url, autocommit=True) as held:
                held.execute("INSERT INTO kept VALUES (%s)", [number])
                go()
                server.start()
                with pytest.raises(psycopg.OperationalError):
                    held.execute("SELECT 1")
        with psycopg.connect(server.url) as connection:
            assert connection.execute("SELECT number FROM kept ORDER BY number").fetchall() == [(0,), (1,)]
    assert not server.folder.exists()


@needs_postgres
def test_a_frozen_postgres_answers_when_it_thaws() -> None:
    with Postgres(fast=True) as server, psycopg.connect(server.url) as connection:
        server.freeze()
        assert not server.answers()
        server.thaw()
        assert connection.execute("SELECT 1").fetchone() == (1,)


@needs_redis
def test_redis_comes_back() -> None:
    with Redis() as server, redis.Redis(port=server.port) as client:
        client.set("word", "x")
        server.kill()
        assert not server.answers()
        server.start()
        assert client.get("word") is None
        server.restart()
        assert client.ping()
    assert not server.folder.exists()


@needs_postgres
@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_a_server_ends_with_whoever_started_it(frozen: bool) -> None:
    code = "from tests.backends import Postgres; server = Postgres(fast=True); server.start(); "
    code += "frozen = server.freeze(); " if frozen else ""
    code += "print(server.folder, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        folder = Path(starter.stdout.readline().strip())
        port = int((folder / "data" / "postmaster.pid").read_text().split()[3])
        starter.kill()
    wait_for(lambda: not folder.exists())
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(f"postgres://kumos@127.0.0.1:{port}/postgres", connect_timeout=5)


def test_what_is_bound_ends_with_us_and_nothing_else_does() -> None:
    code = "import subprocess, sys; from tests import reaper; wait = 'import signal; signal.pause()'; "
    code += "unbound, bound = [subprocess.Popen([sys.executable, '-c', wait]) for _ in range(2)]; "
    code += "reaper.bind(bound.pid); print(unbound.pid, bound.pid, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as starter:
        assert starter.stdout is not None
        unbound, bound = (int(word) for word in starter.stdout.readline().split())
        assert reaper.alive(bound)
        starter.kill()
        wait_for(lambda: not reaper.alive(bound))
        assert reaper.alive(unbound)
        os.kill(unbound, signal.SIGKILL)
