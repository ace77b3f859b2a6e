"""Tools that the server runs itself, as steps of the run. Client functions are no tools in this sense: they stop the
run at `requires_action`.

There are two kinds. A `Tool` has a type of its own on the wire (contract 2.3). It shows itself to the model as a
function and keeps what it found in the step's details, from which the model's text is made again whenever the run goes
on. Tools that are not in the `registry` are not offered to the model.

A `ServerFunction` is an ordinary function on the wire. Which function tools of a run the server carries out is said by
`functions_of`; all others are the client's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from runs.models import Run

from . import mcp, python
from .function import CallContext, ServerFunction, ToolError
from .python import function_tool

__all__ = [
    "CallContext",
    "Details",
    "ServerFunction",
    "Show",
    "Tool",
    "ToolError",
    "function_tool",
    "functions_of",
    "named",
    "offered",
    "registry",
    "tools_of",
]

Details = dict[str, Any]
"""What stands under the tool's type in a call of `step_details` (contract 2.13)."""
Show = Callable[[Details], None]
"""Streams a piece of the details while the tool works. Clients add the pieces up (contract 3.7, 3.9): strings are
appended, entries of lists carry their `index`, as in `show({"outputs": [{"index": 0, "type": "logs", "logs": "1"}]})`.
"""


class Tool(Protocol):
    type: str
    """The tool's type on the wire and its name for the model."""

    input: str
    """The argument that clients see as `input` of the call while the model writes it (contract 3.7); "" for none."""

    def function(self) -> Mapping[str, Any]:
        """The function tool that the model sees (/chat/completions)."""
        ...

    def opening(self, run: Run) -> Details:
        """The details before anything was found: what the step's first delta shows (contract 3.6, 3.7)."""
        ...

    async def execute(self, run: Run, arguments: str, show: Show) -> Details:
        """Does the work; the details in the end, without `input`. `arguments` is what the model wrote: JSON, usually.

        What was shown must be in the details in the same order. Raises CompleterError to fail the run.
        """
        ...

    def told(self, details: Mapping[str, Any], step_number: int, first_result: int) -> str:
        """What the model is told of `details`; results are numbered from `first_result` within the step."""
        ...


registry: dict[str, Tool] = {}
"""The server's tools by type. Apps enter theirs when they are ready (runs/apps.py)."""


def tools_of(run: Run) -> dict[str, Tool]:
    """The server's tools that this run may use, by name."""
    return {tool["type"]: registry[tool["type"]] for tool in run.tools if tool["type"] in registry}


def functions_of(run: Run) -> dict[str, ServerFunction]:
    """The functions of this run that the server carries out, by name. May ask the database: not for the loop."""
    return named([tool["function"]["name"] for tool in run.tools if tool["type"] == "function"], run.project_id)


def named(names: Sequence[str], project_id: str) -> dict[str, ServerFunction]:
    """Those of `names` that the server carries out for that project. A Python function comes before an MCP server's."""
    own: dict[str, ServerFunction] = {name: python.functions[name] for name in names if name in python.functions}
    others = [name for name in names if name not in own]
    return own | mcp.named(others, project_id)


def offered(project_id: str) -> list[dict[str, Any]]:
    """What an assistant of that project may have, as its function tools are written. Without an id: of any project."""
    found: list[ServerFunction] = [*python.functions.values()]
    for server in mcp.servers_of(project_id).filter(enabled=True):
        found += mcp.offered(server)
    return [
        {"name": function.name, "description": function.description, "parameters": dict(function.parameters())}
        for function in found
    ]
