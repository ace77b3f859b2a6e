"""The database under a chaos test, as the servers are told of it and as the checker reads it: plain SQL, no Django."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

QUERIES = {
    "threads": "SELECT id, last_seq, active_run_id FROM assistants_thread",
    "runs": "SELECT id, thread_id, status, model, epoch, crash_attempts, created_at, expires_at FROM runs_run",
    "steps": "SELECT id, run_id, type, status FROM runs_runstep",
    "messages": "SELECT id, thread_id, run_id, role, status, content, superseded FROM assistants_message",
    "events": "SELECT thread_id, seq, run_id, name, data, created_at FROM streaming_event ORDER BY thread_id, seq",
}
Rows = list[dict[str, Any]]


class Database(Protocol):
    name: str

    def settings(self) -> dict[str, str]:
        """What servers on it have in their environment."""
        ...

    def rows(self, query: str) -> Rows: ...

    def is_free(self) -> bool:
        """Whether no transaction of somebody else keeps everybody from writing."""
        ...

    def faults(self) -> list[str]:
        """What the database itself finds wrong with its files."""
        ...


class Sqlite:
    name = "sqlite"

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "kumos.sqlite3"

    def settings(self) -> dict[str, str]:
        return {"DATABASE_URL": f"sqlite:///{self.path}"}

    def rows(self, query: str) -> Rows:
        with closing(sqlite3.connect(self.path, timeout=30)) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def is_free(self) -> bool:
        with closing(sqlite3.connect(self.path, timeout=0.2, isolation_level=None)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            connection.execute("ROLLBACK")
        return True

    def faults(self) -> list[str]:
        found = [str(row["integrity_check"]) for row in self.rows("PRAGMA integrity_check")]
        return [] if found == ["ok"] else found


class Postgresql:
    """A database of a running cluster."""

    name = "postgresql"

    def __init__(self, url: str, seen_by_servers: str = "") -> None:
        """`seen_by_servers`: another address of the same database, through a proxy."""
        self.url = url
        self.seen_by_servers = seen_by_servers or url

    def settings(self) -> dict[str, str]:
        return {"DATABASE_URL": self.seen_by_servers}

    def rows(self, query: str) -> Rows:
        import psycopg
        from psycopg.rows import dict_row

        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def is_free(self) -> bool:
        return True  # it locks rows only

    def faults(self) -> list[str]:
        return []


def tables(database: Database) -> dict[str, Any]:
    """All that the checker needs: rows by table, times as seconds since the epoch; and the database's own faults."""
    found: dict[str, Any] = {table: database.rows(query) for table, query in QUERIES.items()}
    for rows in found.values():
        for row in rows:
            for name in ("created_at", "expires_at"):
                if name in row:
                    row[name] = seconds(row[name])
            if isinstance(row.get("superseded"), int):
                row["superseded"] = bool(row["superseded"])
    found["faults"] = database.faults()
    return found


def seconds(moment: Any) -> float:
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    return float((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


@contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[bool]:
    """A disk of its own at `place`, if we may mount one here: whether we could."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    command = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "chaos", str(place)]
    mounted = bool(mount and unmount) and not subprocess.run([str(mount), *command], capture_output=True).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run([str(unmount), "--lazy", str(place)], check=True)
