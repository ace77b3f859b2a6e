"""What a served Kumos says of itself: health while parts of it are dead, metrics that move (docs/operations.md)."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.backends import Postgres, Redis, has_redis, postgres_programs
from tests.chaos.databases import Postgresql
from tests.e2e.events import SECONDS, Desk
from tests.e2e.holders import holder_pid
from tests.ports import free_port
from tests.process import KEY, KumosProcess, KumosWorker
from tests.upstream import Upstream

pytestmark = pytest.mark.e2e

WELL = {"database": "ok", "migrations": "ok", "runner": "ok", "layer": "ok"}
Values = dict[tuple[str, ...], float]


def values(url: str) -> Values:
    """(name, label values in the order of their names) → value."""
    answer = httpx.get(f"{url}/metrics", timeout=SECONDS)
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def readiness(url: str) -> tuple[int, Any]:
    answer = httpx.get(f"{url}/health/ready", timeout=SECONDS)
    return answer.status_code, answer.json()


def eventually[T](ask: Callable[[], T], true: Callable[[T], bool]) -> T:
    """The first answer for which it is true."""
    give_up_at = time.monotonic() + SECONDS
    while not true(answer := ask()):
        assert time.monotonic() < give_up_at, answer
        time.sleep(0.05)
    return answer


def is_ready(url: str) -> None:
    assert eventually(lambda: readiness(url), lambda said: said[0] == 200 and said[1]["status"] == "ok")[1] == {
        "status": "ok",
        "checks": WELL,
    }


class Probed(KumosWorker):
    """A worker with a port for its probes."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.probe_port = free_port()
        super().__init__(data_dir, KUMOS_PROBE_PORT=str(self.probe_port), **settings)
        self.probe_url = f"http://127.0.0.1:{self.probe_port}"


# One process ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def one(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """A process of everything, whose models are `upstream`'s."""
    settings = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": KEY, "KUMOS_UPSTREAM_ATTEMPTS": "2"}
    with KumosProcess(tmp_path_factory.mktemp("one"), **settings) as process:
        yield process


def test_a_run_moves_what_counts_it(one: KumosProcess) -> None:
    with Desk(one) as desk:
        is_ready(one.url)
        before = values(one.url)
        path = desk.ask("!slow 20 !long 120")  # longer than a census is kept
        watcher = desk.watch(f"{path}/stream")
        watcher.wait_for("thread.message.delta")
        live = eventually(lambda: values(one.url), lambda found: found["kumos_runs", "in_progress"] == 1)
        assert live["kumos_streams",] == before["kumos_streams",] + 1
        watcher.end()
        after = eventually(
            lambda: values(one.url),
            lambda found: (
                found["kumos_runs", "in_progress"] == 0 and found["kumos_streams",] == before["kumos_streams",]
            ),
        )

    def moved(*name: str) -> float:
        return after[name] - before.get(name, 0)

    thread = "/v1/threads/<str:thread_id>/runs"
    assert moved("kumos_runs_created_total") == moved("kumos_run_claims_total") == 1
    assert moved("kumos_runs_ended_total", "completed") == 1
    assert moved("kumos_run_seconds_count") == moved("kumos_first_token_seconds_count") == 1
    assert moved("kumos_streams_ended_total", "done") == 1
    assert moved("kumos_log_reads_total") >= 1
    assert moved("kumos_bells_total", "sent") > 0
    assert moved("kumos_writer_commit_seconds_count") > 0
    assert moved("kumos_requests_total", "POST", thread, "2xx") == 1
    assert moved("kumos_requests_total", "GET", f"{thread}/<str:run_id>/stream", "2xx") == 1
    assert moved("kumos_request_seconds_count", thread) == 1


def test_a_model_server_that_fails_is_counted(one: KumosProcess) -> None:
    before = values(one.url)
    with Desk(one) as desk:
        path = desk.ask("Hello", assistant=desk.assistant(model="500"))
        assert desk.ended(path)["status"] == "failed"
    after = values(one.url)
    failed = {name: value - before.get(name, 0) for name, value in after.items() if "upstream" in name[0]}
    assert failed["kumos_upstream_calls_total",] == 2
    assert failed["kumos_upstream_errors_total", "server_error", "500"] == 2
    assert failed["kumos_upstream_retries_total",] == 1
    assert after["kumos_runs_ended_total", "failed"] == before["kumos_runs_ended_total", "failed"] + 1


