"""Faults on a schedule that the seed decides: how often, after which pauses, to whom."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from tests.chaos.history import History


class Injector:
    def __init__(self, history: History, seed: int) -> None:
        self.history = history
        self.chance = random.Random(f"injector:{seed}")
        self.done = 0

    async def repeat(
        self,
        times: int,
        pause: tuple[float, float],
        inject: Callable[[], Awaitable[None]],
        *,
        while_true: Callable[[], bool],
    ) -> None:
        """Injects up to `times`, after random pauses in seconds, as long as there is something to disturb."""
        for _ in range(times):
            await asyncio.sleep(self.chance.uniform(*pause))
            if not while_true():
                return
            await inject()
            self.done += 1

    async def rest(self, low: float, high: float) -> None:
        """How long a fault lasts: that time passes is the point of it."""
        await asyncio.sleep(self.chance.uniform(low, high))

    def choice[T](self, among: Sequence[T]) -> T:
        return self.chance.choice(among)

    def between(self, low: float, high: float) -> float:
        return self.chance.uniform(low, high)

    def note(self, what: str, **fields: object) -> None:
        """For faults that no server notes itself: those of Redis, PostgreSQL, the proxies."""
        self.history.write("fault", what=what, **fields)
