"""The headers OpenAI sends with every reply, errors and streams included (contract 1.1)."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from assistants.ids import new_request_id

IDEMPOTENCY_KEY = "Idempotency-Key"
"""With it, a POST that comes twice is done once (assistants/idempotency.py)."""

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class OpenAIHeadersMiddleware:
    """Native in both worlds: alone in front of /v1, and first in the stack of the pages, where it passes by."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self.answer(request)
        started = self.begin(request)
        response = self.get_response(request)
        assert isinstance(response, HttpResponseBase)
        return self.finish(request, response, started)

    async def answer(self, request: HttpRequest) -> HttpResponseBase:
        started = self.begin(request)
        response = self.get_response(request)
        assert not isinstance(response, HttpResponseBase)
        return self.finish(request, await response, started)

    def begin(self, request: HttpRequest) -> float:
        request.META["KUMOS_REQUEST_ID"] = new_request_id()
        return time.perf_counter()

    def finish(self, request: HttpRequest, response: HttpResponseBase, started: float) -> HttpResponseBase:
        if is_api(request.path):
            headers = reply_headers(
                request.META["KUMOS_REQUEST_ID"],
                project=request.META.get("KUMOS_PROJECT_ID", ""),
                seconds=time.perf_counter() - started,
            )
            for name, value in headers.items():
                response.headers[name] = value
        return response


def reply_headers(request_id: str, *, project: str = "", seconds: float = 0) -> dict[str, str]:
    """What every reply of /v1 carries."""
    return {
        "x-request-id": request_id,
        "openai-processing-ms": str(round(seconds * 1000)),
        "openai-version": "2020-10-01",
        "openai-organization": "kumos",
        "openai-project": project,
    }


def is_api(path: str) -> bool:
    """Whether a path is below /v1, where every answer is JSON."""
    return path == "/v1" or path.startswith("/v1/")
