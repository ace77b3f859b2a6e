"""The scripted model server (tests/upstream.py) as a process of its own: what it says to a prompt is known before."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests.chaos.wire import Address, ask
from tests.upstream import expected_text, seeded_text, words

ROOT = Path(__file__).parents[2]
FUNCTION = "lookup"
"""The function that runs of chaos tests call, where they do."""
TOOL = {"type": "function", "function": {"name": FUNCTION, "description": "Looks something up."}}
IDLE_SECONDS = 2.0
"""How long after the last run's end calls may still be open (I10)."""


HARMLESS = {"429", "503-then-ok", "empty-once", "slow-first", "no-done", "no-usage", "finish-hangs", "done-hangs"}
"""Modes that say what `ok` says, where they come to say anything."""


def expected(model: str, prompt: str) -> str | None:
    """What a model says to a prompt, told by the mode in its name; None where that depends on more."""
    name, *arguments = model.split(":")
    if name == "seeded":
        return seeded_text(prompt, int(arguments[0]), *arguments[2:3])
    if name == "tool" and arguments[0] == FUNCTION:
        return expected_text(prompt)  # clients give a run's prompt as the output of its call
    if name in HARMLESS:
        return expected_text(prompt)
    if name in {"ok", "gated"}:
        return words(int(arguments[0])) if arguments else expected_text(prompt)
    return None


class UpstreamProcess:
    """`async with UpstreamProcess() as upstream:`; it is asked and told over HTTP (`/control`)."""

    def __init__(self, mode: str = "ok") -> None:
        self.mode = mode
        self.address: Address = ("127.0.0.1", 0)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.address[1]}/v1"

    async def __aenter__(self) -> Self:
        self.process = subprocess.Popen(  # noqa: ASYNC220
            [sys.executable, "-m", "tests.upstream", "--mode", self.mode], cwd=ROOT, stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        self.address = ("127.0.0.1", int(line.decode().rpartition(":")[2].split("/")[0]))
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self.process is not None
        assert self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    async def tell(self, **orders: Any) -> dict[str, Any]:
        """`mode`, `queue`, `release`; returns the counts."""
        return (await ask(self.address, "POST", "/control", {}, orders)).object

    async def counts(self) -> dict[str, Any]:
        return (await ask(self.address, "GET", "/control", {})).object

    async def seconds_until_idle(self) -> float:
        """How long calls stay open from now on; looks for a little longer than they may."""
        started_at = time.monotonic()
        while (await self.counts())["open"] and time.monotonic() - started_at < 2 * IDLE_SECONDS:
            await asyncio.sleep(0.02)
        return time.monotonic() - started_at
