"""Ringing Channels from sync code: after the commit, from any thread, never waiting and never failing the caller.

A bell carries nothing that is not in the database (design, section 2); a lost one costs a poll interval. The process's
event loop attaches itself at start. Without one (management commands, tests) a bell needs a networked layer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from asgiref.sync import async_to_sync
from django.db import transaction

from assistants import layer, metrics

logger = logging.getLogger(__name__)

RUNNER_CHANNEL = "runs"

_loop: asyncio.AbstractEventLoop | None = None
_ringing: set[asyncio.Task[None]] = set()


def attach(loop: asyncio.AbstractEventLoop | None) -> None:
    """The loop on which bells are rung; None detaches."""
    global _loop
    _loop = loop


def attached_loop() -> asyncio.AbstractEventLoop | None:
    return None if _loop is None or _loop.is_closed() else _loop


def ring_runner(type: str, **fields: Any) -> None:
    """Sends `{"type": type, …}` to the runner's channel once the caller's transaction has committed.

    Types: `run.queued`, `run.cancel` (run_id), `file.waiting`; handled by runs/consumers.py.
    """
    message = {"type": type, **fields}
    # Robust: what is committed is accepted, whatever becomes of its bell.
    transaction.on_commit(lambda: ring(lambda: send(message)), robust=True)


async def send(message: dict[str, Any]) -> None:
    await layer.ask("send", RUNNER_CHANNEL, message)
    metrics.BELLS.labels("sent").inc()


def ring(bell: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Runs `bell()` on the attached loop; False where nobody could hear it. Errors are logged: whoever waits polls."""
    loop = attached_loop()
    if loop is not None:
        loop.call_soon_threadsafe(_start, bell)
        return True
    if layer.in_memory():
        return False
    async_to_sync(_quietly)(bell)
    return True


def _start(bell: Callable[[], Coroutine[Any, Any, None]]) -> None:
    task = asyncio.ensure_future(_quietly(bell))
    _ringing.add(task)  # the loop keeps only a weak reference
    task.add_done_callback(_ringing.discard)


async def _quietly(bell: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        await bell()
    except layer.Away:
        metrics.BELLS.labels("lost").inc()  # it has said so
    except Exception as error:
        metrics.BELLS.labels("lost").inc()
        logger.warning("a bell was lost, the poll will make up for it: %r", error)
