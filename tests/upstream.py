"""A real /chat/completions server that misbehaves on command. It runs in a thread of its own and speaks raw HTTP/1.1.

    with Upstream() as up:                       # up.base_url → http://127.0.0.1:PORT/v1
        …                                        # let something call it with "model": "stall:3"
        up.wait_for_calls(1); up.wait_for_aborted(1)

The mode of a call is the next of `up.queue(…)`, else the request's model where that names one, else `up.mode` ("ok").
Modes, with their arguments behind colons:

    ok[:WORDS[:RATE]]    the expected text of the prompt, or WORDS words, at RATE words a second
    seeded:WORDS[:RATE[:SEED]]   like it, but the words are those of `seeded_text`: each prompt has its own
    gated[:WORDS]        like ok, but each word waits for `up.release()`
    tool:NAME:{JSON}     call a function; once its output is there, say it.   tool-loop:…  call it for ever
    stall[:WORDS]        say WORDS words, then keep silent.        slow-first:SECONDS  wait, then ok
    429[:TIMES[:AFTER]]  refuse TIMES times with Retry-After: AFTER, then ok.   503-then-ok  once
    400 400-context 401 404 408 500 redirect refuses:FIELD         answer so (refuses: only while the field is there)
    drop cut rst         close at once; end in mid-token by FIN; by RST
    empty-once           an answer without a word or an end, then ok
    garbage html         broken JSON in the stream; a web page
    endless huge-line huge-text many-calls       never stop; a line of 2 MB; 12 MB of text; 200 calls
    keepalive-forever    comments, and nothing else
    no-done no-finish no-usage finish-hangs done-hangs error-chunk[:TYPE]   odd ends
    json-not-sse         one JSON object, although a stream was asked for

Calls without "stream": true are answered as JSON in mode ok and tool. By hand: `python tests/upstream.py --port N`.
Then, and from other processes, `GET /control` gives the counts, and `POST /control` takes {"mode": …, "queue": […],
"release": N}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

NAMES = frozenset(
    [
        *(
            "ok",
            "seeded",
            "gated",
            "tool",
            "tool-loop",
            "stall",
            "slow-first",
            "429",
            "503-then-ok",
            "400",
            "400-context",
            "401",
        ),
        *("404", "408", "500", "redirect", "refuses", "drop", "cut", "rst", "empty-once", "garbage", "html", "endless"),
        *("huge-line", "huge-text", "many-calls", "keepalive-forever", "no-done", "no-finish", "no-usage"),
        *("finish-hangs", "done-hangs", "error-chunk", "json-not-sse"),
    ]
)
ERRORS: dict[str, tuple[int, str, str]] = {
    "400": (400, "Unknown parameter: 'colour'.", "unknown_parameter"),
    "400-context": (400, "This model's maximum context length is 8 tokens.", "context_length_exceeded"),
    "401": (401, "Incorrect API key provided: sk-inner-secret.", "invalid_api_key"),
    "404": (404, "The model 'nobody' does not exist.", "model_not_found"),
    "408": (408, "Too slow.", "timeout"),
    "429": (429, "Rate limit reached.", "rate_limit_exceeded"),
    "500": (500, "The engine broke at http://root:hunter2@10.0.0.1/engine.", "server_error"),
    "503-then-ok": (503, "Loading the model.", "unavailable"),
}
WAIT_SECONDS = 30.0


def words(count: int) -> str:
    """`count` numbered words: a lost or doubled one shows."""
    return " ".join(f"w{number}" for number in range(1, count + 1))


def seeded_text(prompt: str, count: int, seed: str = "0") -> str:
    """`count` words that only this prompt and seed have, the first of them with its number."""
    chance = random.Random(f"{seed}:{prompt}")
    return " ".join(f"{number}-{chance.randrange(16**4):04x}" for number in range(1, count + 1))


def expected_text(prompt: str) -> str:
    """What mode ok says to a prompt (the last message's text)."""
    return f"You said: {prompt} That is all."


@dataclass(slots=True)
class Call:
    """One request as it came. `aborted`: the client went before the answer was complete."""

    mode: str
    body: dict[str, Any]
    headers: dict[str, str]
    aborted: bool = False
    ended: bool = False
    ended_at: float = 0.0

    @property
    def prompt(self) -> str:
        content = self.body["messages"][-1].get("content") if self.body.get("messages") else ""
        if isinstance(content, list):
            return "".join(part.get("text", "") for part in content)
        return content or ""


@dataclass(slots=True)
class Upstream:
    """The server; a context manager. Its counters and waits may be used from any thread."""

    mode: str = "ok"
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _thread: threading.Thread | None = None
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def aborted(self) -> int:
        return sum(call.aborted for call in self.calls)

    @property
    def open(self) -> int:
        """Calls that are being answered."""
        return sum(not call.ended for call in self.calls)

    def counts(self) -> dict[str, Any]:
        """What `GET /control` answers. `prompts`: how many calls there were for each; `ends`: when the last ended."""
        prompts = Counter(call.prompt for call in self.calls)
        ends = {call.prompt: call.ended_at for call in self.calls if call.ended}
        return {
            "calls": len(self.calls),
            "aborted": self.aborted,
            "open": self.open,
            "prompts": prompts,
            "ends": ends,
        }

    def queue(self, *modes: str) -> None:
        """Modes of the next calls, one each, whatever model they ask for."""
        self.queued += modes

    def release(self, count: int = 1) -> None:
        """Let `count` more words of gated calls go."""
        for _ in range(count):
            self._loop.call_soon_threadsafe(self._gate.release)

    def wait_for(self, condition: Callable[[], bool], timeout: float = WAIT_SECONDS) -> None:
        """Wait until `condition` holds; it is looked at whenever a call starts or ends. Raises AssertionError."""
        with self.changed:
            assert self.changed.wait_for(condition, timeout), f"not within {timeout:g} s; calls: {self.calls}"

    def wait_for_calls(self, count: int = 1, timeout: float = WAIT_SECONDS) -> list[Call]:
        self.wait_for(lambda: len(self.calls) >= count, timeout)
        return self.calls

    def wait_for_aborted(self, count: int = 1, timeout: float = WAIT_SECONDS) -> None:
        self.wait_for(lambda: self.aborted >= count, timeout)

    def wait_until_idle(self, timeout: float = WAIT_SECONDS) -> None:
        self.wait_for(lambda: self.open == 0, timeout)

    # Life ---------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="upstream", daemon=True)
        self._thread.start()
        assert ready.wait(WAIT_SECONDS), "the upstream did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        assert self._thread is not None
        self._thread.join(WAIT_SECONDS)

    def _run(self, ready: threading.Event) -> None:
        loop = self._loop
        asyncio.set_event_loop(loop)
        server = loop.run_until_complete(asyncio.start_server(self._accept, "127.0.0.1", self.port))
        self.port = server.sockets[0].getsockname()[1]
        loop.call_soon(ready.set)
        loop.run_forever()
        server.close()
        for task in self._tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        loop.run_until_complete(server.wait_closed())
        loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        call: Call | None = None
        try:
            path, headers, body = await self._read(reader)
            if path == "/control":
                return await self._control(body, writer)
            call = self._take(headers, body)
            await self._serve(call, reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            if call:
                call.aborted = True
        except asyncio.CancelledError:  # the end of the server
            pass
        finally:
            with self.changed:
                if call:
                    call.ended, call.ended_at = True, time.time()
                self.changed.notify_all()
            writer.close()
            with suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, dict[str, str], dict[str, Any]]:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        return head[0].split(" ")[1], headers, json.loads(raw) if raw else {}

    async def _control(self, orders: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        with self.changed:
            self.mode = orders.get("mode", self.mode)
            self.queued += orders.get("queue", [])
            answer = json.dumps(self.counts()).encode()
        self.release(orders.get("release", 0))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(answer), answer))
        await writer.drain()

    def _take(self, headers: dict[str, str], body: dict[str, Any]) -> Call:
        model = str(body.get("model", ""))
        with self.changed:
            named = model if model.partition(":")[0] in NAMES else self.mode
            call = Call(self.queued.pop(0) if self.queued else named, body, headers)
            self.calls.append(call)
            self.changed.notify_all()
        return call

    async def _serve(self, call: Call, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer, and watch for the client's going at the same time."""
        answering = asyncio.ensure_future(Reply(self, call, writer).send())
        watching = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait({answering, watching}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            else:
                call.aborted = True
        finally:
            for task in (answering, watching):
                task.cancel()
            await asyncio.gather(answering, watching, return_exceptions=True)

    def refuses_again(self, call: Call, times: int) -> bool:
        """Whether this is one of the first `times` calls in its mode."""
        self.refusals[call.mode] = self.refusals.get(call.mode, 0) + 1
        return self.refusals[call.mode] <= times


@dataclass(slots=True)
class Reply:
    """One answer, written piece by piece."""

    upstream: Upstream
    call: Call
    writer: asyncio.StreamWriter

    async def send(self) -> None:
        name, *arguments = self.call.mode.split(":")
        first = arguments[0] if arguments else ""
        if name == "429" and self.upstream.refuses_again(self.call, int(first or 10**9)):
            after = arguments[1] if len(arguments) > 1 else "0"
            return await self.error("429", f"Retry-After: {after}\r\n")
        if name == "503-then-ok" and self.upstream.refuses_again(self.call, 1):
            return await self.error(name)
        if name in {"400", "400-context", "401", "404", "408", "500"}:
            return await self.error(name)
        if name == "refuses" and first in self.call.body:
            return await self.whole(400, {"error": {"message": f"Unsupported parameter: '{first}'.", "code": None}})
        if name == "redirect":
            return await self.raw(
                b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
            )
        if name == "html":
            return await self.whole(200, "<!doctype html><h1>It works</h1>", "text/html; charset=utf-8")
        if name == "drop":
            return None
        if name == "json-not-sse" or not self.call.body.get("stream"):
            return await self.whole(200, self.completion())
        await self.raw(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
            b"Connection: close\r\n\r\n"
        )
        await self.stream(name, first)
        return None

    async def stream(self, name: str, first: str) -> None:
        match name:
            case "slow-first":
                await asyncio.sleep(float(first or "1"))
            case "cut" | "rst":
                return await self.cut(name)
            case "empty-once":
                if self.upstream.refuses_again(self.call, 1):
                    return await self.raw(b"0\r\n\r\n")
            case "tool" | "tool-loop":
                if name == "tool-loop" or self.call.body["messages"][-1].get("role") != "tool":
                    return await self.tool_call()
            case "many-calls":
                for index in range(200):
                    function = {"name": "f", "arguments": "{}"}
                    await self.delta({"tool_calls": [{"index": index, "id": f"c{index}", "function": function}]})
            case "garbage":
                await self.say("Half a ")
                await self.data(b'data: {"choices": [{"delta": {"con\n\n')
            case "huge-line":
                await self.data(b"data: " + b"x" * 2_000_000)
            case "huge-text":
                for _ in range(24):
                    await self.say("y" * 512 * 1024)
            case "keepalive-forever":
                while True:
                    await self.data(b": ping\n\n")
                    await asyncio.sleep(0.02)
            case "endless":
                while True:
                    await self.say("more ")
            case "error-chunk":
                error = {"message": "The engine broke.", "type": first or "server_error", "code": first or None}
                await self.chunk({"error": error})
                return await self.end(usage=False)
        await self.text_and_end(name)
        return None

    async def text_and_end(self, name: str) -> None:
        async for word in self.paced():
            await self.say(word)
        if name == "stall":
            await asyncio.Event().wait()
        if name != "no-finish":
            await self.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if name == "finish-hangs":
            await asyncio.Event().wait()
        await self.end(usage=name != "no-usage", done=name != "no-done")
        if name == "done-hangs":
            await asyncio.Event().wait()

    async def paced(self) -> AsyncIterator[str]:
        """The text's words, each when it is due. The rate counts from the start, so it does not drift."""
        name, *arguments = self.call.mode.split(":")
        rate = float(arguments[1]) if name in {"ok", "seeded"} and len(arguments) > 1 else 0.0
        clock = asyncio.get_running_loop().time
        started = clock()
        for number, word in enumerate(self.text().split(" ")):
            if name == "gated":
                await self.upstream._gate.acquire()
            elif rate:
                await asyncio.sleep(max(0.0, started + number / rate - clock()))
            yield word if number == 0 else f" {word}"

    def text(self) -> str:
        name, *arguments = self.call.mode.split(":")
        if name == "seeded":
            return seeded_text(self.call.prompt, int(arguments[0]), *arguments[2:3])
        if name in {"ok", "gated", "stall"} and arguments and arguments[0]:
            return words(int(arguments[0]))
        return words(3) if name == "stall" else expected_text(self.call.prompt)

    async def tool_call(self) -> None:
        _, name, arguments = self.call.mode.split(":", 2)
        half = len(arguments) // 2
        call_id = f"call_{len(self.upstream.calls)}"
        function = {"name": name, "arguments": ""}
        await self.delta({"tool_calls": [{"index": 0, "id": call_id, "type": "function", "function": function}]})
        for part in (arguments[:half], arguments[half:]):
            await self.delta({"tool_calls": [{"index": 0, "function": {"arguments": part}}]})
        await self.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        await self.end()

    async def cut(self, name: str) -> None:
        await self.say("Half a ")
        await self.data(b'data: {"choices": [{"delta": {"con')
        if name == "rst":
            connection: socket.socket = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def usage(self) -> dict[str, int]:
        prompt, completion = len(self.call.prompt.split()), len(self.text().split())
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def completion(self) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.text()}
        reason = "stop"
        if self.call.mode.startswith("tool") and self.call.body["messages"][-1].get("role") != "tool":
            _, name, arguments = self.call.mode.split(":", 2)
            function = {"name": name, "arguments": arguments}
            message = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
            reason = "tool_calls"
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return {"object": "chat.completion", "choices": [choice], "usage": self.usage()}

    # Bytes --------------------------------------------------------------------------------------------------------

    async def say(self, text: str) -> None:
        await self.delta({"content": text})

    async def delta(self, delta: dict[str, Any]) -> None:
        await self.chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    async def chunk(self, chunk: dict[str, Any]) -> None:
        await self.data(b"data: " + json.dumps({"object": "chat.completion.chunk", **chunk}).encode() + b"\n\n")

    async def end(self, *, usage: bool = True, done: bool = True) -> None:
        if usage and self.call.body.get("stream_options", {}).get("include_usage"):
            await self.chunk({"choices": [], "usage": self.usage()})
        if done:
            await self.data(b"data: [DONE]\n\n")
            if self.call.mode == "done-hangs":
                return
        await self.raw(b"0\r\n\r\n")

    async def data(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def error(self, name: str, headers: str = "") -> None:
        status, message, code = ERRORS[name]
        await self.whole(status, {"error": {"message": message, "type": "error", "code": code}}, headers=headers)

    async def whole(self, status: int, body: Any, kind: str = "application/json", headers: str = "") -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        head = f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n{headers}"
        await self.raw(f"{head}Connection: close\r\n\r\n".encode() + content)


def main() -> None:
    parser = argparse.ArgumentParser(description="A /chat/completions server that misbehaves on command.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--mode", default="ok", help="for models whose name is no mode")
    options = parser.parse_args()
    with Upstream(mode=options.mode, port=options.port) as upstream:
        print(upstream.base_url, flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
