"""Asking an MCP server, with the official client: for its tools, and to carry one out. One connection each.

Loaded when a server is asked (mcp.py), since `mcp` takes two seconds to load. What comes from a server is read with
suspicion: bounded in every direction, and nobody is followed elsewhere. Time limits of calls are set by who waits.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from http import HTTPStatus
from typing import Any, Never

import httpx2
import orjson
from django.conf import settings
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import AudioContent, CallToolResult, EmbeddedResource, ImageContent, ResourceLink, TextContent, Tool

from .function import OUTPUT_BYTES_MAX, ToolError
from .mcp import Endpoint, McpFault

LIST_SECONDS = 20.0
ANSWER_BYTES_MAX = 4 * 1024 * 1024
PAGES_MAX = 20
TOOLS_MAX = 200
SCHEMA_BYTES_MAX = 64 * 1024
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
DESCRIPTION_CHARS_MAX = 1024
WORDS_MAX = 300


class Refused(httpx2.TransportError):
    """An answer that is not taken. Its text says why."""


class Door(httpx2.AsyncBaseTransport):
    """What goes to a server and comes back. It follows nobody elsewhere, and takes no answer without end.

    The client puts its own words in place of what went wrong; `trouble` and `status` keep it.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self.status = 0
        self._inner = httpx2.AsyncHTTPTransport(verify=tls())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        self.status = response.status_code
        if 300 <= response.status_code < 400:
            await response.aclose()
            self.refuse("It sends elsewhere (a redirect), and nobody is followed. Enter the address that it means.")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            self.refuse("It answers in a compressed form that it was not asked for.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = Bounded(response.stream, self)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()

    def refuse(self, words: str) -> Never:
        self.trouble = words
        raise Refused(words)


class Bounded(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, door: Door) -> None:
        self._inner, self._door, self._left = inner, door, ANSWER_BYTES_MAX

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._inner:
            self._left -= len(piece)
            if self._left < 0:
                self._door.refuse(f"It answers with more than {ANSWER_BYTES_MAX // 1024 // 1024} MB.")
            yield piece

    async def aclose(self) -> None:
        await self._inner.aclose()


@cache
def tls() -> Any:
    return httpx2.create_ssl_context()


@asynccontextmanager
async def connected(endpoint: Endpoint) -> AsyncIterator[Client]:
    """Raises McpFault for whatever goes wrong inside, but ToolError."""
    door = Door()
    limits = httpx2.Timeout(None, connect=settings.KUMOS_UPSTREAM_CONNECT_SECONDS)
    headers = {**endpoint.headers, "Accept-Encoding": "identity"}
    try:
        async with httpx2.AsyncClient(transport=door, headers=headers, timeout=limits, trust_env=False) as http:
            transport = streamable_http_client(
                endpoint.url, http_client=http, terminate_on_close=False, max_sse_event_size=ANSWER_BYTES_MAX
            )
            async with Client(transport, cache=None) as client:
                yield client
    except Exception as error:
        leaf = leaf_of(error)
        if isinstance(leaf, ToolError):
            raise leaf from None
        raise McpFault(words_of(leaf, door, endpoint.secret)) from None


def leaf_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def words_of(error: BaseException, door: Door, secret: str) -> str:
    if door.trouble:
        return door.trouble
    if isinstance(error, httpx2.ConnectTimeout):
        return f"No connection within {settings.KUMOS_UPSTREAM_CONNECT_SECONDS:g} seconds."
    if isinstance(error, httpx2.ConnectError):
        return bounded(f"It cannot be reached: {error}", secret)
    if door.status >= 400:
        hint = " Check its key." if door.status in (401, 403) else ""
        return f"It answers {door.status} {phrase(door.status)}.{hint}"
    said = error.error.message if isinstance(error, MCPError) else f"{type(error).__name__}: {error}"
    return bounded(said, secret)


def phrase(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus else ""


def bounded(words: str, secret: str) -> str:
    """One line for people, without the key: servers repeat what they were sent."""
    told = " ".join((words.replace(secret, "•••") if secret else words).split())
    return told if len(told) <= WORDS_MAX else f"{told[:WORDS_MAX]}…"


# Tools ----------------------------------------------------------------------------------------------------------------


async def listed(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Its tools as they are kept in the row. Raises McpFault."""
    try:
        async with asyncio.timeout(LIST_SECONDS), connected(endpoint) as client:
            found: list[Tool] = []
            cursor: str | None = None
            for _ in range(PAGES_MAX):
                page = await client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if cursor is None or len(found) >= TOOLS_MAX:
                    break
    except TimeoutError:
        raise McpFault(f"No list of tools within {LIST_SECONDS:g} seconds.") from None
    return [as_kept(tool) for tool in found[:TOOLS_MAX] if NAME.fullmatch(tool.name)]


def as_kept(tool: Tool) -> dict[str, Any]:
    """Without its schema where that is too large for a part of every prompt."""
    schema = tool.input_schema
    written = orjson.dumps(schema)
    if len(written) > SCHEMA_BYTES_MAX or b"\\u0000" in written:  # NUL: PostgreSQL would not store it
        schema = {"type": "object"}
    hints = tool.annotations
    return {
        "name": tool.name,
        "description": (tool.description or "").replace("\0", "")[:DESCRIPTION_CHARS_MAX],
        "parameters": schema,
        "idempotent": bool(hints and (hints.read_only_hint or hints.idempotent_hint)),
    }


async def called(endpoint: Endpoint, tool: str, arguments: dict[str, Any]) -> str:
    """What it says. Raises ToolError for what the tool calls an error, McpFault where the server does not answer."""
    async with connected(endpoint) as client:
        try:
            result = await client.call_tool(tool, arguments)
        except MCPError as error:
            if connected_still(error):
                raise ToolError(bounded(error.error.message, endpoint.secret)) from None
            raise
    said = text_of(result)
    if endpoint.secret:
        said = said.replace(endpoint.secret, "•••")
    if result.is_error:
        raise ToolError(said)
    return said


def connected_still(error: MCPError) -> bool:
    """Whether the server itself refused the call: "method not found", "invalid params". Else nobody has answered."""
    return error.error.code in (-32601, -32602)


def text_of(result: CallToolResult) -> str:
    """Its texts. Of what is no text only what it is: models of /chat/completions are told outputs as text alone."""
    parts = [told for block in result.content if (told := block_text(block))]
    if not parts and result.structured_content is not None:
        return orjson.dumps(result.structured_content).decode()
    return "\n".join(parts)


def block_text(block: Any) -> str:
    match block:
        case TextContent():
            return block.text[:OUTPUT_BYTES_MAX]
        case ImageContent() | AudioContent():
            return f"[{block.type}: {block.mime_type}, not shown]"
        case ResourceLink():
            return f"[resource: {block.uri}]"
        case EmbeddedResource():
            return str(getattr(block.resource, "text", "")) or f"[resource: {block.resource.uri}]"
    return ""
