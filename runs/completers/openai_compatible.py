"""Any server that speaks /chat/completions (OpenAI, Ollama, vLLM, llama.cpp …), over one shared httpx client.

Here are the connection, its time limits, its retries and what its faults mean to a run (contract 2.9); what the server
streams is read in `chunks.py`, the words of its errors in `complaints.py`. Error messages reach API clients: they name
settings, never a key or an address.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Literal
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import httpx
import orjson
from django.conf import settings

from assistants import metrics
from runs.completers import CompleterError, CompleterEvent, CompletionRequest, ErrorCode
from runs.completers.chunks import DONE, TEXT_CHARS_MAX, Answer, Cut, Lines, Malformed, chunk_in, parsed
from runs.completers.complaints import error_text

logger = logging.getLogger(__name__)

BACKOFF_SECONDS, BACKOFF_SECONDS_MAX = 0.25, 8.0
RETRY_AFTER_SECONDS_MAX = 30.0
USAGE_SECONDS = 2.0
"""How long a finished answer waits for its usage or its end."""
DRAIN_SECONDS = 0.05
ERROR_BYTES_MAX = 64 * 1024
RETRIED = frozenset({408, 409, 429})
OPTIONAL = ("stream_options", "parallel_tool_calls", "reasoning_effort")
"""Fields that a server may refuse: the turn is asked again without them."""
SAMPLING = ("temperature", "top_p")
"""Fields that reasoning models do not support. A value that is only out of their range is an error all the same."""
LIMITS = ("max_completion_tokens", "max_tokens")
"""The newer and the older name of one field: a server that refuses the one is sent the other."""
STRICT = "strict"
REMEMBERED_MAX = 1000
PROMPT_CODES = frozenset({"context_length_exceeded", "content_policy_violation", "content_filter", "invalid_prompt"})
PROMPT_REFUSALS = re.compile(
    r"context[ _](length|window|size)|maximum context|prompt is too long|too many (input )?tokens"
    r"|content[ _](policy|management|filter)|safety|moderation",
    re.IGNORECASE,
)

LimitField = Literal["max_completion_tokens", "max_tokens"]

_refused: dict[tuple[str, str], list[str]] = {}
"""What (address, model) refused and then answered without, so that only the first turn costs a second request."""
_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()


@cache
def tls() -> ssl.SSLContext:
    """Built once: it is nearly all of what a client costs (36 ms)."""
    return httpx.create_ssl_context()


def shared_client() -> httpx.AsyncClient:
    """The running loop's client. The default cap of 100 connections would starve the runs behind it."""
    loop = asyncio.get_running_loop()
    if loop not in _clients:
        for stale in [other for other in _clients if other.is_closed()]:
            del _clients[stale]
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=30)
        _clients[loop] = httpx.AsyncClient(verify=tls(), limits=limits, follow_redirects=False)
    return _clients[loop]


async def close_client() -> None:
    """Close the running loop's client and its idle connections; for whoever ends the loop."""
    if client := _clients.pop(asyncio.get_running_loop(), None):
        await client.aclose()


class Failure(Exception):
    """One attempt failed. `retry`: another may do better, not before `after` seconds; `refused`: without that field."""

    def __init__(
        self, code: ErrorCode, message: str, *, retry: bool = False, after: float | None = None, refused: str = ""
    ) -> None:
        super().__init__(message)
        self.code: ErrorCode = code
        self.message = message
        self.retry = retry
        self.after = after
        self.refused = refused
        self.status = ""
        """The HTTP status that said so, if one did."""


