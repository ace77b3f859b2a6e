"""A real `manage.py serve` in a process of its own, on a free port and a data directory: started, asked, killed.

It runs on the database that the suite runs on (tests/lanes.py). Ready when `GET /v1/assistants` answers, as the README
says. What it prints is kept in `serve.log` of the directory.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import httpx

from tests import reaper
from tests.lanes import backends_of
from tests.loops import PATIENCE_SECONDS
from tests.ports import free_port
from tests.wire import check_response

ROOT = Path(__file__).resolve().parent.parent
KEY = "sk-test-001"
START_SECONDS = 3 * PATIENCE_SECONDS
STOP_SECONDS = PATIENCE_SECONDS


class KumosProcess:
    """`with KumosProcess(tmp_path, OPENAI_BASE_URL=…) as server:`; settings are environment variables."""

    key = KEY
    tables = True
    """Whether it finds the tables. Else it makes them itself, as the first start of a release does: for seconds."""

    def __init__(self, data_dir: Path, *, command: Sequence[str] = ("serve",), **settings: str) -> None:
        self.data_dir = data_dir
        self.command = command
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {"KUMOS_SCRIPTED_TOKENS_PER_SECOND": "60", "KUMOS_DRAIN_SECONDS": "5", **settings}
        self.log = data_dir / ("serve.log" if command == ("serve",) else f"{'-'.join(command)}-{self.port}.log")
        self.temporary = data_dir / "tmp"  # where it was killed, its temporary files stay
        self.temporary.mkdir(exist_ok=True)
        self.process: subprocess.Popen[bytes] | None = None

    @classmethod
    def without_tables(cls, data_dir: Path, **settings: str) -> Self:
        process = cls(data_dir, **settings)
        process.tables = False
        return process

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.terminate()

    def start(self) -> None:
        """Returns when the server is ready."""
        self.launch()
        assert self.process is not None
        give_up_at = time.monotonic() + START_SECONDS
        try:
            while not self.answers():
                assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.output()}"
                assert time.monotonic() < give_up_at, f"it is not ready:\n{self.output()}"
                time.sleep(0.05)
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Starts it, and does not wait."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", *self.command],
                cwd=ROOT,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        reaper.bind(self.process.pid)

    def environment(self) -> dict[str, str]:
        """What the server is started with; other commands of manage.py find its data by it."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OLLAMA_"))}
        backends = {} if "DATABASE_URL" in self.settings else backends_of(self.data_dir, tables=self.tables)
        own = {"KUMOS_DATA_DIR": str(self.data_dir), "PORT": str(self.port), "TMPDIR": str(self.temporary)}
        return {**kept, **backends, **own, **self.settings}

    def manage(self, *command: str) -> str:
        """What a command of manage.py prints, beside the server and on its data."""
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    @property
    def database_url(self) -> str:
        return self.environment().get("DATABASE_URL") or f"sqlite:///{self.data_dir / 'kumos.sqlite3'}"

    def answers(self) -> bool:
        with self.client(timeout=5) as client:
            try:
                return client.get("/v1/assistants").status_code == 200
            except httpx.TransportError:
                return False

    def output(self) -> str:
        return self.log.read_text()

    @property
    def login_url(self) -> str:
        """The newest one-time login link that was printed; a fresh start prints a fresh one."""
        path = re.findall(r"http://[^\s]+?(/login/[^\s]+)", self.output())[-1]
        return f"{self.url}{path}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def client(self, timeout: float = 30.0) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=timeout,
            event_hooks={"response": [check_response]},
        )

    def terminate(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def kill(self) -> int:
        """SIGKILL; the exit code, -9."""
        return self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it does not stop:\n{self.output()}") from None

    def restart(self) -> None:
        """Whatever it takes, on the same data and port."""
        if self.process is not None and self.process.poll() is None:
            self.terminate()
        self.start()

    def memory(self) -> int:
        """Resident bytes of the process."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


class KumosWorker(KumosProcess):
    """A `manage.py runworker`. It has no port; it says when it is ready."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        super().__init__(data_dir, command=("runworker",), **settings)

    def start(self) -> None:
        self.told = len(self.output()) if self.log.exists() else 0
        super().start()

    def answers(self) -> bool:
        return "is ready" in self.output()[self.told :]
