"""A pytest plugin (see addopts): which database the whole suite runs on, and what each of its workers has to itself.

`pytest --database=postgres` starts a PostgreSQL and a Redis of its own, before Django reads its settings, and ends
them. Django's tests use that PostgreSQL; every served Kumos (tests/process.py) gets a new database on it and rings its
bells over that Redis. Without the option DATABASE_URL decides, which is SQLite unless it is set.

The option leaves out what asks no database, for it has run on SQLite already; SQLite leaves out what is `postgres`.

With `-n` each worker has its data directory; pytest-django gives it its own test database.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests import fresh_tables
from tests.backends import Postgres, Redis, database_on, has_redis, postgres_programs
from tests.ci_skips import IN_CI

REDIS = "KUMOS_TEST_REDIS_URL"
"""Not REDIS_URL: what a test makes in its own process lives on loops that end before a connection would."""

started: list[Postgres | Redis] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database", choices=("sqlite", "postgres"), help="what the suite runs on; otherwise DATABASE_URL decides"
    )


@pytest.hookimpl(wrapper=True)  # so that it comes before pytest-django, which reads the settings here
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    worker = os.environ.get("PYTEST_XDIST_WORKER")  # it inherits what the first process has set
    if worker:
        os.environ["KUMOS_DATA_DIR"] = str(Path(os.environ.get("KUMOS_DATA_DIR", "data/tests"), worker).resolve())
    elif early_config.known_args_namespace.database == "postgres" and can_start():
        start_servers()
    elif early_config.known_args_namespace.database == "sqlite":
        os.environ.pop("DATABASE_URL", None)
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Nothing runs where the servers are missing, which CI does not allow."""
    if config.option.database != "postgres" or can_start():
        return None
    print("SKIPPED: everything on PostgreSQL, for PostgreSQL and Redis are not installed (bin/system-packages)")  # noqa: T201
    return pytest.ExitCode.TESTS_FAILED if IN_CI else pytest.ExitCode.OK


def can_start() -> bool:
    return postgres_programs() is not None and has_redis()


def start_servers() -> None:
    started.extend([postgres := Postgres(fast=True), redis := Redis()])
    for server in started:
        server.start()
    os.environ["DATABASE_URL"] = postgres.url
    os.environ[REDIS] = redis.url


def asks_a_database(item: pytest.Item) -> bool:
    """Whether it runs on the database of the suite. What is served does, unless it says otherwise."""
    if item.get_closest_marker("own_database") or item.get_closest_marker("any_database"):
        return False
    served = any(item.get_closest_marker(name) for name in ("e2e", "browser", "contract", "chaos"))
    asked = item.get_closest_marker("django_db") or "db" in getattr(item, "fixturenames", ())
    return served or bool(asked)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not on_postgres():
        leave_out(config, items, lambda item: item.get_closest_marker("postgres") is not None)
    elif config.option.database == "postgres" and not config.option.file_or_dir:
        leave_out(config, items, lambda item: not asks_a_database(item))


def leave_out(config: pytest.Config, items: list[pytest.Item], unwanted: Callable[[pytest.Item], bool]) -> None:
    """Not a skip, which would say that this machine lacks something."""
    config.hook.pytest_deselected(items=[item for item in items if unwanted(item)])
    items[:] = [item for item in items if not unwanted(item)]


def pytest_unconfigure() -> None:
    while started:
        started.pop().close()


def on_postgres() -> bool:
    return os.environ.get("DATABASE_URL", "").startswith("postgres")


def pytest_report_header() -> str:
    return f"database: {os.environ['DATABASE_URL'] if on_postgres() else 'SQLite'}"


def backends_of(data_dir: Path, *, tables: bool = True) -> dict[str, str]:
    """The settings of a server with that data directory: a database that is as new as the directory, with its tables
    or without."""
    if not on_postgres():
        if tables:
            fresh_tables.give(data_dir)
        return {}
    name = f"kumos_{hashlib.sha256(bytes(data_dir)).hexdigest()[:16]}"
    redis = {"REDIS_URL": os.environ[REDIS]} if REDIS in os.environ else {}
    server = os.environ["DATABASE_URL"]
    template = fresh_tables.template_on(server) if tables else "template1"
    return {"DATABASE_URL": database_on(server, name, template), **redis}
