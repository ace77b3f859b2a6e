"""How the tests of a served Kumos ask and listen: JSON requests, and event streams as the bytes that arrive."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from tests.process import KEY, KumosProcess
from tests.wire import check_event, check_response

SECONDS = 60.0
"""How long anything here waits before it gives up. Machines that run tests are slow at times."""
HEARTBEAT = b": keep-alive\n"
TERMINAL = tuple(f"thread.run.{end}" for end in ("completed", "failed", "cancelled", "expired", "incomplete"))
CUT = (http.client.IncompleteRead, ConnectionError)
"""What a reader sees when a stream is cut instead of ended."""


@dataclass(frozen=True, slots=True)
class Frame:
    id: int | None
    name: str
    data: str

    @property
    def object(self) -> dict[str, Any]:
        return dict(json.loads(self.data))


DONE = Frame(None, "done", "[DONE]")


def frames(raw: bytes) -> list[Frame]:
    """The complete frames of `raw`; half a frame at its end was not received. Accepts what contract 3.2 allows only."""
    found = []
    for block in raw.split(b"\n\n")[:-1]:
        lines = [line for line in block.decode().split("\n") if not line.startswith(":")]
        fields = dict(line.split(": ", 1) for line in lines)
        assert len(fields) == len(lines), block
        assert fields.keys() <= {"id", "event", "data"}, block
        check_event(fields["event"], fields["data"])
        number = fields["id"].rpartition(":")[2] if "id" in fields else None  # of several threads: thread_A:13
        found.append(Frame(int(number) if number else None, fields["event"], fields["data"]))
    return found


def names(found: Sequence[Frame]) -> list[str]:
    return [frame.name for frame in found]


def text_of(found: Sequence[Frame], message_id: str | None = None) -> str:
    """The deltas of one message, or of all, put together."""
    said = [frame.object for frame in found if frame.name == "thread.message.delta"]
    return "".join(
        part["text"]["value"]
        for delta in said
        if message_id in (None, delta["id"])
        for part in delta["delta"]["content"]
    )


def ends_of(found: Sequence[Frame]) -> list[str]:
    """The terminal run events."""
    return [frame.name for frame in found if frame.name in TERMINAL]


class Watcher:
    """An open stream. A thread of its own collects what comes; it is open when this returns."""

    def __init__(self, base: str, method: str, path: str, headers: dict[str, str], body: bytes | None) -> None:
        address = urlsplit(base)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
        self._connection.connect()
        self._socket = self._connection.sock
        self._connection.request(method, path, body, headers)
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = {name.lower(): value for name, value in self._response.getheaders()}
        self._raw = bytearray()
        self.error: Exception | None = None
        self._over = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read, name=f"watch {path}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            while piece := self._response.read1(65536):
                with self._changed:
                    self._raw += piece
                    self._changed.notify_all()
        except (OSError, http.client.HTTPException) as error:
            self.error = error
        finally:
            with self._changed:
                self._over = True
                self._changed.notify_all()

    @property
    def raw(self) -> bytes:
        return bytes(self._raw)

    @property
    def frames(self) -> list[Frame]:
        return frames(self.raw)

    def wait(self, condition: Callable[[Self], bool], seconds: float = SECONDS) -> list[Frame]:
        """The frames, as soon as `condition` holds. Fails if the stream is over before that."""
        give_up_at = time.monotonic() + seconds
        with self._changed:
            while not condition(self):
                left = give_up_at - time.monotonic()
                assert left > 0, f"waited {seconds} s in vain after {names(self.frames)[-3:]}"
                assert not self._over, f"over ({self.error!r}) after {names(self.frames)[-3:]}"
                self._changed.wait(left)
            return self.frames

    def wait_for(self, name: str, count: int = 1) -> list[Frame]:
        return self.wait(lambda watcher: names(watcher.frames).count(name) >= count)

    def end(self, seconds: float = SECONDS) -> list[Frame]:
        """All frames of a stream that ends cleanly. Raises what cut it (CUT)."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._over, seconds), f"still open after {names(self.frames)[-3:]}"
        if self.error is not None:
            raise self.error
        return self.frames

    def close_when_done(self) -> None:
        """Waits for the end of a long story without looking at it again and again, and drops it."""
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        assert self.error is None, self.error
        self.close()

    def close(self) -> None:
        """The reader goes away."""
        with suppress(OSError):
            self._socket.shutdown(2)
        self._thread.join(SECONDS)
        self._response.close()
        self._connection.close()
        self._socket.close()


