"""A language model that says exactly what a test tells it to: a /chat/completions server for runs.

    with Model() as model:
        model.will("Hello ", "world")                       # one turn: text, tool calls, an Event to wait for …
        model.will(call("get_weather", "{}"), finish="tool_calls")

What was asked is in `model.requests`. Servers that misbehave are in tests/upstream.py.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.loops import PATIENCE_SECONDS

Said = str | dict[str, Any] | threading.Event
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}


def call(name: str, *arguments: str, id: str = "", index: int = 0) -> list[dict[str, Any]]:
    """The pieces of one tool call: its name first, then its arguments in these pieces."""
    opening = {"index": index, "id": id or f"call_{name}{index}", "type": "function"}
    pieces = [{**opening, "function": {"name": name, "arguments": ""}}]
    pieces += [{"index": index, "function": {"arguments": piece}} for piece in arguments]
    return [{"tool_calls": [piece]} for piece in pieces]


class Model:
    """`asked` is set when the first turn is asked for; turns that nobody prepared answer "Well."."""

    def __init__(self) -> None:
        self.turns: list[tuple[list[Said], str | None]] = []
        self.requests: list[dict[str, Any]] = []
        self.usage = USAGE
        self.asked = threading.Event()
        self.gone = threading.Event()
        self.waited_for: list[threading.Event] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def will(self, *said: Said | list[dict[str, Any]], finish: str | None = "stop") -> None:
        """Prepares the next turn. An Event in it is waited for."""
        flat: list[Said] = []
        for one in said:
            flat.extend(one if isinstance(one, list) else [one])
        self.turns.append((flat, finish))

    def wait_for_request(self) -> None:
        assert self.asked.wait(20)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for event in self.waited_for:  # no turn outlives its test
            event.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def handler_of(model: Model) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            model.requests.append(json.loads(body))
            model.asked.set()
            said, finish = model.turns.pop(0) if model.turns else (["Well."], "stop")
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                for one in said:
                    if isinstance(one, threading.Event):
                        model.waited_for.append(one)
                        one.wait(PATIENCE_SECONDS)
                    else:
                        self.chunk({"delta": {"content": one} if isinstance(one, str) else one, "finish_reason": None})
                self.chunk({"delta": {}, "finish_reason": finish}, usage=model.usage)
                self.wfile.write(b"data: [DONE]\n\n")
            except OSError:
                model.gone.set()

        def chunk(self, choice: dict[str, Any], **more: Any) -> None:
            data = {"object": "chat.completion.chunk", "choices": [{"index": 0, **choice}], **more}
            self.wfile.write(f"data: {json.dumps(data)}\n\n".encode())
            self.wfile.flush()

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