class OpenAICompatibleCompleter:
    """A `Completer` over HTTP. `base_url` ends before /chat/completions; an empty `api_key` sends none.
    `key_place` says where that is to be changed.

    Tries up to KUMOS_UPSTREAM_ATTEMPTS times, and never again once an event was given.
    """

    sees = True

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        limit_field: LimitField = "max_completion_tokens",
        key_place: str = "OPENAI_API_KEY",
    ) -> None:
        self.url = f"{base_url.rstrip('/')}/chat/completions"
        self.limit_field: LimitField = limit_field
        self.api_key = api_key
        self.key_place = key_place
        # No compression: a few bytes could become gigabytes before any limit sees them.
        self.headers = {b"Content-Type": b"application/json", b"Accept-Encoding": b"identity"}
        if api_key:
            self.headers[b"Authorization"] = b"Bearer " + api_key.encode()

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[CompleterEvent]:
        body = body_of(request, self.limit_field)
        refused = _refused.get((self.url, request.model), [])
        for field in refused:
            body = without(body, field)
        attempt = 1
        while True:
            given = False
            metrics.UPSTREAM_CALLS.inc()
            try:
                async with aclosing(self.attempt(body)) as events:
                    async for event in events:
                        if not given:
                            given = True
                            self.remember(request.model, refused)
                        yield event
                return
            except Failure as failure:
                fault = failure
                metrics.UPSTREAM_ERRORS.labels(fault.code, fault.status).inc()
            if fault.refused and not given and fault.refused not in refused:
                logger.warning("%s of %s is asked again without %s", request.model, self.url, fault.refused)
                body = without(body, fault.refused)
                refused = [*refused, fault.refused]
                continue
            last = given or not fault.retry or attempt >= settings.KUMOS_UPSTREAM_ATTEMPTS
            host = urlsplit(self.url).hostname
            logger.warning("model server %s, attempt %d%s: %s", host, attempt, " (last)" * last, fault.message)
            if last:
                raise CompleterError(fault.code, fault.message)
            metrics.UPSTREAM_RETRIES.inc()
            await asyncio.sleep(pause_before(attempt, fault.after))
            attempt += 1

    def remember(self, model: str, refused: list[str]) -> None:
        if refused and len(_refused) < REMEMBERED_MAX:
            _refused[self.url, model] = refused

    async def attempt(self, body: Mapping[str, Any]) -> AsyncGenerator[CompleterEvent]:
        """The events of one call. Raises Failure only."""
        idle = settings.KUMOS_UPSTREAM_IDLE_SECONDS
        timeout = httpx.Timeout(None, connect=settings.KUMOS_UPSTREAM_CONNECT_SECONDS)
        client = shared_client()
        try:
            request = client.build_request(
                "POST", self.url, content=orjson.dumps(body, default=dict), headers=self.headers, timeout=timeout
            )
            async with asyncio.timeout(idle):
                response = await client.send(request, stream=True)
            try:
                if not response.is_success:
                    async with asyncio.timeout(idle):
                        said = await body_start(response, ERROR_BYTES_MAX)
                        failure = refusal(response, said, body, self.api_key, self.key_place)
                        failure.status = str(response.status_code)
                        raise failure
                async with aclosing(answer_of(response, idle, self.api_key)) as events:
                    async for event in events:
                        yield event
            finally:
                await to_its_end(hang_up(response))
        except Malformed as fault:
            raise Failure("server_error", str(fault), retry=isinstance(fault, Cut)) from None
        except TimeoutError:
            message = f"The model server was silent for {idle:g} seconds (KUMOS_UPSTREAM_IDLE_SECONDS)."
            raise Failure("server_error", message, retry=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout):
            message = "The model server cannot be reached. Is it running, and is its base URL right?"
            raise Failure("server_error", message, retry=True) from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol, httpx.InvalidURL):
            message = "The request to the model server cannot be made. Check its base URL and key."
            raise Failure("server_error", message) from None
        except httpx.HTTPError:
            message = "The connection to the model server broke before the answer was complete."
            raise Failure("server_error", message, retry=True) from None


# Hanging up -----------------------------------------------------------------------------------------------------------

_closing: set[asyncio.Task[None]] = set()