class Desk:
    """Somebody with a key. Paths are below /v1. Closes what it opened."""

    def __init__(self, server: KumosProcess) -> None:
        self.server = server
        self._stack = ExitStack()
        self.headers = {"Authorization": f"Bearer {KEY}"}
        self.http = self._stack.enter_context(
            httpx.Client(
                base_url=f"{server.url}/v1",
                headers=self.headers,
                timeout=SECONDS,
                verify=False,
                event_hooks={"response": [check_response]},
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def make(self, path: str, body: Any = None) -> dict[str, Any]:
        """POST that must succeed; the object."""
        answer = self.http.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def refused(self, method: str, path: str, **request: Any) -> httpx.Response:
        """The answer to a request that must not be granted. A stream that opens instead is not waited for."""
        with self.http.stream(method, path, **request) as answer:
            assert answer.status_code != 200
            answer.read()
            return answer

    def assistant(self, **fields: Any) -> str:
        return str(self.make("/assistants", {"model": "scripted", **fields})["id"])

    def thread(self, text: str = "") -> str:
        messages = [{"role": "user", "content": text}] if text else []
        return str(self.make("/threads", {"messages": messages})["id"])

    def ask(self, text: str, *, thread: str = "", assistant: str = "", **run: Any) -> str:
        """The path of a new run about `text`, in the thread or in a new one."""
        thread = thread or self.thread()
        self.make(f"/threads/{thread}/messages", {"role": "user", "content": text})
        body = {"assistant_id": assistant or self.assistant(), **run}
        return f"/threads/{thread}/runs/{self.make(f'/threads/{thread}/runs', body)['id']}"

    def ended(self, path: str) -> dict[str, Any]:
        """The run, once it is over."""
        give_up_at = time.monotonic() + SECONDS
        while (run := self.get(path))["status"] in ("queued", "in_progress", "cancelling"):
            assert time.monotonic() < give_up_at, run
            time.sleep(0.05)
        return run

    def watch(
        self, path: str, *, after: int | None = None, post: Any = None, headers: dict[str, str] | None = None
    ) -> Watcher:
        """An open stream: of a GET, after the event `after`, or of a POST. Closed with the desk at the latest."""
        sent = {**self.headers, **(headers or {})}
        if after is not None:
            sent["Last-Event-ID"] = str(after)
        body = None
        if post is not None:
            body = json.dumps(post).encode()
            sent["Content-Type"] = "application/json"
        watcher = Watcher(self.server.url, "GET" if body is None else "POST", f"/v1{path}", sent, body)
        self._stack.callback(watcher.close)
        assert watcher.status == 200, watcher.end()
        return watcher

    def read(self, path: str, *, after: int | None = None, headers: dict[str, str] | None = None) -> bytes:
        """A whole stream, which must end cleanly."""
        watcher = self.watch(path, after=after, headers=headers)
        watcher.end()
        watcher.close()
        return watcher.raw


def as_streamed(run: dict[str, Any]) -> dict[str, Any]:
    """A run that GET answered, as an event shows it: empty tool resources are spelled out there (contract 10.4)."""
    return {**run, "tool_resources": {"code_interpreter": {"file_ids": []}}}


def last_id(found: Sequence[Frame]) -> int | None:
    """The cursor of a reader who has seen these."""
    return max((frame.id for frame in found if frame.id is not None), default=None)
