"""A TCP proxy that is a bad network on command: in front of Redis, PostgreSQL, the upstream, the web processes.

What it does to connections is its `fault`; it holds for those that are open, too, from their next bytes on.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from tests.chaos.wire import Address


@dataclass(frozen=True, slots=True)
class Fault:
    """Nothing is wrong by default. `hole`: bytes are swallowed and nobody is told, as on a half-open connection."""

    latency: float = 0.0
    """Seconds before each piece."""
    slice: int = 65536
    """Bytes a piece has at most."""
    rate: float = 0.0
    """Bytes a second, per connection and direction; 0 is no limit."""
    hole: bool = False
    mute: bool = False
    """What the target answers is swallowed: what it was asked for happens, and nobody learns of it."""


CLEAR = Fault()


class Proxy:
    """`async with Proxy(target) as proxy:` listens at `proxy.address`, forwards to `target`, which may come later."""

    def __init__(self, target: Address, port: int = 0) -> None:
        self.target = target
        self.address: Address = ("127.0.0.1", port)
        self.fault = CLEAR
        self.connections = 0
        self._server: asyncio.Server | None = None
        self._pipes: dict[asyncio.Task[None], list[asyncio.StreamWriter]] = {}

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.refuse()
        self.reset()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def accept(self) -> None:
        """Listens, again at the same port after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, *self.address)
            self.address = self._server.sockets[0].getsockname()

    def refuse(self) -> None:
        """New connections are refused; open ones go on."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def reset(self) -> int:
        """Ends all open connections with RST, on both sides. Returns how many there were."""
        pipes = dict(self._pipes)
        for task, writers in pipes.items():
            for writer in writers:
                connection: socket.socket = writer.get_extra_info("socket")
                with suppress(OSError):
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            task.cancel()
        return len(pipes)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections += 1
        self._pipes[task] = [writer]
        try:
            target_reader, target_writer = await asyncio.open_connection(*self.target)
            self._pipes[task].append(target_writer)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(reader, target_writer))
                pumps.create_task(self._pump(target_reader, writer, answers=True))
        except (OSError, ExceptionGroup, asyncio.CancelledError):
            pass
        finally:
            for end in self._pipes.pop(task):
                end.close()
                with suppress(OSError, asyncio.CancelledError):
                    await end.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False) -> None:
        while data := await reader.read(65536):
            while data and not self._swallows(answers):
                fault = self.fault
                piece, data = data[: fault.slice], data[fault.slice :]
                pause = fault.latency + (len(piece) / fault.rate if fault.rate else 0)
                if pause:
                    await asyncio.sleep(pause)
                if not self._swallows(answers):
                    writer.write(piece)
                    await writer.drain()
        if not self._swallows(answers) and writer.can_write_eof():
            writer.write_eof()

    def _swallows(self, answers: bool) -> bool:
        return self.fault.hole or (answers and self.fault.mute)