def test_nothing_of_anybodys_is_in_a_label(one: KumosProcess) -> None:
    """Ids are in paths, names and texts in bodies, and anybody may ask for anything."""
    with Desk(one) as desk:
        path = desk.ask("!echo WORD-OF-MINE", assistant=desk.assistant(name="NAME-OF-MINE", metadata={"k": "VALUE-OF"}))
        desk.ended(path)
        desk.refused("GET", "/threads/thread_ID-OF-MINE")
        desk.refused("GET", "/nowhere/PATH-OF-MINE?q=QUERY-OF-MINE")
        desk.refused("BREW", "/assistants")
    exposed = httpx.get(f"{one.url}/metrics").text
    ids = r"(thread|run|asst|msg|step|file|vs|worker|req|proj|key)_[A-Za-z0-9]{16,}"
    assert not re.search(rf"OF-MINE|VALUE-OF|BREW|sk-test|{ids}", exposed)


def test_metrics_are_not_for_those_behind_a_proxy(one: KumosProcess) -> None:
    refused = httpx.get(f"{one.url}/metrics", headers={"X-Forwarded-For": "127.0.0.1"})
    assert refused.status_code == 403
    assert "kumos_" not in refused.text
    assert httpx.get(f"{one.url}/metrics", headers={"Host": "elsewhere.example"}).status_code == 400


# Several processes ----------------------------------------------------------------------------------------------------

needs_servers = pytest.mark.skipif(
    not has_redis() or postgres_programs() is None, reason="needs PostgreSQL and redis-server"
)


@pytest.fixture(scope="module")
def backends() -> Iterator[tuple[Postgres, Redis]]:
    with Postgres(fast=True) as postgres, Redis() as redis:
        yield postgres, redis


@pytest.fixture(scope="module")
def several(
    backends: tuple[Postgres, Redis], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[KumosProcess, list[Probed]]]:
    """A web server and two workers; leases are short, so that what has ended is soon told."""
    postgres, redis = backends
    settings = {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": redis.url,
        "KUMOS_LEASE_SECONDS": "10",
        "KUMOS_BEAT_SECONDS": "0.5",
        "KUMOS_DRAIN_SECONDS": "1",
    }
    folder = tmp_path_factory.mktemp("several")
    workers = [Probed(folder, **settings) for _ in range(2)]
    with KumosProcess(folder, command=("serve", "--web"), **settings) as web, ExitStack() as stack:
        for worker in workers:
            stack.enter_context(worker)
        yield web, workers


Several = tuple[KumosProcess, list[Probed]]


def ready_urls(several: Several) -> list[str]:
    """Where each of them answers probes, once all are well."""
    web, workers = several
    urls = [web.url, *(worker.probe_url for worker in workers)]
    for url in urls:
        is_ready(url)
    return urls


@needs_servers
@pytest.mark.own_database
def test_a_killed_worker_is_a_take_over_of_the_other(several: Several, backends: tuple[Postgres, Redis]) -> None:
    web, workers = several
    with Desk(web) as desk:
        before = [values(worker.probe_url) for worker in workers]
        path = desk.ask("!stall")
        watcher = desk.watch(f"{path}/stream")
        watcher.wait_for("thread.message.delta")
        pid = holder_pid(Postgresql(backends[0].url), path)
        holder = [worker.pid == pid for worker in workers].index(True)
        crash = ("kumos_run_takeovers_total", "crash")
        other = workers[1 - holder]
        workers[holder].kill()
        try:
            watcher.wait_for("thread.message.incomplete")
            eventually(lambda: values(other.probe_url), lambda found: found[crash] > before[1 - holder][crash])
            eventually(lambda: values(web.url), lambda found: found["kumos_workers",] == 1)
        finally:
            workers[holder].start()
        desk.make(f"{path}/cancel")
        watcher.end()


@needs_servers
@pytest.mark.own_database
def test_a_stopped_database_is_told_and_comes_back(several: Several, backends: tuple[Postgres, Redis]) -> None:
    urls = ready_urls(several)
    backends[0].stop()
    try:
        for url in urls:
            _, said = eventually(lambda url=url: readiness(url), lambda said: said[0] == 503)  # type: ignore[misc]
            assert said["status"] == "down"
            assert (said["checks"]["database"], said["checks"]["migrations"]) == ("down", "unknown")
            assert httpx.get(f"{url}/health/live", timeout=SECONDS).status_code == 200
            away = eventually(lambda url=url: values(url), lambda found: found["kumos_database_up",] == 0)  # type: ignore[misc]
            assert ("kumos_workers",) not in away
    finally:
        backends[0].start()
    for url in urls:
        is_ready(url)
        eventually(lambda url=url: values(url), lambda found: found["kumos_database_up",] == 1)  # type: ignore[misc]


