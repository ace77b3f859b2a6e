"""HTTP by hand: requests that no client library would send, and answers read byte by byte."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import orjson

from tests.e2e.events import SECONDS
from tests.process import KEY, KumosProcess

BEARER = f"Authorization: Bearer {KEY}"
JSON = "Content-Type: application/json"


@dataclass(frozen=True, slots=True)
class RawAnswer:
    """An answer as it came; header names in lower case, several of one name are a fault."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def read(cls, response: http.client.HTTPResponse) -> Self:
        headers = {name.lower(): value for name, value in response.getheaders()}
        assert len(headers) == len(response.getheaders())
        return cls(response.status, headers, response.read())

    @property
    def error(self) -> dict[str, Any]:
        """The error object, which must be whole."""
        assert self.headers["content-type"] == "application/json"
        error: dict[str, Any] = orjson.loads(self.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        return error


class Kept:
    """What an HTTPResponse reads from in place of a socket: what it read too much is the next one's beginning."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file = file

    def makefile(self, mode: str) -> Self:
        return self

    def close(self) -> None:
        """It does so after each answer."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class RawConnection:
    """A connection to the server that says exactly what it is told to."""

    def __init__(self, server: KumosProcess, seconds: float = SECONDS) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), timeout=seconds)
        self._kept: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._kept:
            self._kept.file.close()
        self.socket.close()

    def head(self, line: str, *headers: str) -> Self:
        """Sends a request line and headers, and the blank line after them. `Host` goes by itself."""
        self.socket.sendall("\r\n".join([f"{line} HTTP/1.1", "Host: localhost", *headers, "", ""]).encode())
        return self

    def send(self, data: bytes) -> Self:
        self.socket.sendall(data)
        return self

    def answer(self) -> RawAnswer:
        self._kept = self._kept or Kept(self.socket.makefile("rb"))
        response = http.client.HTTPResponse(self._kept)
        response.begin()
        return RawAnswer.read(response)

    def is_closed(self) -> bool:
        """Waits until the server has closed its side: whether it sent nothing more before that."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
