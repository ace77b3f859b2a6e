"""Names of hosts, looked up on threads of their own: model servers, Redis, whatever else the loop connects to.

asyncio does it on the threads that also read the database. A silent name server keeps each look-up for many seconds,
long after whoever asked has given up, so that a few runs would leave no thread to anybody who follows one. What clients
name is looked up elsewhere (runs/web.py): they cannot take these threads.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

THREADS = 8
"""How many names may be looked up at a time."""

Key = tuple[bytes | str | None, bytes | str | int | None, int, int, int, int]


class Names:
    """In place of a loop's own `getaddrinfo`. However many ask for a name, it takes one thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="kumos-names")
        self._under_way: dict[Key, asyncio.Future[Any]] = {}

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        key = (host, port, family, type, proto, flags)
        answer = self._under_way.get(key)
        if answer is None:
            answer = self._loop.run_in_executor(self._threads, look_up, key)
            self._under_way[key] = answer
            answer.add_done_callback(lambda done: self._answered(key, done))
        return await asyncio.shield(answer)  # one who gives up does not end it for the others

    def _answered(self, key: Key, answer: asyncio.Future[Any]) -> None:
        del self._under_way[key]
        if not answer.cancelled():
            answer.exception()  # all who asked may have given up, and then nobody looks at it


def look_up(key: Key) -> Any:
    """The system's answer. Raises OSError."""
    return socket.getaddrinfo(*key)


def attach(loop: asyncio.AbstractEventLoop) -> None:
    """From now on names are looked up so on `loop`."""
    loop.getaddrinfo = Names(loop).getaddrinfo  # type: ignore[method-assign]
