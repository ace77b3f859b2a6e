"""The proxy does to connections what it is told, and nothing else; a client of the rig tells an end from a loss."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.chaos.proxy import CLEAR, Fault, Proxy
from tests.chaos.wire import Address, Lost, ask, opened

BODY = b"0123456789" * 20


@asynccontextmanager
async def served() -> AsyncIterator[Address]:
    """A server that streams BODY in two chunks, the second when the client says so by a byte, or at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n" + BODY[:100] + b"\r\n")
        if path == b"/whole":
            writer.write(b"64\r\n" + BODY[100:] + b"\r\n0\r\n\r\n")
        elif path == b"/open":
            await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


def with_proxy(work: Callable[[Proxy], Awaitable[None]]) -> None:
    async def main() -> None:
        async with served() as address, Proxy(address) as proxy:
            await work(proxy)

    asyncio.run(main())


@pytest.mark.parametrize("fault", [CLEAR, Fault(slice=7), Fault(latency=0.02)])
def test_what_is_slow_or_sliced_arrives_whole(fault: Fault) -> None:
    async def work(proxy: Proxy) -> None:
        proxy.fault = fault
        assert (await ask(proxy.address, "GET", "/whole", {})).body == BODY

    with_proxy(work)


def test_a_rate_takes_its_time() -> None:
    async def work(proxy: Proxy) -> None:
        proxy.fault = Fault(rate=1000, slice=50)
        began = time.monotonic()
        await ask(proxy.address, "GET", "/whole", {})
        assert time.monotonic() - began > len(BODY) / 1000

    with_proxy(work)


def test_a_stream_that_ends_without_its_last_chunk_is_lost() -> None:
    async def work(proxy: Proxy) -> None:
        with pytest.raises(Lost):
            await ask(proxy.address, "GET", "/half", {})

    with_proxy(work)


def test_reset_ends_what_is_open() -> None:
    async def work(proxy: Proxy) -> None:
        async with opened(proxy.address, "GET", "/open", {}) as response:
            pieces = response.pieces()
            assert await anext(pieces) == BODY[:100]
            assert proxy.reset() == 1
            with pytest.raises(Lost):
                await anext(pieces)
        assert (await ask(proxy.address, "GET", "/whole", {})).body == BODY

    with_proxy(work)


def test_refused_connections_are_lost_until_they_are_accepted_again() -> None:
    async def work(proxy: Proxy) -> None:
        proxy.refuse()
        with pytest.raises(Lost):
            await ask(proxy.address, "GET", "/whole", {})
        await proxy.accept()
        assert (await ask(proxy.address, "GET", "/whole", {})).body == BODY

    with_proxy(work)


def test_a_hole_swallows_what_comes_and_tells_nobody() -> None:
    async def work(proxy: Proxy) -> None:
        async with opened(proxy.address, "GET", "/open", {}) as response:
            pieces = response.pieces(patience=0.2)
            assert await anext(pieces) == BODY[:100]
            proxy.fault = Fault(hole=True)
            with pytest.raises(Lost, match="TimeoutError"):
                await anext(pieces)

    with_proxy(work)


def test_a_mute_proxy_asks_and_swallows_the_answer() -> None:
    async def main() -> None:
        asked = asyncio.Event()

        async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert await reader.readline() == b"COMMIT\n"
            writer.write(b"done\n")
            asked.set()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hear, "127.0.0.1", 0)
        async with server, Proxy(server.sockets[0].getsockname()) as proxy:
            proxy.fault = Fault(mute=True)
            reader, writer = await asyncio.open_connection(*proxy.address)
            writer.write(b"COMMIT\n")
            await asked.wait()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await reader.readline()
            proxy.reset()
            with pytest.raises(ConnectionError):
                await reader.readline()
            writer.close()

    asyncio.run(main())


def test_a_target_that_is_not_there_is_a_loss() -> None:
    async def work(proxy: Proxy) -> None:
        proxy.target = ("127.0.0.1", 1)
        with pytest.raises(Lost):
            await ask(proxy.address, "GET", "/whole", {})

    with_proxy(work)
