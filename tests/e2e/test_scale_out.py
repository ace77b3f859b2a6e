"""Several processes that are one Kumos: web servers, workers, one PostgreSQL, one Redis (design, section 7).

Clients see no difference to a single process, whichever of them dies; at most they connect again.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import psycopg
import pytest

from tests.backends import Postgres, Redis, has_redis, postgres_programs
from tests.chaos.databases import Postgresql
from tests.e2e.events import CUT, DONE, SECONDS, Desk, Frame, Watcher, ends_of, frames, last_id, names, text_of
from tests.e2e.holders import holder_pid
from tests.process import KumosProcess, KumosWorker

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.own_database,
    pytest.mark.skipif(not has_redis() or postgres_programs() is None, reason="needs PostgreSQL and redis-server"),
]

WEB = ("serve", "--web")
NEVER = "1000"
SLOTS = 4
PATIENT = {
    "KUMOS_LEASE_SECONDS": NEVER,  # what is taken over is taken over because its worker is known to be dead,
    "KUMOS_BEAT_SECONDS": "400",  # and a cancel is heard of by its bell
    "KUMOS_SWEEP_SECONDS": NEVER,
    "KUMOS_CRASH_CAP": "1000",
    "KUMOS_DRAIN_SECONDS": "1",
    "KUMOS_RUN_SLOTS": str(SLOTS),
    "LOG_LEVEL": "INFO",  # take-overs and why
}


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres(fast=True) as server:
        yield server


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@dataclass(frozen=True)
class House:
    """Web servers and workers on one database."""

    database: str
    webs: list[KumosProcess]
    workers: list[KumosWorker]

    def __enter__(self) -> Self:
        """All are started at once."""
        with ExitStack() as stack, ThreadPoolExecutor() as pool:
            stack.push(self.__exit__)
            list(pool.map(lambda process: process.start(), [*self.webs, *self.workers]))
            stack.pop_all()
        return self

    def __exit__(self, *exc: object) -> None:
        for process in [*self.workers, *self.webs]:
            process.__exit__(*exc)

    def holder_of(self, path: str) -> KumosProcess:
        """The worker that has the run."""
        pid = holder_pid(Postgresql(self.database), path)
        (found,) = [worker for worker in self.workers if worker.pid == pid]
        return found


@pytest.fixture(scope="module")
def house(postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two and two on one host, on a database that was empty."""
    folder = tmp_path_factory.mktemp("house")
    settings = {**PATIENT, "DATABASE_URL": postgres.url, "REDIS_URL": redis.url}
    webs = [KumosProcess(folder, command=WEB, **settings) for _ in range(2)]
    with House(postgres.url, webs, [KumosWorker(folder, **settings) for _ in range(2)]) as house:
        yield house


@pytest.fixture
def desks(house: House) -> Iterator[list[Desk]]:
    """One at each web server."""
    with ExitStack() as stack:
        yield [stack.enter_context(Desk(web)) for web in house.webs]


def crashes_of(house: House, path: str) -> int:
    """How often its worker died on the run."""
    with psycopg.connect(house.database) as connection:
        row = connection.execute("SELECT crash_attempts FROM runs_run WHERE id = %s", [path.rsplit("/", 1)[1]])
        return int((row.fetchone() or [-1])[0])


def read_to_the_end(desks: list[Desk], path: str, watcher: Watcher, first: int) -> list[Frame]:
    """The whole story of a run as its reader sees it, who goes to the other server whenever it is cut off."""
    seen: list[Frame] = []
    for number in range(first, first + 20):
        try:
            return seen + watcher.end()
        except CUT:
            seen += watcher.frames
        watcher = desks[(number + 1) % 2].watch(path, after=last_id(seen))
    raise AssertionError(f"cut off again and again after {names(seen)[-3:]}")


def assert_whole(story: list[Frame], words: int) -> None:
    """One terminal event, `done`, each event once and in order, and a last answer that its deltas make up."""
    ids = [frame.id for frame in story[:-1]]
    assert None not in ids
    assert ids == sorted(set(ids), key=lambda id: id or 0)
    assert ends_of(story) == ["thread.run.completed"]
    assert story[-1] == DONE
    (full,) = [frame.object for frame in story if frame.name == "thread.message.completed"]
    assert text_of(story, full["id"]) == full["content"][0]["text"]["value"]
    assert len(full["content"][0]["text"]["value"].split()) == words


def test_what_starts_at_once_makes_the_tables_once(house: House, desks: list[Desk]) -> None:
    with psycopg.connect(house.database) as connection:
        row = connection.execute("SELECT count(*) FROM assistants_project").fetchone()
    assert row == (1,)
    assert desks[0].get("/assistants") == desks[1].get("/assistants")


