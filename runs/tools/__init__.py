"""Tools that the server runs itself, each a step of the run. Client functions are no tools in this sense: they stop the
run at `requires_action`.

A tool shows itself to the model as a function and keeps what it found in the step's details, from which the model's
text is made again whenever the run goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from runs.models import Run

Details = dict[str, Any]
"""What stands under the tool's type in a call of `step_details` (contract 2.13)."""


class Tool(Protocol):
    type: str
    """The tool's type on the wire and its name for the model."""

    def function(self) -> Mapping[str, Any]:
        """The function tool that the model sees (/chat/completions)."""
        ...

    def opening(self, run: Run) -> Details:
        """The details before anything was found: what the step's delta shows (contract 3.6, 3.7)."""
        ...

    async def execute(self, run: Run, arguments: str) -> Details:
        """Does the work. `arguments` is what the model wrote: JSON, usually."""
        ...

    def told(self, details: Mapping[str, Any], step_number: int, first_result: int) -> str:
        """What the model is told of `details`; results are numbered from `first_result` within the step."""
        ...


def registry() -> dict[str, Tool]:
    from runs.tools.file_search import FileSearch

    return {tool.type: tool for tool in (FileSearch(),)}


def tools_of(run: Run) -> dict[str, Tool]:
    """The server's tools that this run may use, by name."""
    known = registry()
    return {tool["type"]: known[tool["type"]] for tool in run.tools if tool["type"] in known}
