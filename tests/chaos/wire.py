"""HTTP/1.1 by hand, so that a client can cut a stream at any byte and tell a clean end from a lost connection."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0
"""How long an answer, or the next byte of one, may take."""
Address = tuple[str, int]


class Lost(ConnectionError):
    """The connection broke, or never came to be: nobody knows what became of the request."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def object(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Response:
    """An answer whose body is read piece by piece."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    async def read_head(self) -> None:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        pairs = (line.partition(":") for line in head[1:] if line)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}

    async def pieces(self, patience: float = SECONDS) -> AsyncIterator[bytes]:
        """The body as it comes; ends where it ends cleanly. Raises Lost, also after `patience` seconds of silence."""
        with _lost():
            if "content-length" in self.headers:
                async with asyncio.timeout(patience):
                    yield await self._reader.readexactly(int(self.headers["content-length"]))
                return
            while True:
                async with asyncio.timeout(patience):
                    size = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
                    piece = await self._reader.readexactly(size + 2)
                if not size:
                    return
                yield piece[:-2]

    def abort(self, *, reset: bool = False) -> None:
        """The client goes: by FIN, or with `reset` by RST."""
        if reset:
            connection: socket.socket = self._writer.get_extra_info("socket")
            with suppress(OSError):
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.close()


class _lost:
    """Whatever breaks a connection is Lost."""

    def __enter__(self) -> None: ...

    def __exit__(self, type: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError, ValueError, IndexError)):
            raise Lost(repr(error)) from error


@asynccontextmanager
async def opened(
    address: Address, method: str, path: str, headers: dict[str, str], body: Any = None, *, buffer: int = 0
) -> AsyncIterator[Response]:
    """The answer to one request on a connection of its own, its head read. Raises Lost.

    With `buffer`, so many bytes wait for a reader that does not take them, and the rest is the server's affair.
    """
    with _lost():
        async with asyncio.timeout(SECONDS):
            connection = await connected(address, buffer)
            reader, writer = await asyncio.open_connection(sock=connection, limit=buffer or 1 << 24)
    try:
        content = b"" if body is None else json.dumps(body).encode()
        sent = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(content)), **headers}
        if body is not None:
            sent["Content-Type"] = "application/json"
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        response = Response(reader, writer)
        with _lost():
            writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + content)
            async with asyncio.timeout(SECONDS):
                await writer.drain()
                await response.read_head()
        yield response
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def connected(address: Address, buffer: int) -> socket.socket:
    connection = socket.socket()
    connection.setblocking(False)
    try:
        if buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        await asyncio.get_running_loop().sock_connect(connection, address)
    except BaseException:
        connection.close()
        raise
    return connection


async def ask(address: Address, method: str, path: str, headers: dict[str, str], body: Any = None) -> Answer:
    """A whole answer. Raises Lost."""
    async with opened(address, method, path, headers, body) as response:
        content = b"".join([piece async for piece in response.pieces()])
        return Answer(response.status, response.headers, content)
