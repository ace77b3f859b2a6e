"""Requests on their way in: heads and bodies within bounds of size and time, and answers to what is beyond them.

Twisted collects a whole request before anybody sees it. Here it is refused as soon as its head, or what came of its
body, shows that it must be: unread, with the contract's text, and so that its client sees the answer. What a request
says is not looked at; DRF and the parsers do that.

Reaches into private things of Twisted and daphne, as server.py does; tests cover them and the versions are pinned.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from http import HTTPStatus
from io import BytesIO
from tempfile import TemporaryFile
from typing import IO

import orjson
from daphne.http_protocol import WebRequest
from django.conf import settings
from twisted.web.http import HTTPChannel

from assistants.authentication import NO_KEY, bearer
from assistants.errors import SERVER_FAULT, ApiError
from assistants.headers import is_api, reply_headers
from assistants.ids import new_request_id
from assistants.parsers import FORM_OVERHEAD_BYTES, body_too_large, file_too_large

MEMORY_BYTES = 100_000
"""A body that is larger lies in a file, and is taken apart on threads of its own (asgi.py)."""
KEYLESS_BYTES = 64 * 1024
"""How much is read for somebody who shows neither a key nor a session."""
PROGRESS_BYTES = 1024
"""What must arrive of a body in KUMOS_BODY_SECONDS. A byte now and then is no progress."""
LINGER_SECONDS = 10.0
"""How long a refused request is read on, and thrown away: closing at once would destroy the answer on its way."""
UNSENT_BYTES = 64 * 1024
"""What the system keeps for a slow client, besides what is under way to it; its default is some megabytes."""

NO_HTTP = "The request is not valid HTTP."
TOO_SLOW = "The request took too long to arrive."

Header = tuple[bytes, bytes]


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. Once `refused`, it hears nothing more."""

    refused = False
    _reading_head = False
    _arrived = 0

    def connectionMade(self) -> None:
        super().connectionMade()
        tune(self.transport.getHandle())

    def dataReceived(self, data: bytes) -> None:
        """Twisted's own takes every byte for progress, so that a request may take for ever."""
        if self.refused:
            return
        if self.line_mode and not self._reading_head:  # the first bytes of a request
            self._reading_head = True
            self.resetTimeout()
        elif not self.line_mode:
            self._arrived += len(data)
            if self._arrived >= PROGRESS_BYTES:
                self._arrived = 0
                self.resetTimeout()
        super(HTTPChannel, self).dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        if not self.refused:
            super().lineReceived(line)

    def allHeadersReceived(self) -> None:
        self._reading_head = False
        self._arrived = 0
        self.resetTimeout()
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        if not self.refused:
            super().allContentReceived()

    def _send100Continue(self) -> None:
        if not self.refused:
            super()._send100Continue()

    def timeoutConnection(self) -> None:
        if self.requests and not self._handlingRequest:
            self.refuse(ApiError(TOO_SLOW, status=408, code="request_timeout"), path="/v1/")
        else:
            super().timeoutConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if not self.refused:
            self.refuse(ApiError(NO_HTTP), path="/v1/")

    def refuse(self, error: ApiError, path: str) -> None:
        """Answers a request that is not read to its end, and closes the connection."""
        self.refused = True
        self.setTimeout(None)
        headers, content = answer(error, path)
        lines = [
            f"HTTP/1.1 {error.status_code} {HTTPStatus(error.status_code).phrase}".encode(),
            *(b"%b: %b" % header for header in headers),
        ]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(content), b"Connection: close"])
        self._networkProducer.unregisterProducer()
        self.transport.write(head + b"\r\n\r\n" + content)
        self.transport.loseWriteConnection()
        self._abortingCall = self.callLater(LINGER_SECONDS, self.forceAbortClient)
        for request in self.requests:
            request.forget()


def tune(connection: socket.socket) -> None:
    """A client that is gone without a word is noticed; a slow one costs the system little. Where the system can."""
    stall = settings.KUMOS_STALL_SECONDS
    wanted = {"TCP_NOTSENT_LOWAT": UNSENT_BYTES, "TCP_USER_TIMEOUT": int(stall * 1000)}
    for name, value in wanted.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Request(WebRequest):  # type: ignore[misc]
    """A request that looks at its size before its body is read, and at what was read of it."""

    bytes_max = 0

    def gotLength(self, length: int | None) -> None:
        """The head is complete. `length` is None for a chunked body."""
        self.content: IO[bytes] = BytesIO()
        self.bytes_max = self._bytes_max()
        if length is not None:
            self._check(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.refused:
            return
        size = self.content.tell() + len(data)
        self._check(size)
        if self.channel.refused:
            return
        if size > MEMORY_BYTES and isinstance(self.content, BytesIO):
            whole = self.content.getvalue()
            self.content = TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115
            self.content.write(whole)
        self.content.write(data)

    def forget(self) -> None:
        if self.content is not None:
            self.content.close()

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """daphne's own answers, which would be pages of HTML."""
        if status == 500:
            error = ApiError(SERVER_FAULT, status=500, type="server_error")
        else:
            error = ApiError(f"{NO_HTTP[:-1]}: {body[:1].lower()}{body[1:]}.", status=status)
        headers, content = answer(error, "/v1/")
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})

    # What it may bring ------------------------------------------------------------------------------------------------

    @property
    def _address(self) -> str:
        return str(self.channel._path.partition(b"?")[0].decode("ascii", "replace"))

    def _header(self, name: str) -> str:
        values: Sequence[bytes] = self.requestHeaders.getRawHeaders(name.encode(), [b""])
        return values[0].decode("latin-1")

    def _shows_session(self) -> bool:
        return f"{settings.SESSION_COOKIE_NAME}=" in self._header("Cookie")

    def _is_upload(self) -> bool:
        return self._header("Content-Type").lower().startswith("multipart/")

    def _bytes_max(self) -> int:
        # Beside /files, the admin's forms take files.
        takes_files = self._address == "/v1/files" if is_api(self._address) else self._shows_session()
        if takes_files and self._is_upload():
            return int(settings.KUMOS_FILE_BYTES_MAX) + FORM_OVERHEAD_BYTES
        return int(settings.KUMOS_BODY_BYTES_MAX)

    def _check(self, size: int) -> None:
        """Refuses a body of so many bytes, or of so many so far, if nobody would take it."""
        error: ApiError | None = None
        if size > KEYLESS_BYTES and not (bearer(self._header("Authorization")) or self._shows_session()):
            error = ApiError(NO_KEY, status=401) if is_api(self._address) else body_too_large(KEYLESS_BYTES)
        elif size > self.bytes_max:
            is_file = self.bytes_max != settings.KUMOS_BODY_BYTES_MAX
            error = file_too_large(settings.KUMOS_FILE_BYTES_MAX) if is_file else body_too_large(self.bytes_max)
        if error is not None:
            self.channel.refuse(error, self._address)


def answer(error: ApiError, path: str) -> tuple[list[Header], bytes]:
    """The headers and the body that say `error`, in the envelope of /v1 (contract 4.1) or as a line of text."""
    if not is_api(path):
        return [(b"Content-Type", b"text/plain; charset=utf-8")], str(error).encode()
    headers = {"Content-Type": "application/json", **error.headers, **reply_headers(new_request_id())}
    return [(name.encode(), value.encode()) for name, value in headers.items()], orjson.dumps(error.body)
