"""A real web server with a few pictures, and with all that can be wrong about a picture on the web.

    with Pictures() as web:
        web.url("/cat.png")             # http://127.0.0.1:PORT/cat.png; every request's path is in `web.asked`

Paths: /cat.png /cat.jpg /cat.gif /cat.webp; /mislabelled (a JPEG sent as PNG), /untyped, /page (HTML), /liar (HTML sent
as PNG), /endless, /announced (a large Content-Length), /drips (never ends, slowly), /silent, /packed (gzip), /hop/N
(N redirects to /cat.png), /to?URL, /status/N.
"""

from __future__ import annotations

import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import unquote

PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + bytes(range(64))
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(64))
GIF = b"GIF89a" + bytes(64)
WEBP = b"RIFF\x24\x00\x00\x00WEBPVP8 " + bytes(64)
HTML = b"<!doctype html><title>Login</title>"
SHOWN = {
    "/cat.png": ("image/png", PNG),
    "/cat.jpg": ("image/jpeg", JPEG),
    "/cat.gif": ("image/gif", GIF),
    "/cat.webp": ("image/webp", WEBP),
    "/mislabelled": ("image/png; charset=binary", JPEG),
    "/untyped": ("application/octet-stream", PNG),
    "/page": ("text/html", PNG),
    "/liar": ("image/png", HTML),
}


class Pictures:
    """With a `certificate`, a file that also holds its key, it speaks HTTPS."""

    def __init__(self, certificate: Path | None = None) -> None:
        self.asked: list[str] = []
        self.hosts: list[str] = []
        self.over = threading.Event()
        self._first = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(self))
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def port(self) -> int:
        return self._server.server_port

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    def wait_for_asked(self) -> None:
        assert self._first.wait(20), "nobody asked"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def handler_of(pictures: Pictures) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            pictures.asked.append(self.path)
            pictures.hosts.append(self.headers["Host"])
            pictures._first.set()
            with suppress(OSError):  # the client has had enough
                self.answer(self.path)

        def answer(self, path: str) -> None:
            if path in SHOWN:
                kind, content = SHOWN[path]
                self.head(200, kind, str(len(content)))
                self.wfile.write(content)
            elif path.startswith("/hop/"):
                left = int(path.removeprefix("/hop/"))
                self.redirect(f"/hop/{left - 1}" if left > 1 else "/cat.png")
            elif path.startswith("/to?"):
                self.redirect(unquote(path.removeprefix("/to?")))
            elif path.startswith("/status/"):
                self.head(int(path.removeprefix("/status/")), "text/plain", "0")
            elif path == "/silent":
                pictures.over.wait(20)
            elif path == "/announced":
                self.head(200, "image/png", str(10**12))
            elif path == "/packed":
                self.head(200, "image/png", "3", encoding="gzip")
                self.wfile.write(b"zip")
            else:
                self.head(200, "image/png")
                self.wfile.write(PNG)
                while not pictures.over.wait(0.02 if path == "/drips" else 0):
                    self.wfile.write(b"x" if path == "/drips" else b"x" * 65536)

        def head(self, status: int, kind: str, length: str = "", encoding: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if length:
                self.send_header("Content-Length", length)
            if encoding:
                self.send_header("Content-Encoding", encoding)
            self.end_headers()

        def redirect(self, where: str) -> None:
            self.send_response(302)
            self.send_header("Location", where)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    return Handler