def test_a_run_made_here_is_streamed_there_and_cancelled_by_a_third(house: House, desks: list[Desk]) -> None:
    """It waits for its model and beats far too rarely: a bell tells its worker, or a look for lost bells."""
    path = desks[0].ask("!stall")
    watcher = desks[1].watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta")
    with Desk(house.webs[0]) as third:
        assert third.make(f"{path}/cancel")["status"] in ("cancelling", "cancelled")
    story = watcher.end()
    assert ends_of(story) == ["thread.run.cancelled"]
    assert story[-1] == DONE
    assert frames(desks[0].read(f"{path}/stream")) == story


def test_what_is_too_much_for_one_worker_is_done_by_both(house: House, desks: list[Desk]) -> None:
    paths = [desks[n % 2].ask("!stall") for n in range(SLOTS + 1)]
    for path in paths:
        desks[0].watch(f"{path}/stream").wait_for("thread.message.delta")
    assert {house.holder_of(path).pid for path in paths} == {worker.pid for worker in house.workers}
    for path in paths:
        desks[1].make(f"{path}/cancel")
        assert desks[0].ended(path)["status"] == "cancelled"


@pytest.mark.parametrize(
    "victim", ["web that streams", "web that does not", "worker that has it", "worker that does not"]
)
def test_whichever_process_is_killed_clients_at_most_connect_again(
    house: House, desks: list[Desk], victim: str
) -> None:
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201
    path = desks[1].ask("!slow 40 !long 120")
    stream = f"{path}/stream"
    watchers = [desk.watch(stream) for desk in desks]
    words = 1 + random.Random(seed).randrange(60)
    watchers[0].wait(lambda watcher: len(text_of(watcher.frames).split()) >= words)  # a slow machine merges deltas
    holder = house.holder_of(path)
    killed = {
        "web that streams": house.webs[0],
        "web that does not": house.webs[1],
        "worker that has it": holder,
        "worker that does not": next(worker for worker in house.workers if worker is not holder),
    }[victim]
    killed.kill()
    killed_at = time.monotonic()
    try:
        if killed is holder:  # nobody is cut off; the others take over
            watchers[0].wait_for("thread.message.incomplete")
            print(f"taken over {time.monotonic() - killed_at:.1f} s after the kill")  # noqa: T201
        if killed in house.workers:
            stories = [watcher.end() for watcher in watchers]
        else:
            stories = [read_to_the_end(desks, stream, watcher, n) for n, watcher in enumerate(watchers)]
    finally:
        killed.start()
    for story in stories:
        assert_whole(story, 120)
    assert stories[0] == stories[1] == frames(desks[0].read(stream)) == frames(desks[1].read(stream))
    assert names(stories[0]).count("thread.message.incomplete") == (1 if killed is holder else 0)


def test_a_worker_that_is_asked_to_stop_hands_its_run_on(house: House, desks: list[Desk]) -> None:
    path = desks[0].ask("!slow 20 !long 80")
    watcher = desks[1].watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta", 3)
    holder = house.holder_of(path)
    try:
        assert holder.terminate() == 0
    finally:
        holder.start()
    story = watcher.end()
    assert_whole(story, 80)
    assert crashes_of(house, path) == 0, "\n".join(worker.output() for worker in house.workers)


def test_a_web_server_that_is_asked_to_stop_sends_its_readers_elsewhere(house: House, desks: list[Desk]) -> None:
    path = desks[0].ask("!slow 30 !long 60")
    watcher = desks[0].watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta", 3)
    try:
        assert house.webs[0].terminate() == 0
        assert_whole(read_to_the_end(desks, f"{path}/stream", watcher, 0), 60)
    finally:
        house.webs[0].start()


def test_with_redis_frozen_everything_goes_on(house: House, redis: Redis, desks: list[Desk]) -> None:
    """Processes stop in order, too, and start."""
    redis.freeze()
    try:
        for process in (house.workers[0], house.webs[0]):
            assert process.terminate() == 0
            process.start()
        paths = [desks[0].ask("!slow 40 !long 40"), desks[0].ask("!slow 20 !long 400")]
        watchers = [desks[1].watch(f"{path}/stream") for path in paths]
        watchers[1].wait_for("thread.message.delta", 3)
        desks[1].make(f"{paths[1]}/cancel")
        stories = [watcher.end() for watcher in watchers]
    finally:
        redis.thaw()
    assert_whole(stories[0], 40)
    assert ends_of(stories[1]) == ["thread.run.cancelled"]