async def to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Awaits `work`, which goes on when the caller is cancelled meanwhile: two stops may meet."""
    task = asyncio.create_task(work)
    _closing.add(task)  # the loop keeps only a weak reference
    task.add_done_callback(_closing.discard)
    await asyncio.shield(task)


async def hang_up(response: httpx.Response) -> None:
    """Closes the response and, unless that was read to its end, its connection.

    httpcore closes it, too, when reading is cancelled; but a second cancel ends that half-way, and it tries once only.
    """
    whole = response.is_closed
    try:
        await response.aclose()
    finally:
        if not whole:
            await response.extensions["network_stream"].aclose()


# The answer -----------------------------------------------------------------------------------------------------------


async def answer_of(response: httpx.Response, idle: float, api_key: str) -> AsyncGenerator[CompleterEvent]:
    """Events of a successful response, streamed or whole. Raises Malformed, TimeoutError, Failure."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in {"text/html", "application/xhtml+xml"}:
        raise Malformed("The model server answered with a web page. Does its base URL end as it should (…/v1)?")
    answer = Answer()
    if kind == "application/json":  # it ignored `stream`
        async with asyncio.timeout(idle):
            whole = parsed(await body_start(response, TEXT_CHARS_MAX))
        check_for_error(whole, api_key)
        for event in answer.events(whole):
            yield event
    else:
        async with aclosing(chunks_of(response, answer, idle)) as chunks:
            async for chunk in chunks:
                check_for_error(chunk, api_key)
                for event in answer.events(chunk):
                    yield event
    for event in answer.ending():
        yield event


async def chunks_of(response: httpx.Response, answer: Answer, idle: float) -> AsyncGenerator[Mapping[str, Any]]:
    """Chunks until [DONE] or the end. Comments keep no connection alive: `idle` seconds count from the last chunk.

    Once `answer` has its finish reason, silence or a break is as good as an end: all that could be missing is usage.
    """
    clock = asyncio.get_running_loop().time
    data = response.aiter_raw()
    lines = Lines()
    last = clock()
    while True:
        try:
            async with asyncio.timeout_at(last + (min(idle, USAGE_SECONDS) if answer.reason else idle)):
                received = await anext(data)
        except StopAsyncIteration:
            return
        except (TimeoutError, httpx.HTTPError):
            if answer.reason:
                return
            raise
        for line in lines.feed(received):
            chunk = chunk_in(line)
            if chunk is DONE:
                await drain(data)
                return
            if chunk is not None:
                yield chunk
                last = clock()  # behind the yield: the reader's time is not the server's


async def drain(data: AsyncIterator[bytes]) -> None:
    """Read what is behind [DONE], mostly nothing: only a response read to its end leaves a connection to use again."""
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in data:
                pass


async def body_start(response: httpx.Response, limit: int) -> bytes:
    """The body, cut at `limit` bytes."""
    found = bytearray()
    async for data in response.aiter_raw():
        found += data
        if len(found) > limit:
            break
    return bytes(found[:limit])


# The request ----------------------------------------------------------------------------------------------------------


