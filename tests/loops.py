"""Async code in sync tests: on a loop of the test's own, whose database threads leave no connection behind.

Also the two limits of waiting: how long a test waits for one thing, and how long for all of its async code. Both are
far beyond what a slow machine needs, so that only what never happens exceeds them, and then says what that was.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from asgiref.sync import async_to_sync
from django.db import connections

from assistants import bell

PATIENCE_SECONDS = 60.0
SECONDS = 2 * PATIENCE_SECONDS


class ClosingPool(ThreadPoolExecutor):
    """Long-lived threads keep their connections; those of a test's loop must not outlive it."""

    def submit[**P, R](self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        def closing() -> R:
            try:
                return fn(*args, **kwargs)
            finally:
                connections.close_all()

        return super().submit(closing)


def run_async[T](work: Callable[[], Awaitable[T]], *, bells: bool = True) -> T:
    """`await work()` within SECONDS. With `bells` the loop is the one on which bells ring, as a server's is."""

    async def on_loop() -> T:
        loop = asyncio.get_running_loop()
        pool = ClosingPool(8)
        loop.set_default_executor(pool)
        if bells:
            bell.attach(loop)
        try:
            async with asyncio.timeout(SECONDS):
                return await work()
        finally:
            bell.attach(None)

    return async_to_sync(on_loop)()


async def until(true: Callable[[], bool], *, on_loop: bool = False) -> None:
    """Until `true()` holds, which is asked in a thread, where it may use the database, or on the loop itself.

    Fails after PATIENCE_SECONDS.
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while not (true() if on_loop else await asyncio.to_thread(true)):
        assert time.monotonic() < give_up_at, f"in vain for {PATIENCE_SECONDS:g} s: {where(true)}"
        await asyncio.sleep(0.01)


def where(condition: Callable[[], bool]) -> str:
    """Name, file and line of a condition: most are lambdas, whose line says what they look at."""
    code = condition.__code__
    return f"{condition.__qualname__} at {code.co_filename}:{code.co_firstlineno}"
