"""A real MCP server, from the official package, in a process of its own. It misbehaves on command.

    with McpProcess(tmp_path) as server:         # server.url → http://127.0.0.1:PORT/mcp
        …                                        # tools: add book slow huge long image die closed
        server.booked                            # what `book` was called with, line by line

Other paths: /key (wants `X-Key: hunter2`, or `Authorization: Bearer hunter2`), /redirect, /html, /endless, /silent.
By hand: `python -m tests.mcp_server PORT FOLDER`.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from tests import reaper
from tests.loops import PATIENCE_SECONDS
from tests.ports import free_port

KEY = "hunter2-mcp"
HUGE = 6 * 1024 * 1024


class McpProcess:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.at("mcp")

    def at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def booked(self) -> list[str]:
        return self._lines("booked")

    @property
    def begun(self) -> list[str]:
        """Which tools have begun something slow."""
        return self._lines("begun")

    def _lines(self, name: str) -> list[str]:
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.mcp_server", str(self.port), str(self.folder)]
        with (self.folder / "mcp.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        reaper.bind(self.process.pid)
        give_up_at = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                told = (self.folder / "mcp.log").read_text()
                assert self.process.poll() is None and time.monotonic() < give_up_at, told  # noqa: PT018
                time.sleep(0.05)
            else:
                return self

    def __exit__(self, *exc: object) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()


# In the process -------------------------------------------------------------------------------------------------------


def note(folder: Path, name: str, line: str) -> None:
    with (folder / name).open("a") as file:
        file.write(f"{line}\n")


def server_in(folder: Path) -> Any:
    from mcp.server.mcpserver import Image, MCPServer
    from mcp_types import ToolAnnotations

    server = MCPServer("Misbehaving", log_level="ERROR")
    harmless = ToolAnnotations(read_only_hint=True)

    @server.tool(annotations=harmless)
    def add(a: int, b: int) -> int:
        """Adds two numbers."""
        return a + b

    @server.tool()
    def book(train: str) -> str:
        """Books a seat."""
        note(folder, "booked", train)
        return f"Seat 7 in {train}."

    @server.tool()
    async def slow(seconds: float = 600) -> str:
        """Takes its time."""
        note(folder, "begun", "slow")
        await asyncio.sleep(seconds)
        return "At last."

    @server.tool()
    def huge() -> str:
        """Says too much."""
        return "x" * HUGE

    @server.tool(annotations=harmless)
    def long() -> str:
        """Says much."""
        return "x" * (700 * 1024)

    @server.tool(annotations=harmless, structured_output=False)
    def image() -> Any:
        """Shows something."""
        return Image(data=b"\x89PNG", format="png")

    @server.tool()
    def die() -> str:
        """Ends the server in the middle of a call."""
        note(folder, "begun", "die")
        os._exit(1)

    @server.tool(annotations=harmless)
    def closed() -> str:
        """Is always closed."""
        from mcp.server.mcpserver.exceptions import ToolError

        raise ToolError("we are closed")

    return server


def doors(app: Any) -> Any:
    """What stands in front of the server."""

    async def answer(send: Any, status: int, body: bytes = b"", **headers: str) -> None:
        told = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": told})
        await send({"type": "http.response.body", "body": body})

    async def endless(send: Any) -> None:
        told = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": told})
        for _ in range(200):  # who is gone is not told of: without an end, nobody else would be answered
            await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})

    async def in_front(scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "http":
            return await app(scope, receive, send)
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        match scope["path"]:
            case "/key":
                given = {headers.get("x-key"), headers.get("authorization")}
                if not given & {KEY, f"Bearer {KEY}"}:
                    return await answer(send, 401, f"no: {given}".encode())
                scope = {**scope, "path": "/mcp", "raw_path": b"/mcp"}
            case "/redirect":
                return await answer(send, 307, location="/mcp")
            case "/html":
                return await answer(send, 200, b"<h1>It works</h1>", content_type="text/html")
            case "/endless":
                return await endless(send)
            case "/silent":
                return await asyncio.Event().wait()
        return await app(scope, receive, send)

    return in_front


def serve(port: int, folder: Path) -> None:
    import uvicorn

    app = server_in(folder).streamable_http_app(stateless_http=True)
    uvicorn.run(doors(app), port=port, log_level="error", lifespan="on")


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
