"""Functions for models, in the words of docs/tools.md."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from runs.tools import CallContext, ToolError, function_tool


@function_tool
def book_seat(train: Annotated[str, Field(description="Its number.")], context: CallContext) -> str:
    """Books a seat in a train. Costs money."""
    note = Path(os.environ["KUMOS_DATA_DIR"]) / "booked"
    with note.open("a") as file:
        file.write(f"{train} {context.run_id}\n")
    return f"Seat 7 in {train}."


@function_tool(idempotent=True, seconds=5)
async def timetable(station: str, limit: int = 3) -> list[str]:
    """The next trains."""
    if station == "Atlantis":
        raise ToolError("there is no such station")
    return [f"{station} {number}" for number in range(limit)]


@function_tool(seconds=60)
def wait(seconds: float) -> str:
    """Waits."""
    time.sleep(seconds)
    return "Waited."
