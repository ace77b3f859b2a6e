"""A chaos test from its start to its row in the report: `conduct(Plan(…), scenario)`.

It starts what the plan asks for (upstream, database, layer, servers, proxies in front of them), lets the scenario make
work and trouble, waits until every run is over, keeps the tables beside the history, and has it all checked.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from django.conf import settings

from tests.backends import Postgres, Redis
from tests.chaos import report
from tests.chaos.beginning import begin
from tests.chaos.checker import check
from tests.chaos.databases import Database, Postgresql, Sqlite, small_disk, tables
from tests.chaos.evidence import About, Terms
from tests.chaos.history import ABOUT, TABLES, History
from tests.chaos.injector import Injector
from tests.chaos.load import Accepted, Load, look_around
from tests.chaos.proxy import Proxy
from tests.chaos.report import Row
from tests.chaos.servers import Fleet, Server, own_environment
from tests.chaos.upstreams import UpstreamProcess
from tests.chaos.wire import Address

SEED = "CHAOS_SEED"
"""The variable that repeats a run: the seed that was printed."""
KEEP = "CHAOS_KEEP"
"""Set, it keeps the histories of successes, too."""
ENDED_SECONDS = 80.0
"""How long the last runs may take to end: their time (60 s), the lateness that I1 allows, and a little."""
SETTLE_SECONDS = 10.0
HELD = """
SELECT runs_worker.pid, count(*) FROM runs_run JOIN runs_worker ON runs_run.worker_id = runs_worker.id
WHERE runs_run.status = 'in_progress' GROUP BY runs_worker.pid ORDER BY count(*) DESC
"""
ACTIVE = "SELECT id FROM runs_run WHERE status IN ('queued', 'in_progress', 'requires_action', 'cancelling')"


def new_seed() -> int:
    return int(os.environ.get(SEED) or random.SystemRandom().randrange(10**9))


@dataclass(frozen=True)
class Plan(Terms):
    """What a test needs."""

    test: str
    database: str = "sqlite"
    web: int = 0
    runners: int = 0
    """With neither: one process that is everything."""
    redis: bool = False
    proxied: frozenset[str] = frozenset()
    """Of "web", "upstream", "redis", "postgresql": what is reached through a proxy."""
    disk: int = 0
    """The data directory lies on a disk of its own of so many megabytes, where we may mount one (`Rig.has_disk`)."""
    settings: Mapping[str, str] = field(default_factory=dict)
    seed: int = field(default_factory=new_seed)


@dataclass(slots=True)
class Rig:
    """What a scenario works with."""

    plan: Plan
    history: History
    injector: Injector
    upstream: UpstreamProcess
    database: Database
    fleet: Fleet
    proxies: dict[str, Proxy]
    postgres: Postgres | None
    redis: Redis | None
    stranger_key: str
    has_disk: bool = False

    @property
    def addresses(self) -> list[Address]:
        """Where clients go."""
        behind = [proxy.address for name, proxy in self.proxies.items() if name.startswith("web")]
        return behind or [server.address for server in self.fleet.web]

    def load(self, runs: int, **how: Any) -> Load:
        return Load(self.history, self.addresses, runs, seed=self.plan.seed, **how)

    @asynccontextmanager
    async def working(self, load: Load) -> AsyncIterator[asyncio.Task[None]]:
        """The load at work, and a stranger beside it; left when all its runs and readers have come to their end."""
        chance = random.Random(f"stranger:{self.plan.seed}")
        stranger = asyncio.create_task(look_around(self.history, self.addresses[0], self.stranger_key, load, chance))
        work = asyncio.create_task(load.work())
        try:
            yield work
            await work
        finally:
            for task in (work, stranger):
                task.cancel()
            await asyncio.gather(work, stranger, return_exceptions=True)

    async def at_work(self) -> list[Server]:
        """The servers that work on runs, the busiest first."""
        pids = [row["pid"] for row in await asyncio.to_thread(self.database.rows, HELD)]
        busy = [server for server in self.fleet.runners if server.alive and server.pid in pids]
        return sorted(busy, key=lambda server: pids.index(server.pid))

    async def busy(self) -> list[Server]:
        """Those `at_work`; waits until there is one, which there must be."""
        while not (busy := await self.at_work()):
            await asyncio.sleep(0.05)
        return busy

    def owing(self, status: str, code: str | None = None, **more: object) -> Callable[[Accepted], None]:
        """For `Load.after_accept`: how its runs must end (`owed` in history.py)."""

        def write(accepted: Accepted) -> None:
            self.history.write("owed", prompt=accepted.prompt, status=status, code=code, **more)

        return write

    def troubles(
        self, whom: str, faults: Mapping[str, Callable[[Rig], Awaitable[None]]], names: Iterable[str]
    ) -> Callable[[], Awaitable[None]]:
        """For `Injector.repeat`: each time one of `names`, in an order that the seed decides, and noted."""
        left = [*names]
        self.injector.chance.shuffle(left)

        async def trouble() -> None:
            name = left.pop()
            self.injector.note(f"{whom} {name}")
            await faults[name](self)

        return trouble

    async def warm_up(self, runs: int = 6, at_once: int = 3) -> None:
        """A little work, so that what the servers use afterwards is what they use at rest.

        `at_once` as the test itself: threads and their connections to the database come with it, and stay.
        """
        await self.load(runs, at_once=at_once, model="seeded:20:100", mark="warm", cuts=0).work()
        await self.quiet()
        for server in self.fleet.servers:
            server.measure("warm")

    async def over(self) -> None:
        """Until no run is active any more; what still is after that, the checker names."""
        give_up_at = time.monotonic() + ENDED_SECONDS
        while time.monotonic() < give_up_at:
            with suppress(Exception):  # the database may be down: that is one of the faults
                if not await asyncio.to_thread(self.database.rows, ACTIVE):
                    return
            await asyncio.sleep(0.1)

    async def quiet(self) -> float:
        """Until nothing is under way; how long calls of the upstream outlived the last run."""
        await self.over()
        open_seconds = await self.upstream.seconds_until_idle()
        give_up_at, before = time.monotonic() + SETTLE_SECONDS, None
        while time.monotonic() < give_up_at and before != (before := self.files()):
            await asyncio.sleep(0.5)
        return open_seconds

    def files(self) -> list[int]:
        return [server.usage()["files"] for server in self.fleet.servers if server.alive]

    async def keep(self, seconds: float) -> None:
        """The end: what is there is written beside the history."""
        open_seconds = await self.quiet()
        for server in self.fleet.servers:
            if server.alive:
                server.measure("end")
        counts = await self.upstream.counts()
        plan = self.plan
        about = About(
            plan.test,
            plan.database,
            plan.seed,
            **{term.name: getattr(plan, term.name) for term in fields(Terms)},
            seconds=seconds,
            calls=counts["prompts"],
            hung_up=counts["ends"],
            open_seconds=open_seconds,
        )
        self.history.note(ABOUT, asdict(about))
        self.history.note(TABLES, await asyncio.to_thread(tables, self.database))


def conduct(
    plan: Plan,
    scenario: Callable[[Rig], Awaitable[None]],
    bites: Callable[[Row], object] = lambda row: row.injections,
    *,
    crashes: bool = True,
) -> Row:
    """Runs the test, adds its row to the report, raises AssertionError that names seed and directory if it failed.

    It has failed, too, where its faults met with nothing: `bites` says whether they did; and, with `crashes=False`,
    where a run counts as one whose worker died.
    """
    place = Path(settings.DATA_DIR) / "chaos"
    directory = place / f"{plan.test}-{plan.database}-{plan.seed}"
    shutil.rmtree(directory, ignore_errors=True)
    print(f"{plan.test} on {plan.database}: {SEED}={plan.seed}, history in {directory}")  # noqa: T201
    with kept(plan, directory), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The Assistants API is deprecated", DeprecationWarning)
        asyncio.run(_play(plan, scenario, directory))
        row, violations = check(directory)
        report.append(row, place)
        print(report.markdown([row]))  # noqa: T201
        assert not violations, "\n".join(map(str, violations[:20]))
        assert bites(row), "the faults did not bite"
        assert crashes or not row.take_overs, f"{row.take_overs} runs count as crashed, and no worker died"
    if not os.environ.get(KEEP):
        shutil.rmtree(directory)
    return row


@contextmanager
def kept(plan: Plan, directory: Path) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        error.add_note(f"{SEED}={plan.seed} repeats it; its history is kept in {directory}")
        raise


async def _play(plan: Plan, scenario: Callable[[Rig], Awaitable[None]], directory: Path) -> None:
    data_dir = directory / "data"
    data_dir.mkdir(parents=True)
    with ExitStack() as backends, History(directory) as history:
        has_disk = bool(plan.disk) and backends.enter_context(small_disk(data_dir, plan.disk))
        postgres = backends.enter_context(Postgres()) if plan.database == "postgresql" else None
        redis = backends.enter_context(Redis()) if plan.redis else None
        async with AsyncExitStack() as stack:
            proxies: dict[str, Proxy] = {}

            async def through(name: str, url: str) -> str:
                """The address behind a proxy, if the plan wants one there."""
                if name not in plan.proxied:
                    return url
                parts = urlsplit(url)
                proxy = proxies[name] = await stack.enter_async_context(Proxy((str(parts.hostname), parts.port or 0)))
                user = f"{parts.username}@" if parts.username else ""
                return urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{proxy.address[1]}"))

            upstream = await stack.enter_async_context(UpstreamProcess())
            environment = {"OPENAI_BASE_URL": await through("upstream", upstream.base_url), **plan.settings}
            database: Database = Sqlite(data_dir)
            if postgres is not None:
                database = Postgresql(postgres.url, await through("postgresql", postgres.url))
            if redis is not None:
                environment["REDIS_URL"] = await through("redis", redis.url)
            stranger_key = await begin(data_dir, database, own_environment())
            fleet = Fleet(history, data_dir, {**environment, **database.settings()}, web=plan.web, runners=plan.runners)
            await stack.enter_async_context(fleet)
            if "web" in plan.proxied:
                for server in fleet.web:
                    proxies[f"web {server.name}"] = await stack.enter_async_context(Proxy(server.address))
            rig = Rig(
                plan,
                history,
                Injector(history, plan.seed),
                upstream,
                database,
                fleet,
                proxies,
                postgres,
                redis,
                stranger_key,
                has_disk,
            )
            began = time.monotonic()
            await scenario(rig)
            await rig.keep(time.monotonic() - began)
