"""A database that fails on command: a table under another name. By hand: `python outage.py begin|end DATABASE`.

Several clients may want an outage of the same server at the same time, so each takes its turn (a lock file).
"""

from __future__ import annotations

import fcntl
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

TABLE = "assistants_thread"
AWAY = "assistants_thread_away"
WAIT_SECONDS = 10.0


def rename(database: str, old: str, new: str) -> None:
    with closing(sqlite3.connect(database, timeout=WAIT_SECONDS)) as connection:
        connection.execute("PRAGMA legacy_alter_table = ON")  # leaves the tables that refer to it as they are
        connection.execute("PRAGMA foreign_keys = OFF")
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if old in tables:
            connection.execute(f"ALTER TABLE {old} RENAME TO {new}")


def begin(database: str) -> None:
    rename(database, TABLE, AWAY)


def end(database: str) -> None:
    """Nothing, where there is no outage."""
    rename(database, AWAY, TABLE)


@contextmanager
def turn(database: str) -> Iterator[None]:
    """An outage from the start to `end`, or to the end of the block."""
    with Path(f"{database}.turn").open("w") as turns:
        fcntl.flock(turns, fcntl.LOCK_EX)
        begin(database)
        try:
            yield
        finally:
            end(database)


if __name__ == "__main__":
    {"begin": begin, "end": end}[sys.argv[1]](sys.argv[2])
