"""Async code in sync tests: on a loop of the test's own, whose database threads leave no connection behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

from asgiref.sync import async_to_sync
from django.db import connections

from assistants import bell

SECONDS = 30.0


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
