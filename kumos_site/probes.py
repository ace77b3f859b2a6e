"""The addresses for whoever watches a process: health and metrics. A web server has them among its own; a worker, which
serves nothing, has a small listener for them alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from django.core.handlers.exception import convert_exception_to_response
from django.core.handlers.wsgi import WSGIHandler, WSGIRequest
from django.urls import path

from kumos_site import health, metrics

urlpatterns = [
    path("health/live", health.live),
    path("health/ready", health.ready),
    path("metrics", metrics.exposition),
]

CLIENT_SECONDS = 5.0
"""How long a client may take to send its request, or to take its answer: they are served one after the other."""


class ProbeRequest(WSGIRequest):
    urlconf = "kumos_site.probes"


class ProbeHandler(WSGIHandler):
    """These addresses only, without settings.MIDDLEWARE: there are no sessions and no pages."""

    request_class = ProbeRequest

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        self._middleware_chain = convert_exception_to_response(self._get_response)  # type: ignore[attr-defined]


class Connection(WSGIRequestHandler):
    timeout = CLIENT_SECONDS

    def address_string(self) -> str:
        return str(self.client_address[0])

    def log_message(self, format: str, *args: Any) -> None:
        """Not each of them."""


class Listener(WSGIServer):
    def server_bind(self) -> None:
        super(WSGIServer, self).server_bind()
        # What WSGIServer would ask the name service for, and wait.
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away; what goes wrong in a view is an answer of 500, and in the log."""


@contextmanager
def listening(host: str, port: int) -> Iterator[None]:
    """Answers on a thread of its own, so that a loop which stands still can be told. OSError if it cannot listen."""
    with Listener((host, port), Connection) as listener:
        listener.set_app(ProbeHandler())
        thread = threading.Thread(target=listener.serve_forever, name="kumos-probes", daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown()
            thread.join()