@needs_servers
@pytest.mark.own_database
def test_a_killed_redis_is_degraded_and_no_more(several: Several, backends: tuple[Postgres, Redis]) -> None:
    web, _ = several
    urls = ready_urls(several)
    backends[1].kill()
    degraded = {"status": "degraded", "checks": {**WELL, "layer": "degraded"}}
    try:
        for url in urls:
            said = eventually(lambda url=url: readiness(url), lambda said: said[1]["status"] != "ok")  # type: ignore[misc]
            assert said == (200, degraded)
            assert values(url)["kumos_layer_up",] == 0
        with Desk(web) as desk:
            lost = values(web.url)["kumos_bells_total", "lost"]
            assert desk.ended(desk.ask("!fast Hello"))["status"] == "completed"
            eventually(lambda: values(web.url), lambda found: found["kumos_bells_total", "lost"] > lost)
    finally:
        backends[1].start()
    for url in urls:
        is_ready(url)


@needs_servers
@pytest.mark.own_database
def test_a_worker_that_cannot_beat_is_not_ready(several: Several, backends: tuple[Postgres, Redis]) -> None:
    """Its register is gone, and everything else is there."""
    web, (worker, _) = several
    is_ready(worker.probe_url)
    with psycopg.connect(backends[0].url, autocommit=True) as database:
        database.execute("ALTER TABLE runs_worker RENAME TO elsewhere")
        try:
            dead = {"status": "down", "checks": {**WELL, "runner": "stopped"}}
            said = eventually(lambda: readiness(worker.probe_url), lambda said: said[0] == 503)
            assert said == (503, dead)
            assert httpx.get(f"{worker.probe_url}/health/live").status_code == 200
            assert values(worker.probe_url)["kumos_runner_errors_total", "beat"] > 0
        finally:
            database.execute("ALTER TABLE elsewhere RENAME TO runs_worker")
    is_ready(worker.probe_url)
    is_ready(web.url)


@needs_servers
@pytest.mark.own_database
def test_a_web_server_without_workers_is_degraded(several: Several) -> None:
    web, workers = several
    is_ready(web.url)
    for worker in workers:
        assert worker.terminate() == 0
    try:
        said = eventually(lambda: readiness(web.url), lambda said: said[1]["status"] != "ok")
        assert said == (200, {"status": "degraded", "checks": {**WELL, "runner": "none"}})
    finally:
        for worker in workers:
            worker.start()
    is_ready(web.url)


# The listener of a worker ---------------------------------------------------------------------------------------------


def test_a_worker_answers_probes_and_nothing_else(tmp_path: Path) -> None:
    """Also while it waits for its tables, to any name, and although somebody keeps a connection open."""
    waiting = Probed(tmp_path, KUMOS_METRICS_TOKEN="a token", DATABASE_URL="", REDIS_URL="")
    waiting.launch()

    def answer(path: str, **headers: str) -> httpx.Response:
        return httpx.get(waiting.probe_url + path, headers=headers, timeout=SECONDS)

    def listens() -> bool:
        try:
            return answer("/health/live", Host="10.1.2.3").status_code == 200
        except httpx.TransportError:
            return False

    try:
        eventually(listens, bool)
        status, said = readiness(waiting.probe_url)
        assert (status, said["checks"]["migrations"], said["checks"]["runner"]) == (503, "missing", "starting")
        for path in ("/v1/assistants", "/admin/", "/", "/static/chat/main.js", "/health"):
            assert answer(path).status_code == 404
        assert answer("/metrics").status_code == 401
        assert answer("/metrics", Authorization="Bearer a token", Host="worker-1").status_code == 200
        with socket.create_connection(("127.0.0.1", waiting.probe_port)):
            assert answer("/health/live").status_code == 200
    finally:
        assert waiting.terminate() == 0


def test_a_probe_port_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        worker = KumosWorker(tmp_path, KUMOS_PROBE_PORT=str(port))
        with pytest.raises(subprocess.CalledProcessError) as error:
            worker.manage("runworker")
    assert error.value.returncode == 1
    (line,) = error.value.stderr.strip().splitlines()
    assert f"KUMOS_PROBE_PORT={port}" in line
