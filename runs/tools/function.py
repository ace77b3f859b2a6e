"""A function that the server runs when a model calls it, and how one is carried out: in time, bounded, and without its
faults becoming the run's.

Which there are is said by python.py and mcp.py. That a call is noted before it begins, and what becomes of one whose
worker died, is not known here (runs/executor.py, runs/recovery.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from assistants.masking import masked

logger = logging.getLogger(__name__)

OUTPUT_BYTES_MAX = 512 * 1024
"""What a model is told of one output. All that a run was told goes into its prompt again, and into its events."""
CUT = "\n[The output was longer and is cut here.]"
ERROR_CHARS_MAX = 2000


class ToolError(Exception):
    """What the model is to be told in place of an output: its text, and nothing beside it."""


@dataclass(frozen=True, slots=True)
class CallContext:
    """For whom a function is called. A Python function that has a parameter of this type is given it.

    `call_id` is another for each call, so it may serve as a key that keeps an effect from being made twice.
    """

    project_id: str
    assistant_id: str
    thread_id: str
    run_id: str
    call_id: str


class ServerFunction(Protocol):
    """The attributes are read on the loop. `parameters` may take its time: not for the loop."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def idempotent(self) -> bool:
        """Whether a call may be made again where nobody knows whether it was carried out."""
        ...

    @property
    def seconds(self) -> float:
        """How long a call is waited for."""
        ...

    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of the arguments."""
        ...

    async def call(self, context: CallContext, arguments: str) -> str:
        """The output. `arguments` is what the model wrote: JSON, usually. May raise anything."""
        ...


_left_alone: set[asyncio.Task[str]] = set()
"""Calls that nobody waits for any more. A task that nothing refers to may vanish in the middle of its work."""


async def carried_out(function: ServerFunction, context: CallContext, arguments: str) -> str:
    """What the model is told of the call: its output, or what went wrong. Whoever waits and is cancelled is let go at
    once, whether or not the function hears of it."""
    task = asyncio.create_task(function.call(context, arguments))
    _left_alone.add(task)
    task.add_done_callback(_ended)
    try:
        await asyncio.wait({task}, timeout=function.seconds)
        if not task.done():
            logger.warning("the tool %s did not end within %g s", function.name, function.seconds)
            return f"Error: no output within {function.seconds:g} seconds. Whether the call was carried out is unknown."
    finally:
        task.cancel()
    if task.cancelled():
        return "Error: the call was broken off. Whether it was carried out is unknown."
    match task.exception():
        case None:
            return bounded(task.result())
        case ToolError() as error:
            return bounded(f"Error: {error}")
        case error:
            logger.error("the tool %s failed", function.name, exc_info=error)
            said = str(masked(str(error)))[:ERROR_CHARS_MAX]
            return bounded(f"Error: {type(error).__name__}: {said}" if said else f"Error: {type(error).__name__}")


def _ended(task: asyncio.Task[str]) -> None:
    _left_alone.discard(task)
    if not task.cancelled():
        task.exception()  # asked for, or the loop complains that nobody did


def bounded(output: str) -> str:
    """The output as it can be stored and sent: no NUL and no halves of characters, and not without end."""
    data = output.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace")
    if len(data) <= OUTPUT_BYTES_MAX:
        return data.decode()
    return data[: OUTPUT_BYTES_MAX - len(CUT)].decode(errors="ignore") + CUT
