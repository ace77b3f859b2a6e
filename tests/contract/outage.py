"""A database that fails on command. By hand: `python outage.py begin|end DATABASE`, an address as in DATABASE_URL.

The disk is full, as far as new rows of one table can tell.
Several clients may want an outage of the same server at the same time, so each takes its turn (a lock file).

It runs in the environments of the SDKs, which have no driver for PostgreSQL: there it is `psql` that speaks.
"""

from __future__ import annotations

import fcntl
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TABLE = "assistants_thread"
WAIT_SECONDS = 10.0
FILL_DISK = f"""
CREATE OR REPLACE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE OR REPLACE TRIGGER outage BEFORE INSERT ON {TABLE} EXECUTE FUNCTION disk_full();
"""
FILL_SQLITE = f"""
CREATE TABLE IF NOT EXISTS outage (id INTEGER PRIMARY KEY AUTOINCREMENT);
INSERT OR IGNORE INTO outage VALUES ({2**63 - 1});
CREATE TRIGGER IF NOT EXISTS disk_full BEFORE INSERT ON {TABLE} BEGIN INSERT INTO outage VALUES (NULL); END;
"""
"""A table whose last number is taken: for SQLite that is a full disk, too (SQLITE_FULL)."""
FREE_SQLITE = "DROP TRIGGER IF EXISTS disk_full;"
FREE_DISK = f"DROP TRIGGER IF EXISTS outage ON {TABLE};"


def sqlite(database: str, script: str) -> None:
    with closing(sqlite3.connect(database.removeprefix("sqlite:///"), timeout=WAIT_SECONDS)) as connection:
        connection.executescript(script)


def psql(database: str, script: str) -> None:
    command = ["psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", f"--command={script}", database]
    subprocess.run(command, check=True, capture_output=True)


def begin(database: str) -> None:
    if database.startswith("sqlite:"):
        sqlite(database, FILL_SQLITE)
    else:
        psql(database, FILL_DISK)


def end(database: str) -> None:
    """Nothing, where there is no outage."""
    if database.startswith("sqlite:"):
        sqlite(database, FREE_SQLITE)
    else:
        psql(database, FREE_DISK)


@contextmanager
def turn(database: str, lock: Path) -> Iterator[None]:
    """An outage from the start to `end`, or to the end of the block."""
    with lock.open("w") as turns:
        fcntl.flock(turns, fcntl.LOCK_EX)
        begin(database)
        try:
            yield
        finally:
            end(database)


if __name__ == "__main__":
    {"begin": begin, "end": end}[sys.argv[1]](sys.argv[2])
