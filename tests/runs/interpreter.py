"""A code interpreter for tests, plugged in as any tool is: it runs a language of four words, line by line.

print TEXT    a line of logs        plot FILE_ID    an image
wait          until `go` is set     fail            the run fails
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

from runs.completers import CompleterError
from runs.models import Run
from runs.tools import Details, Show


class Interpreter:
    type = "code_interpreter"
    input = "code"

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.go = asyncio.Event()

    def function(self) -> Mapping[str, Any]:
        parameters = {"type": "object", "properties": {"code": {"type": "string"}}, "required": ["code"]}
        return {"type": "function", "function": {"name": self.type, "description": "Runs.", "parameters": parameters}}

    def opening(self, run: Run) -> Details:
        return {"input": "", "outputs": []}

    async def execute(self, run: Run, arguments: str, show: Show) -> Details:
        outputs: list[dict[str, Any]] = []
        for line in json.loads(arguments)["code"].splitlines():
            word, _, rest = line.partition(" ")
            match word:
                case "print" if outputs and outputs[-1]["type"] == "logs":
                    outputs[-1]["logs"] += f"{rest}\n"
                    show({"outputs": [{"index": len(outputs) - 1, "type": "logs", "logs": f"{rest}\n"}]})
                case "print":
                    outputs.append({"type": "logs", "logs": f"{rest}\n"})
                    show({"outputs": [{"index": len(outputs) - 1, **outputs[-1]}]})
                case "plot":
                    outputs.append({"type": "image", "image": {"file_id": rest}})
                    show({"outputs": [{"index": len(outputs) - 1, **outputs[-1]}]})
                case "wait":
                    self.waiting.set()
                    await self.go.wait()
                case "fail":
                    raise CompleterError("server_error", "The interpreter broke.")
        return {"outputs": outputs}

    def told(self, details: Mapping[str, Any], step_number: int, first_result: int) -> str:
        return "".join(output.get("logs", "[image]\n") for output in details["outputs"])
