"""A tool call of one turn, as the model writes it and as clients see it (contract 2.13, 3.5–3.7).

Entries are what step deltas and `step_details` hold: a value comes once, since clients add up whatever repeats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from assistants.ids import new_call_id
from runs.models import Run
from runs.tools import Details, ServerFunction, Tool
from runs.tools.input import InputReader

Entry = dict[str, Any]

SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Call:
    """The call at `index` of its step. `tool` is the server's, or None for a function.

    `function` is that function where the server carries it out. `output` is what answers the call: at once where nobody
    has such a function.
    """

    def __init__(
        self,
        index: int,
        id: str,
        name: str,
        tool: Tool | None,
        function: ServerFunction | None = None,
        output: str | None = None,
    ) -> None:
        self.index = index
        self.id = id
        self.name = name
        self.tool = tool
        self.function = function
        self.details: Details = {}
        """What a tool of the server found."""
        self.output = output
        self.type = "function" if tool is None else tool.type
        self.arguments = ""
        self.input = ""
        self._reader = InputReader(tool.input) if tool is not None and tool.input else None

    @property
    def waits(self) -> bool:
        """Whether the client is asked for the output."""
        return self.tool is None and self.function is None and self.output is None

    @property
    def is_made_once(self) -> bool:
        """Whether it must not be made again, not even where a worker died before it knew the output."""
        return self.function is not None and not self.function.idempotent

    def opening(self, run: Run) -> Entry:
        """The entry that introduces the call."""
        # An output is told when the step ends, whoever gave it.
        details = self._function("", output=None) if self.tool is None else self.tool.opening(run)
        return {"index": self.index, "id": self.id, "type": self.type, self.type: details}

    def read(self, arguments: str) -> Entry | None:
        """Takes the next piece of the arguments; the entry that shows it, if clients see anything of it."""
        self.arguments += arguments
        if self.tool is None:
            return self.piece({"arguments": arguments}) if arguments else None
        text = self._reader.read(arguments) if self._reader else ""
        self.input += text
        return self.piece({"input": text}) if text else None

    def piece(self, details: Mapping[str, Any]) -> Entry:
        return {"index": self.index, "type": self.type, self.type: details}

    def whole(self, run: Run) -> Entry:
        """The call in `step_details`."""
        if self.tool is None:
            details = self._function(self.arguments, self.output)
        else:
            details = self.details or self.tool.opening(run)
            if self._reader:
                details = {"input": "", **details} | {"input": self.input}
        return {"id": self.id, "type": self.type, self.type: details}

    def _function(self, arguments: str, output: str | None) -> dict[str, Any]:
        return {"name": self.name, "arguments": arguments, "output": output}


def usable_id(given: str, taken: set[str]) -> str:
    """The model's id of a call, where it can be one and is the only one; else a new one."""
    return given if SAFE_ID.fullmatch(given) and given not in taken else new_call_id()
