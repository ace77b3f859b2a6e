"""Readers of one run's stream, who come back with `Last-Event-ID` until they have seen its end, and write down what
they saw. One is there from the start, one joins late, one cuts its connection at random bytes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from contextlib import suppress

from tests.chaos.history import History
from tests.chaos.wire import Address, Lost, Response, opened

TERMINAL = tuple(f"thread.run.{end}" for end in ("completed", "failed", "cancelled", "expired", "incomplete"))
AGAIN_SECONDS = (0.05, 0.3)
"""How soon a reader that lost its connection tries again."""
WAITING_SECONDS = (0.5, 1.0)
"""The same where nothing was lost: the run waits for its client, and a reader that asks all the time is only a load."""
FIELDS = {"id", "event", "data"}


class Subscriber:
    """`await follow()` returns when the run's terminal event and its `done` were received."""

    buffer = 0
    """How much may wait on its side of a connection (`wire.opened`)."""

    def __init__(
        self,
        history: History,
        addresses: Sequence[Address],
        headers: dict[str, str],
        who: str,
        place: str,
        chance: random.Random,
        *,
        cuts: int = 0,
        cut_bytes: int = 4000,
    ) -> None:
        self.history, self.addresses, self.headers = history, addresses, headers
        self.who, self.place, self.chance = f"{place}:{who}", place, chance
        self.cuts, self.cut_bytes = cuts, cut_bytes
        self.path = ""
        self.last: int | None = None
        self.names: list[str] = []
        self.ended = False
        self.failed = False
        """An `error` event came."""
        self.waits = False
        """The run is in `requires_action`: `done` was no end."""
        self.heard = asyncio.Event()
        """Set at the first event."""

    def aim(self, thread: str, run: str) -> None:
        """Says which run it is."""
        self.path = f"/v1/threads/{thread}/runs/{run}/stream"
        self.history.write("follows", who=self.who, run=run, thread=thread, place=self.place)

    async def follow(self) -> None:
        while not self.ended:
            with suppress(Lost):
                await self.connect()
            if not self.ended:
                await asyncio.sleep(self.chance.uniform(*(WAITING_SECONDS if self.waits else AGAIN_SECONDS)))

    async def connect(self) -> None:
        """One connection. Raises Lost where there was none."""
        headers = dict(self.headers)
        if self.last is not None:
            if self.chance.random() < 0.5:
                headers["Last-Event-ID"] = str(self.last)
                path = self.path
            else:
                path = f"{self.path}?starting_after={self.last}"
        else:
            path = self.path
        async with opened(self.chance.choice(self.addresses), "GET", path, headers, buffer=self.buffer) as response:
            if response.status != 200:
                self.history.write("answer", method="GET", path=self.path, status=response.status, seconds=0)
                if response.status < 500 and response.status != 429:
                    raise AssertionError(f"{path}: {response.status}")
                return
            await self.read(response)

    async def read(self, response: Response) -> None:
        """Reads one answer to its end, or to the byte at which this reader cuts."""
        self.history.write("open", who=self.who, after=self.last)
        left = self.chance.randrange(self.cut_bytes) if self.cuts > 0 else None
        buffer = b""
        done = self.failed = False
        try:
            async for piece in response.pieces():
                if left is not None:
                    piece, left = piece[:left], left - len(piece)
                *blocks, buffer = (buffer + piece).split(b"\n\n")
                for block in blocks:
                    done = self.take(block) or done
                if left is not None and left <= 0:
                    self.cuts -= 1
                    response.abort(reset=self.chance.random() < 0.5)
                    return self.history.write("end", who=self.who, how="done" if done else "left")
        except Lost:
            if not done:
                return self.history.write("end", who=self.who, how="lost")
        self.history.write("end", who=self.who, how="done" if done else "error" if self.failed else "clean")
        return None

    def take(self, block: bytes) -> bool:
        """A frame, whole. True for `done`."""
        rows = [row.partition(": ") for row in block.decode().split("\n") if not row.startswith(":")]
        fields = {name: value for name, _, value in rows}
        name = fields.get("event", "")
        if fields.keys() - FIELDS or len(fields) != len(rows) or ("id" in fields) == (name in ("done", "error")):
            self.history.write("end", who=self.who, how="odd", block=block.decode())
            return False
        if name == "done":
            self.ended = bool(self.names) and self.names[-1] in TERMINAL
            self.waits = not self.ended
            return True
        if name == "error":
            self.failed = True
            return False
        self.waits = False
        self.last = int(fields.get("id", "0"))
        self.names.append(name)
        sha = hashlib.sha256(fields.get("data", "").encode()).hexdigest()[:16]
        self.history.write("event", who=self.who, id=self.last, name=name, sha=sha)
        self.saw(name, fields.get("data", ""))
        return False

    def saw(self, name: str, data: str) -> None:
        self.heard.set()


class Poster(Subscriber):
    """The reader whose first connection is the answer to `stream: true`; it learns from the events which run it is."""

    run = ""
    thread = ""

    def forget(self) -> None:
        """The request is made once more, and its story begins anew."""
        self.last = None
        self.names.clear()

    def saw(self, name: str, data: str) -> None:
        if not self.run and name == "thread.run.created":
            run = json.loads(data)
            self.run, self.thread = run["id"], run["thread_id"]
            self.aim(self.thread, self.run)
            self.heard.set()
