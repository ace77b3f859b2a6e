"""Tools of MCP servers: which functions of a project they are, what is kept of each server, and calling them.

The protocol is spoken by mcp_client.py, which is loaded when the first server is asked: that takes two seconds, and
most installations have none. The table is asked each time for names that it may be about, so all of this but `call` is
for threads, never for the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import connections
from django.db.models import Q

from assistants.clock import now
from runs.models import McpServer

from .function import CallContext, ServerFunction, ToolError

KEY_PREFIX = "KUMOS_MCP_KEY_"
"""What the names of variables begin with that a server may take its key from. Others hold other secrets."""
SEPARATOR = "__"
AUTHORIZATION = "Authorization"
ERROR_CHARS_MAX = 300


class McpFault(Exception):
    """A server that cannot be asked, or does not answer as one. Its text says why, for operators."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is, and what it alone is sent."""

    name: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    secret: str = field(repr=False)
    """What must be in no words about it."""


def endpoint_of(server: McpServer) -> Endpoint:
    """Raises McpFault where its key is not to be had."""
    from runs.completers import vault  # cryptography takes a while to load, and most have nothing sealed

    key = ""
    if server.key_variable:
        key = settings.KUMOS_MCP_KEYS.get(server.key_variable, "")
        if not key:
            raise McpFault(f"The variable {server.key_variable} is not set. Set it and restart, or enter a key.")
    elif server.sealed_key:
        try:
            key = vault.unseal(server.sealed_key, server.base_url)
        except vault.Unopenable as error:
            raise McpFault(str(error)) from None
    sent = f"Bearer {key}" if server.header.lower() == AUTHORIZATION.lower() and " " not in key else key
    return Endpoint(server.name, server.base_url, {server.header: sent} if key else {}, key)


# Names ----------------------------------------------------------------------------------------------------------------


def servers_of(project_id: str) -> Any:
    """Those that a project may use."""
    return McpServer.objects.filter(Q(project=None) | Q(project_id=project_id))


def named(names: Sequence[str], project_id: str) -> dict[str, ServerFunction]:
    """Those of `names` that belong to a server of that project. One query, and only for names that may."""
    parts = {name: name.partition(SEPARATOR) for name in names if SEPARATOR in name}
    if not parts:
        return {}
    wanted = {slug for slug, _, tool in parts.values() if tool}
    found = {server.name: server for server in servers_of(project_id).filter(name__in=wanted)}
    return {name: McpFunction(found[slug], tool) for name, (slug, _, tool) in parts.items() if tool and slug in found}


def offered(server: McpServer) -> list[McpFunction]:
    """All that it listed last, as functions. One whose name is too long for a function is none."""
    functions = [McpFunction(server, tool["name"]) for tool in server.tools]
    return [function for function in functions if len(function.name) <= 64]


@dataclass(frozen=True)
class McpFunction:
    """A server's tool as a ServerFunction. It need not be there: the assistant has only its name."""

    server: McpServer
    tool: str

    @property
    def listed(self) -> Mapping[str, Any] | None:
        return next((tool for tool in self.server.tools if tool["name"] == self.tool), None)

    @property
    def name(self) -> str:
        return f"{self.server.name}{SEPARATOR}{self.tool}"

    @property
    def description(self) -> str:
        return str((self.listed or {}).get("description", ""))

    @property
    def idempotent(self) -> bool:
        """What the server says of it: the operator who entered the server trusts it."""
        return bool((self.listed or {}).get("idempotent"))

    @property
    def seconds(self) -> float:
        return float(settings.KUMOS_TOOL_SECONDS)

    def parameters(self) -> Mapping[str, Any]:
        return dict((self.listed or {}).get("parameters") or {"type": "object", "properties": {}})

    async def call(self, context: CallContext, arguments: str) -> str:
        try:
            given = orjson.loads(arguments.strip() or "{}")
        except orjson.JSONDecodeError as error:
            raise ToolError(f"the arguments are not JSON: {error}") from None
        if not isinstance(given, dict):
            raise ToolError("the arguments are not a JSON object")
        if not self.server.enabled:
            raise ToolError(f"the MCP server {self.server.name} is switched off")
        client = await asyncio.to_thread(import_module, "runs.tools.mcp_client")
        try:
            endpoint = await asyncio.to_thread(endpoint_of, self.server)
            if self.listed is None:
                tools = await client.listed(endpoint)
                await in_thread(keep_list)(self.server.pk, tools)
                if not any(tool["name"] == self.tool for tool in tools):
                    raise ToolError(f"the MCP server {self.server.name} has no tool {self.tool}")
            output: str = await client.called(endpoint, self.tool, given)
        except McpFault as error:
            await in_thread(keep_fault)(self.server.pk, str(error))
            raise ToolError(f"the MCP server {self.server.name} cannot be used: {error}") from None
        if self.server.error:
            await in_thread(keep_answer)(self.server.pk)
        return output


def in_thread[**P](work: Callable[P, None]) -> Callable[P, Awaitable[None]]:
    """On a thread that may belong to a loop of one call alone (a trial in the admin): no connection stays."""

    def closing(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            work(*args, **kwargs)
        finally:
            connections.close_all()

    return database_sync_to_async(closing, thread_sensitive=False)


# What is kept of a server ---------------------------------------------------------------------------------------------


def refresh(server: McpServer) -> str:
    """Asks it for its tools, and keeps them; what went wrong, in words, or nothing. Takes seconds: not for the loop."""
    client = import_module("runs.tools.mcp_client")
    try:
        tools = asyncio.run(client.listed(endpoint_of(server)))
    except McpFault as error:
        keep_fault(server.pk, str(error))
        return str(error)
    keep_list(server.pk, tools)
    return ""


def keep_list(id: int, tools: Sequence[Mapping[str, Any]]) -> None:
    moment = now()
    McpServer.objects.filter(pk=id).update(tools=list(tools), listed_at=moment, checked_at=moment, error="")


def keep_fault(id: int, words: str) -> None:
    McpServer.objects.filter(pk=id).update(checked_at=now(), error=words[:ERROR_CHARS_MAX])


def keep_answer(id: int) -> None:
    McpServer.objects.filter(pk=id).update(checked_at=now(), error="")
