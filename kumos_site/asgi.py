"""The ASGI application: /v1 behind its own headers only, everything else behind the stack of the pages.

Django under ASGI makes a thread per request and keeps it as long as the response streams, which costs a thread and a
database connection per open stream. Here sync code runs on a few long-lived threads, each request on one of them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kumos_site.settings")

import django
from asgiref.sync import ThreadSensitiveContext, sync_to_async

django.setup(set_prefix=False)

from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.exception import convert_exception_to_response
from django.http import FileResponse
from django.http.response import HttpResponseBase

from assistants.headers import OpenAIHeadersMiddleware

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

THREADS = 4
_next_thread = itertools.cycle(
    [ThreadPoolExecutor(1, thread_name_prefix=f"kumos-request-{number}") for number in range(THREADS)]
).__next__


class PageHandler(ASGIHandler):
    """Django's handler on long-lived threads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with ThreadSensitiveContext(executor=_next_thread()):
            await self.handle(scope, receive, send)

    async def send_response(self, response: HttpResponseBase, send: Send) -> None:
        if isinstance(response, FileResponse) and response.file_to_stream is not None:
            # Django would read a file as a whole before its first byte is sent.
            response.streaming_content = blocks(response.file_to_stream.read, response.block_size)
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
        self._middleware_chain = convert_exception_to_response(OpenAIHeadersMiddleware(inner))


_pages = PageHandler()
_api = ApiHandler()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        raise ValueError(f"Kumos speaks HTTP only, not {scope['type']}.")
    handler = _api if scope["path"].startswith("/v1/") else _pages
    await handler(scope, receive, send)