def body_of(request: CompletionRequest, limit_field: LimitField) -> dict[str, Any]:
    """The JSON to send. Only what differs from a default: many servers refuse fields they do not know."""
    body: dict[str, Any] = {
        "model": request.model,
        "messages": list(request.messages),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.tools:
        body["tools"] = list(request.tools)
        if request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if request.temperature != 1.0:
        body["temperature"] = request.temperature
    if request.top_p != 1.0:
        body["top_p"] = request.top_p
    if request.response_format and request.response_format.get("type") != "text":
        body["response_format"] = request.response_format
    if request.max_completion_tokens is not None:
        body[limit_field] = request.max_completion_tokens
    if request.reasoning_effort:
        body["reasoning_effort"] = request.reasoning_effort
    return body


def without(body: Mapping[str, Any], refused: str) -> dict[str, Any]:
    """`body` without the field a server refused; the token limit goes under its other name instead."""
    kept = {key: value for key, value in body.items() if key != refused}
    if refused in LIMITS and refused in body:
        kept[LIMITS[refused == LIMITS[0]]] = body[refused]
    if refused == STRICT and "tools" in body:
        kept["tools"] = [
            {**tool, "function": {key: value for key, value in tool["function"].items() if key != STRICT}}
            for tool in body["tools"]
        ]
    return kept


def refused_field(body: Mapping[str, Any], said: str) -> str:
    """The field of `body` that a refusal is about and that the turn can do without; "" for none."""
    if any(STRICT in tool["function"] for tool in body.get("tools", ())) and re.search(r"\bstrict\b", said):
        return STRICT
    unsupported = SAMPLING if "support" in said.lower() else ()
    return next((name for name in (*OPTIONAL, *LIMITS, *unsupported) if name in body and name in said), "")


def pause_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait after `attempt`: what the server asked for, else doubling, with jitter so that runs spread."""
    if asked is not None:
        return min(asked, RETRY_AFTER_SECONDS_MAX) * random.uniform(1.0, 1.1)
    return min(BACKOFF_SECONDS * 2.0 ** (attempt - 1), BACKOFF_SECONDS_MAX) * random.uniform(0.5, 1.0)


# What its faults mean (contract 2.9) ----------------------------------------------------------------------------------


def refusal(response: httpx.Response, content: bytes, body: Mapping[str, Any], api_key: str, key_place: str) -> Failure:
    """What a response that is not 2xx means."""
    status = response.status_code
    try:
        said, code = error_text(orjson.loads(content), api_key)
    except orjson.JSONDecodeError:
        said, code = "", ""
    reason = f": {said}" if said else "."
    if status in {401, 403}:
        return Failure("server_error", f"The model server refused the key ({status}). Check {key_place}.")
    if 300 <= status < 400:
        return Failure("server_error", f"The model server redirects ({status}). Set its final address as base URL.")
    if status == 429:
        spent = code == "insufficient_quota"  # waiting does not help
        message = f"The model server refused more requests (429){reason}"
        return Failure("rate_limit_exceeded", message, retry=not spent, after=retry_after(response.headers))
    if status in RETRIED or status >= 500:
        message = f"The model server failed ({status}){reason}"
        return Failure("server_error", message, retry=True, after=retry_after(response.headers))
    if status in {400, 413, 422}:
        if status == 413 or code in PROMPT_CODES or PROMPT_REFUSALS.search(said):
            return Failure("invalid_prompt", f"The model server refused the prompt ({status}){reason}")
        refused = refused_field(body, said)
        return Failure("server_error", f"The model server refused the request ({status}){reason}", refused=refused)
    if status == 404:
        message = f"The model server does not know the model or the address (404){reason}"
        return Failure("server_error", message)
    return Failure("server_error", f"The model server answered {status}{reason}")


def check_for_error(chunk: Mapping[str, Any], api_key: str) -> None:
    """Raise Failure for an error object where an answer was due: servers send one once the status is out."""
    if not chunk.get("error"):
        return
    said, code = error_text(chunk, api_key)
    if code in PROMPT_CODES or PROMPT_REFUSALS.search(said):
        raise Failure("invalid_prompt", f"The model server refused the prompt: {said}")
    if code in {"429", "rate_limit_exceeded", "rate_limit_error"}:
        raise Failure("rate_limit_exceeded", f"The model server refused more requests: {said}", retry=True)
    raise Failure("server_error", f"The model server failed: {said or 'no reason given'}", retry=True)


def retry_after(headers: httpx.Headers) -> float | None:
    """Seconds the server asks to wait: `retry-after-ms`, or Retry-After as seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds < float("inf"):
            return seconds
    try:
        moment = parsedate_to_datetime(headers["retry-after"])
        seconds = (moment - datetime.now(UTC)).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return max(0.0, seconds)
