"""The servers under test: real processes with the chaos profile; killed, stopped, continued, started again by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.history import History
from tests.chaos.wire import Address, Lost, ask
from tests.loops import PATIENCE_SECONDS
from tests.ports import free_port
from tests.process import KEY, ROOT

PROFILE = {
    "KUMOS_LEASE_SECONDS": "3",
    "KUMOS_BEAT_SECONDS": "0.5",
    "KUMOS_SWEEP_SECONDS": "0.5",
    "KUMOS_CRASH_CAP": "50",
    "KUMOS_RUN_SECONDS": "60",
    "KUMOS_DRAIN_SECONDS": "5",
    "KUMOS_SETUP": "false",
    "KUMOS_DEFAULT_MODEL": "ok",
    "LOG_LEVEL": "INFO",
}
FOREIGN = ("OPENAI_", "OLLAMA_", "REDIS_", "DATABASE_", "KUMOS_")
"""Variables of whoever runs the tests that servers must not see."""
AUTHORISED = {"Authorization": f"Bearer {KEY}"}
ALL_IN_ONE = ("serve",)
WEB = ("serve", "--web")
RUNNER = ("runworker",)


def own_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}


class Server:
    """One process. What it prints is in `log`, over all its lives."""

    def __init__(self, name: str, command: Sequence[str], settings: Mapping[str, str], history: History) -> None:
        self.name, self.command, self.settings, self.history = name, tuple(command), dict(settings), history
        self.serves = command[0] == "serve"
        self.address: Address = ("127.0.0.1", free_port())
        self.log = history.directory / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.lives = 0

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def start(self, **settings: str) -> float:
        """Returns when it is ready, how many seconds that took. `settings` are for this life only."""
        started_at = time.monotonic()
        self.launch(**settings)
        await self.ready()
        took = time.monotonic() - started_at
        self.measure("ready")
        return took

    def launch(self, **settings: str) -> None:
        """Starts the process without waiting for it."""
        assert not self.alive
        environment = {
            **own_environment(),
            **self.settings,
            **settings,
            "KUMOS_PROBE_PORT" if self.command == RUNNER else "PORT": str(self.address[1]),
            "PYTHONUNBUFFERED": "1",
        }
        self.lives += 1
        self.history.write("fault", what="start", name=self.name)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", *self.command], cwd=ROOT, env=environment, stdout=log, stderr=log
            )

    async def ready(self, *, or_gone: bool = False) -> None:
        """Until it answers, or, of a runner, until it has entered itself into the register."""
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while not await self.answers():
            if or_gone and not self.alive:
                return
            assert self.alive, f"{self.name} ended with {self.process and self.process.returncode}:\n{self.tail()}"
            assert time.monotonic() < give_up_at, f"{self.name} is not ready:\n{self.tail()}"
            await asyncio.sleep(0.02)

    async def answers(self) -> bool:
        if not self.serves:
            return self.locked()
        with suppress(Lost):
            return (await ask(self.address, "GET", "/health/ready", {})).status == 200
        return False

    def locked(self) -> bool:
        """Whether a runner has entered itself into the register: it holds its lock file open."""
        folder = Path(self.settings["KUMOS_DATA_DIR"]) / "workers"
        with suppress(OSError):
            for file in Path(f"/proc/{self.pid}/fd").iterdir():
                with suppress(OSError):
                    if Path(os.readlink(file)).parent == folder.resolve():
                        return True
        return False

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    # What is done to it -----------------------------------------------------------------------------------------------

    def send(self, number: signal.Signals) -> None:
        self.history.write("fault", what=number.name.removeprefix("SIG").lower(), name=self.name, pid=self.pid)
        os.kill(self.pid, number)

    async def kill(self) -> None:
        self.send(signal.SIGKILL)
        await self.gone()

    def stop(self) -> None:
        self.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self.send(signal.SIGCONT)

    async def terminate(self) -> int:
        """SIGTERM; the exit code."""
        self.send(signal.SIGTERM)
        return await self.gone()

    async def gone(self, patience: float = PATIENCE_SECONDS) -> int:
        """Until the process has ended, however; its exit code."""
        assert self.process is not None
        give_up_at = time.monotonic() + patience
        while (code := self.process.poll()) is None:
            assert time.monotonic() < give_up_at, f"{self.name} does not end:\n{self.tail()}"
            await asyncio.sleep(0.01)
        return code

    @property
    def stopped(self) -> bool:
        """Whether it stands still: by SIGSTOP, or at a failpoint that stalls."""
        with suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    # What it uses -----------------------------------------------------------------------------------------------------

    def usage(self) -> dict[str, int]:
        """Open files, threads, resident bytes."""
        place = Path(f"/proc/{self.pid}")
        pages = int((place / "statm").read_text().split()[1])
        threads = len(list((place / "task").iterdir()))
        files = len(list((place / "fd").iterdir()))
        return {"files": files, "threads": threads, "memory": pages * os.sysconf("SC_PAGE_SIZE")}

    async def counted(self, metric: str) -> float:
        """What its /metrics say of a counter, all its labels together, in this life."""
        async with httpx.AsyncClient(timeout=PATIENCE_SECONDS) as client:  # a worker answers in HTTP/1.0
            lines = (await client.get("http://{}:{}/metrics".format(*self.address))).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{metric} ", f"{metric}{{")))

    def measure(self, when: str) -> dict[str, Any]:
        """Notes its usage in the history; `when` is "ready", "warm" or "end"."""
        used = self.usage()
        self.history.write("process", name=self.name, pid=self.pid, when=when, **used)
        return used


class Fleet:
    """Servers that share data, database and layer. `async with Fleet(…)` starts them all and ends them all."""

    def __init__(
        self, history: History, data_dir: Path, settings: Mapping[str, str], *, web: int = 0, runners: int = 0
    ) -> None:
        """With neither `web` nor `runners`: one process that is everything."""
        common = {**PROFILE, "KUMOS_DATA_DIR": str(data_dir), "TMPDIR": str(data_dir), **settings}
        commands: dict[str, tuple[str, ...]] = {} if web + runners else {"serve": ALL_IN_ONE}
        commands |= {f"web-{n}": WEB for n in range(1, web + 1)}
        commands |= {f"runner-{n}": RUNNER for n in range(1, runners + 1)}
        self.servers = [Server(name, command, common, history) for name, command in commands.items()]

    @property
    def web(self) -> list[Server]:
        return [server for server in self.servers if server.serves]

    @property
    def runners(self) -> list[Server]:
        """Those that execute runs."""
        return [server for server in self.servers if server.command != WEB]

    async def __aenter__(self) -> Fleet:
        try:
            await asyncio.gather(*[server.start() for server in self.servers])
        except BaseException:
            await self.end()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.end()

    async def end(self) -> None:
        """Whatever they are doing: by SIGKILL, since nothing that counts may depend on an orderly stop."""
        for server in self.servers:
            if server.alive:
                assert server.process is not None
                server.process.kill()
        for server in self.servers:
            if server.process is not None:
                await server.gone()