@pytest.fixture(scope="module")
def hosts(postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A web server and two workers, each with a data directory of its own, as on three hosts. Minutes to drain."""
    settings = {
        **PATIENT,
        "KUMOS_LEASE_SECONDS": "2",
        "KUMOS_BEAT_SECONDS": "0.5",
        "KUMOS_DRAIN_SECONDS": "600",
        "DATABASE_URL": postgres.database("hosts"),
        "REDIS_URL": redis.url,
        "SECRET_KEY": "the same on all hosts",
    }
    web, one, two = (tmp_path_factory.mktemp(name) for name in ("web", "one", "two"))
    workers = [KumosWorker(folder, **settings) for folder in (one, two)]
    with House(settings["DATABASE_URL"], [KumosProcess(web, command=WEB, **settings)], workers) as hosts:
        yield hosts


def test_of_another_host_only_the_lease_tells_that_it_is_dead(hosts: House) -> None:
    with Desk(hosts.webs[0]) as desk:
        path = desk.ask("!slow 20 !long 60")
        watcher = desk.watch(f"{path}/stream")
        watcher.wait_for("thread.message.delta", 3)
        holder = hosts.holder_of(path)
        holder.kill()
        killed_at = time.monotonic()
        try:
            watcher.wait_for("thread.message.incomplete")
            print(f"taken over {time.monotonic() - killed_at:.1f} s after the kill, with a lease of 2 s")  # noqa: T201
            assert_whole(watcher.end(), 60)
        finally:
            holder.start()


def test_a_second_signal_hands_back_at_once(hosts: House) -> None:
    """Nobody waits for the minutes: within the time that `terminate` gives it. The other goes on."""
    with Desk(hosts.webs[0]) as desk, psycopg.connect(hosts.database, autocommit=True) as database:
        path = desk.ask("!stall")
        watcher = desk.watch(f"{path}/stream")
        watcher.wait_for("thread.message.delta")
        holder = hosts.holder_of(path)
        assert holder.process is not None
        holder.process.send_signal(signal.SIGTERM)
        try:
            draining = "SELECT count(*) FROM runs_worker WHERE draining"
            eventually(lambda: database.execute(draining).fetchone() == (1,))
            assert holder.terminate() == 0
        finally:
            if holder.process.poll() is None:
                holder.kill()
            holder.start()
        watcher.wait_for("thread.message.incomplete")
        assert crashes_of(hosts, path) == 0
        desk.make(f"{path}/cancel")
        assert ends_of(watcher.end()) == ["thread.run.cancelled"]


class Unprepared(KumosProcess):
    """A server whose operator makes the tables. It is there before it is ready."""

    def answers(self) -> bool:
        return self.health("live") == 200

    def health(self, what: str) -> int:
        with self.client(timeout=5) as client:
            try:
                return client.get(f"/health/{what}").status_code
            except httpx.TransportError:
                return 0


def test_the_operator_may_make_the_tables(tmp_path: Path) -> None:
    """Until then the server is not ready and the worker waits, and stops in order; no demo data is made."""
    settings = {"KUMOS_SETUP": "false", "DATABASE_URL": "", "REDIS_URL": ""}
    with Unprepared(tmp_path, command=WEB, **settings) as web:
        assert web.health("ready") == 503
        waiting = KumosWorker(tmp_path, **settings)
        waiting.launch()
        eventually(lambda: "migrations are not applied" in waiting.output())
        assert waiting.terminate() == 0

        web.manage("migrate", "--verbosity=0")
        eventually(lambda: web.health("ready") == 200)
        with KumosWorker(tmp_path, **settings), web.client() as client:
            assert client.get("/v1/assistants").status_code == 401
            key = {"Authorization": f"Bearer {web.manage('createkey', '--project', 'Atlas')}"}
            assert client.get("/v1/assistants", headers=key).json()["data"] == []


def eventually(true: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < give_up_at, "in vain"
        time.sleep(0.05)


def test_sqlite_and_no_redis_at_all(tmp_path: Path) -> None:
    """Nobody hears a bell of another process; everybody looks into the database."""
    settings = {**PATIENT, "DATABASE_URL": "", "REDIS_URL": ""}
    webs = [KumosProcess(tmp_path, command=WEB, **settings) for _ in range(2)]
    with House("", webs, [KumosWorker(tmp_path, **settings) for _ in range(2)]), ExitStack() as stack:
        desks = [stack.enter_context(Desk(web)) for web in webs]
        path, long = desks[0].ask("!slow 40 !long 60"), desks[0].ask("!slow 20 !long 400")
        watchers = [desks[1].watch(f"{one}/stream") for one in (path, long)]
        watchers[1].wait_for("thread.message.delta", 3)
        desks[0].make(f"{long}/cancel")
        stories = [watcher.end() for watcher in watchers]
        assert_whole(stories[0], 60)
        assert ends_of(stories[1]) == ["thread.run.cancelled"]
        assert frames(desks[0].read(f"{path}/stream")) == stories[0]


def test_it_is_not_ready_while_it_drains(tmp_path: Path) -> None:
    """Who asks is told to send nothing more; who is here is still answered."""
    with KumosProcess(tmp_path, KUMOS_DRAIN_SECONDS="600") as server, Desk(server) as desk:
        path = desk.ask("!stall")
        desk.watch(f"{path}/stream").wait_for("thread.message.delta")
        with server.client() as client:
            assert client.get("/health/ready").status_code == 200
            assert server.process is not None
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: client.get("/health/ready").json() == {"status": "draining"})
            assert client.get("/health/ready").status_code == 503
            assert client.get("/health/live").status_code == 200
            assert desk.get(path)["status"] == "in_progress"
        assert server.terminate() == 0
