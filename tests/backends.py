"""A real PostgreSQL and a real Redis for tests: private, on loopback, started, stopped, frozen and killed at will.

They end with whoever started them, whatever ends that: each has a reaper (tests/reaper.py), a process that waits for
the end of a pipe which only the starter holds open, then kills the server and removes its folder. Nothing of Kumos is
imported here: the database that the suite runs on is started before Django reads its settings (tests/lanes.py).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import psycopg
from psycopg import sql

from tests import reaper
from tests.ports import free_port

PATIENCE_SECONDS = 60.0
DURABLE: list[str] = []
FAST = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
"""For tests that never take the power away."""


def postgres_programs() -> Path | None:
    """The folder of the newest `initdb` and `postgres`: Debian keeps them off the PATH. None where there are none."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb") or (debian and debian[-1])
    return Path(found).resolve().parent if found else None


def has_redis() -> bool:
    return shutil.which("redis-server") is not None


class Server:
    """What both have in common: a folder, a port, a process, and a reaper that outlives us."""

    def __init__(self, user: str | None = None) -> None:
        self.port = free_port()
        self.user = user if os.getuid() == 0 else None  # PostgreSQL refuses to run as root
        self.folder = Path(tempfile.mkdtemp(prefix="kumos-test-"))
        if self.user:
            os.chown(self.folder, pwd.getpwnam(self.user).pw_uid, -1)
        self.log = self.folder / "log"
        self.pid_file = self.folder / "server.pid"
        self.process: subprocess.Popen[bytes] | None = None
        theirs, self._lifeline = os.pipe()
        self._reaper = subprocess.Popen(
            [sys.executable, "-I", "-S", reaper.__file__, str(self.folder)], stdin=theirs, start_new_session=True
        )
        os.close(theirs)

    def command(self) -> list[str | Path]:
        raise NotImplementedError

    def answers(self) -> bool:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """The end of the server and of its folder."""
        if self.process is not None and self.process.poll() is None:
            self.kill()
        os.close(self._lifeline)
        self._reaper.wait()

    def start(self) -> None:
        """Returns when it takes connections."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdout=log, stderr=log, cwd=self.folder, user=self.user, start_new_session=True
            )
        self.pid_file.write_text(str(self.process.pid))
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not self.answers():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.log.read_text()}"
            assert time.monotonic() < give_up_at, f"it does not answer:\n{self.log.read_text()}"
            time.sleep(0.02)

    def stop(self) -> None:
        """Orderly, but without waiting for anybody who is connected."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        self.process.wait(PATIENCE_SECONDS)
        self.pid_file.unlink()

    def kill(self) -> None:
        """SIGKILL for it and for all of its processes."""
        assert self.process is not None
        reaper.kill_all(self.process.pid)
        self.process.wait()
        self.pid_file.unlink()

    def restart(self) -> None:
        self.stop()
        self.start()

    def freeze(self) -> None:
        """It keeps its connections and answers nobody, until `thaw`."""
        assert self.process is not None
        reaper.signal_all(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        reaper.signal_all(self.process.pid, signal.SIGCONT)


class Postgres(Server):
    """`with Postgres() as postgres:`; `fast` leaves out fsync. Databases are made with `database`."""

    def __init__(self, *, fast: bool = False) -> None:
        programs = postgres_programs()
        assert programs is not None, "PostgreSQL is not installed (bin/system-packages)"
        self.programs = programs
        self.settings = FAST if fast else DURABLE
        super().__init__(user="postgres")
        self.data = self.folder / "data"
        self.admin_url = f"postgres://kumos@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        if not self.data.exists():
            options = ["--username=kumos", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
            made = subprocess.run(
                [self.programs / "initdb", f"--pgdata={self.data}", *options],
                cwd=self.folder,
                user=self.user,
                capture_output=True,
                text=True,
            )
            assert made.returncode == 0, made.stderr
        super().start()

    def command(self) -> list[str | Path]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"unix_socket_directories={self.folder}",
            "max_connections=500",
            *self.settings,
        ]
        options = [word for setting in settings for word in ("-c", setting)]
        return [self.programs / "postgres", "-D", self.data, "-p", str(self.port), *options]

    def answers(self) -> bool:
        try:
            psycopg.connect(self.admin_url, connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def database(self, name: str) -> str:
        """Makes it unless it is there; its address, fit for DATABASE_URL."""
        return database_on(self.admin_url, name)

    @property
    def url(self) -> str:
        """The database `kumos`."""
        return self.database("kumos")


def database_on(address: str, name: str, template: str = "template1") -> str:
    """Makes the database `name` on the server of `address` as a copy of `template`, unless it is there; its address."""
    with psycopg.connect(address, dbname="postgres", autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
            with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):  # made at the same moment
                made, copied = sql.Identifier(name), sql.Identifier(template)
                connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(made, copied))
    return f"{address.rsplit('/', 1)[0]}/{name}"


class Redis(Server):
    """`with Redis() as server:`; it keeps nothing over a restart, as a channel layer needs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> list[str | Path]:
        words = f"--port {self.port} --bind 127.0.0.1 --appendonly no"
        return ["redis-server", *words.split(), "--save", "", "--dir", self.folder]

    def answers(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False
