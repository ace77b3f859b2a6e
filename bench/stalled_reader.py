"""What a reader that takes nothing costs the others (the bar: memory within 30 MB, their latency within 20 %).

    python -m bench.stalled_reader [--seconds 60] [--rounds 2]

One `serve`. A thread is flooded with about 50 MB of events a minute, and somebody reads them. Beside it a few readers
follow runs whose model sends a word every 20 ms; a word is the moment at which it was sent, so each reader knows how
long it was under way. Rounds without and with one more reader of the flood, who takes nothing, take turns; the figure
is the ratio of the two in one run, and means something on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from tests.process import KEY, KumosProcess

READERS = 5
WORD_SECONDS = 0.02
FLOOD_SECONDS = 0.6
FLOOD = f"!fast !echo {' '.join(['ä🐉x' * 170 + 'y'] * 200)}"
"""Half a megabyte of events, each FLOOD_SECONDS."""
MEGABYTE = 1024 * 1024


async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A model that says what time it is until nobody listens."""
    with suppress(ConnectionError, asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")
        while not reader.at_eof():
            delta = {"choices": [{"index": 0, "delta": {"content": f"{time.monotonic():.6f} "}}]}
            writer.write(f"data: {json.dumps(delta)}\n\n".encode())
            await writer.drain()
            await asyncio.sleep(WORD_SECONDS)
    writer.close()


class Bench:
    def __init__(self, server: KumosProcess, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client
        self.took: list[float] | None = None
        self.memory: list[int] = []

    async def post(self, path: str, body: dict[str, object]) -> str:
        response = await self.client.post(path, json=body)
        return str(response.raise_for_status().json()["id"])

    async def read(self) -> None:
        """One run after the other, read as it comes; notes what each word took while somebody wants to know."""
        assistant = await self.post("/assistants", {"model": "clock"})
        thread = await self.post("/threads", {"messages": [{"role": "user", "content": "What time is it?"}]})
        body = {"assistant_id": assistant, "stream": True}
        async with self.client.stream("POST", f"/threads/{thread}/runs", json=body) as stream:
            async for line in stream.aiter_lines():
                if not line.startswith("data: {") or '"thread.message.delta"' not in line:
                    continue
                now = time.monotonic()
                for part in json.loads(line[6:])["delta"]["content"]:
                    words = part["text"]["value"].split()
                    if self.took is not None and words:
                        self.took.append(now - float(words[-1]))

    async def flood(self) -> None:
        assistant = await self.post("/assistants", {"model": "scripted"})
        self.flooded = await self.post("/threads", {})
        brief = {"truncation_strategy": {"type": "last_messages", "last_messages": 1}}
        while True:
            until = time.monotonic() + FLOOD_SECONDS
            await self.post(f"/threads/{self.flooded}/messages", {"role": "user", "content": FLOOD})
            body = {"assistant_id": assistant, "stream": True, **brief}
            async with self.client.stream("POST", f"/threads/{self.flooded}/runs", json=body) as stream:
                async for _ in stream.aiter_bytes():
                    pass
            await asyncio.sleep(max(0, until - time.monotonic()))

    @asynccontextmanager
    async def stalled(self) -> AsyncIterator[None]:
        _, writer = await asyncio.open_connection("127.0.0.1", self.server.port, limit=1)
        path = f"/v1/threads/{self.flooded}/runs/stream"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        yield
        writer.transport.abort()

    async def round(self, seconds: float) -> list[float]:
        """How long words were under way during so many seconds, sorted."""
        self.took, before = [], self.server.memory()
        grown = before
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(0.25)
            grown = max(grown, self.server.memory())
        self.memory.append(grown - before)
        took, self.took = sorted(self.took), None
        return took


def spread(took: list[float]) -> tuple[float, float]:
    """The median and the 95th percentile, in milliseconds."""
    return 1000 * statistics.median(took), 1000 * took[int(len(took) * 0.95)]


async def measure(server: KumosProcess, seconds: float, rounds: int) -> None:
    headers = {"Authorization": f"Bearer {KEY}", "OpenAI-Beta": "assistants=v2"}
    async with httpx.AsyncClient(base_url=f"{server.url}/v1", headers=headers, timeout=120, trust_env=False) as client:
        bench = Bench(server, client)
        work = [asyncio.create_task(bench.flood()), *(asyncio.create_task(bench.read()) for _ in range(READERS))]
        try:
            await bench.round(10)  # what is loaded once, is
            alone: list[float] = []
            beside: list[float] = []
            for number in range(rounds):
                alone += (without := await bench.round(seconds))
                async with bench.stalled():
                    beside += (with_it := await bench.round(seconds))
                for name, took in (("without", without), ("with", with_it)):
                    print(f"round {number + 1} {name:>7}: p50 %.2f ms, p95 %.2f ms, {len(took)} words" % spread(took))
            for task in work:
                assert not task.done(), task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
    (p50, p95), (p50_beside, p95_beside) = spread(sorted(alone)), spread(sorted(beside))
    print(f"a reader that takes nothing: p50 x {p50_beside / p50:.2f}, p95 x {p95_beside / p95:.2f} of what it was")
    print(f"memory grew by at most {max(bench.memory[2::2]) / MEGABYTE:.1f} MB with it, ", end="")
    print(f"{max(bench.memory[1::2]) / MEGABYTE:.1f} MB without")


async def main(seconds: float, rounds: int) -> None:
    model = await asyncio.start_server(speak, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{model.sockets[0].getsockname()[1]}/v1"
    settings = {
        "OPENAI_BASE_URL": url,
        "OPENAI_API_KEY": "none",
        "KUMOS_STALL_SECONDS": "600",
        "KUMOS_RUN_SECONDS": "3600",
    }
    with tempfile.TemporaryDirectory() as folder:
        server = KumosProcess(Path(folder), **settings)
        await asyncio.to_thread(server.start)
        try:
            await measure(server, seconds, rounds)
        finally:
            await asyncio.to_thread(server.terminate)
    model.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of one round")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(main(options.seconds, options.rounds))
