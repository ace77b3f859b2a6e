"""Tables, made once and then copied, for the tests' own database and for the servers that tests start: making them is
most of what a first start takes.

A copy is what `manage.py migrate` leaves, without data: a server makes its demo itself. All workers of a suite share
it, and on SQLite later suites do, too, until a migration changes. Whoever tests how tables are made starts a server
without (`KumosProcess.without_tables`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.backends import database_on

ROOT = Path(__file__).resolve().parent.parent
SQLITE = "kumos.sqlite3"


def give(data_dir: Path) -> None:
    """SQLite's file, unless the directory has one."""
    if not (data_dir / SQLITE).exists():
        shutil.copyfile(_sqlite(), data_dir / SQLITE)


def begin_with_them(database: dict[str, Any]) -> None:
    """For the database that Django's tests make by these settings of a connection (`DATABASES`)."""
    if "postgres" in database["ENGINE"]:
        database["TEST"]["TEMPLATE"] = template_on(os.environ["DATABASE_URL"])
        return
    name = database["TEST"]["NAME"]
    for suffix in ("-wal", "-shm"):
        Path(f"{name}{suffix}").unlink(missing_ok=True)
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_sqlite(), name)


@cache
def _sqlite() -> Path:
    with _alone() as folder:
        made = folder / f"{_release()}.sqlite3"
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=folder) as attempt:
                _migrate(attempt, "")  # its last connection empties the write-ahead log into the file
                os.rename(Path(attempt, SQLITE), made)
        return made


@cache
def template_on(address: str) -> str:
    """A database on the server of `address` to copy others from (`database_on`)."""
    name = f"kumos_tables_{_release()}"
    with _alone() as folder, psycopg.connect(address, dbname="postgres", autocommit=True) as server:
        if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            attempt = sql.Identifier("kumos_tables")
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(attempt))
            with tempfile.TemporaryDirectory(dir=folder) as data_dir:
                _migrate(data_dir, database_on(address, "kumos_tables"))
            server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(attempt, sql.Identifier(name)))
    return name


def _migrate(data_dir: str, address: str) -> None:
    environment = {**os.environ, "KUMOS_DATA_DIR": data_dir, "DATABASE_URL": address}
    command = [sys.executable, "manage.py", "migrate", "--verbosity=0"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@cache
def _release() -> str:
    """Another name for each state of the migrations, Django's among them."""
    digest = hashlib.sha256((ROOT / "requirements.txt").read_bytes())
    for path in sorted(ROOT.glob("*/migrations/*.py")):
        digest.update(bytes(path.relative_to(ROOT)) + path.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone() -> Iterator[Path]:
    """One worker at a time; the folder that they share."""
    folder = ROOT / "data" / "tests" / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
