"""The ASGI application: /v1 behind its own headers only, everything else behind the stack of the pages.

Django under ASGI makes a thread per request and keeps it as long as the response streams, which costs a thread and a
database connection per open stream. Here sync code runs on a few long-lived threads, each request on one of them.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from typing import IO, Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kumos_site.settings")

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async

django.setup(set_prefix=False)

from django.core.exceptions import DisallowedHost, RequestAborted
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.utils.http import parse_header_parameters

from assistants.errors import ApiError, error_response
from assistants.headers import OpenAIHeadersMiddleware, is_api
from kumos_site import metrics
from streaming import seats
from streaming.sse import EventStream

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

ASKING = (
    "/v1/models",
    "/admin/system/",
    "/admin/tools/try/",
    "/admin/runs/mcpserver/test/",
    "/admin/runs/provider/",
    "/admin/assistants/assistant/models/",
)
"""What begins so may ask model servers and MCP servers, or carry a function out, and wait for them."""
THREADS = 4
SLOW_THREADS = 2
"""Threads for what takes seconds, which others need not wait for: taking an upload apart, asking model servers."""

BLOCK_BYTES = 128 * 1024
"""What is read of a file at once: each block is a call to another thread, and waits in memory for its client."""


class Lane(ThreadPoolExecutor):
    """One thread, and how many calls it has before it."""

    def __init__(self, name: str) -> None:
        super().__init__(1, thread_name_prefix=name)
        self.under_way = 0
        self._counting = threading.Lock()

    def submit[**P, R](self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        with self._counting:
            self.under_way += 1
        future = super().submit(call, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, future: Future[Any]) -> None:
        with self._counting:
            self.under_way -= 1


_lanes = [Lane(f"kumos-request-{number}") for number in range(THREADS)]
_slow_lanes = [Lane(f"kumos-slow-request-{number}") for number in range(SLOW_THREADS)]


def free_lane(lanes: list[Lane]) -> Lane:
    """The one with the least to do: a slow request holds up nobody while others are idle. Of equals, in turn."""
    lane = min(lanes, key=lambda lane: lane.under_way)
    lanes.remove(lane)
    lanes.append(lane)
    return lane


BODY = "kumos.body"
"""Where a scope holds the request's body as an open file, if the server has put it into one (server.py)."""


class Received:
    """`receive`, and the file in which the body already is."""

    def __init__(self, receive: Receive, body: IO[bytes]) -> None:
        self.receive = receive
        self.body = body

    async def __call__(self) -> Mapping[str, Any]:
        return await self.receive()


class Utf8Request(ASGIRequest):
    """Django reads a request in the charset that the client claims, and fails where that codec reads no text."""

    def _set_content_type_params(self, meta: Mapping[str, Any]) -> None:
        self.content_type, self.content_params = parse_header_parameters(meta.get("CONTENT_TYPE", ""))


class PageHandler(ASGIHandler):
    """Django's handler on long-lived threads."""

    request_class = Utf8Request

    def load_middleware(self, is_async: bool = False) -> None:
        """The middleware as plain functions, one inside the other, on the thread of the request. As coroutines each of
        Django's own would go to that thread twice, and back, which is most of what an answer costs."""
        super().load_middleware(is_async=False)
        self._middleware_chain: Any = sync_to_async(self._middleware_chain)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = scope.get("extensions", {}).get(BODY)
        is_large = body is not None and not isinstance(body, BytesIO)  # intake.MEMORY_BYTES
        is_slow = is_large or scope["path"].startswith(ASKING)
        lane = free_lane(_slow_lanes if is_slow else _lanes)
        with seats.visit():
            async with ThreadSensitiveContext(executor=lane):
                await self.handle(scope, receive if body is None else Received(receive, body), send)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        began = time.perf_counter()
        response: HttpResponseBase = await super().get_response_async(request)
        metrics.count_request(request, response, time.perf_counter() - began)
        return response

    async def read_body(self, receive: Receive) -> IO[bytes]:
        """The server's own file instead of a copy of it."""
        if not isinstance(receive, Received):
            whole: IO[bytes] = await super().read_body(receive)
            return whole
        if (await receive())["type"] == "http.disconnect":
            receive.body.close()
            raise RequestAborted
        return receive.body

    async def send_response(self, response: HttpResponseBase, send: Send) -> None:
        if isinstance(response, FileResponse) and response.file_to_stream is not None:
            # Django would read a file as a whole before its first byte is sent.
            response.streaming_content = blocks(response.file_to_stream.read, BLOCK_BYTES)
        async with response.seat.occupied() if isinstance(response, EventStream) else nullcontext():
            await super().send_response(response, send)


async def blocks(read: Callable[[int], bytes], size: int) -> AsyncIterator[bytes]:
    while block := await sync_to_async(read)(size):
        yield block


class ApiHandler(PageHandler):
    """The same without settings.MIDDLEWARE: sessions, CSRF and errors of /v1 are its own business."""

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware: list[Any] = []
        self._template_response_middleware: list[Any] = []
        self._exception_middleware: list[Any] = []
        inner = convert_exception_to_response(self._get_response_async)  # type: ignore[attr-defined]

        async def named(request: HttpRequest) -> HttpResponseBase:
            # A page elsewhere whose name was made to point here is not to reach /v1 with a key that it knows.
            try:
                request.get_host()
            except DisallowedHost:
                message = "This host name is not served here. The setting ALLOWED_HOSTS says which ones are."
                return error_response(ApiError(message), request)
            response = inner(request)
            return response if isinstance(response, HttpResponseBase) else await response

        self._middleware_chain = convert_exception_to_response(OpenAIHeadersMiddleware(named))


_pages = PageHandler()
_api = ApiHandler()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await send({"type": "websocket.close"})  # nothing here speaks WebSocket: 403
        return
    handler = _api if is_api(scope["path"]) else _pages
    await handler(scope, receive, send)
