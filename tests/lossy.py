"""A channel layer as bad as the specification allows, and worse: it drops, doubles, delays and swaps."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from channels.layers import InMemoryChannelLayer


class LossyChannelLayer(InMemoryChannelLayer):
    """`drop`, `double` and `delay` are probabilities; delayed messages overtake each other."""

    def __init__(self, *, seed: int = 0, drop: float = 0.3, double: float = 0.1, delay: float = 0.3, **kwargs: Any):
        super().__init__(**kwargs)
        self.random = random.Random(seed)
        self.drop, self.double, self.delay = drop, double, delay
        self.dropped = 0
        self.late: set[asyncio.Task[None]] = set()

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        if self.random.random() < self.drop:
            self.dropped += 1
            return
        for _ in range(2 if self.random.random() < self.double else 1):
            if self.random.random() < self.delay:
                task = asyncio.create_task(self._send_late(group, message, self.random.uniform(0, 0.05)))
                self.late.add(task)
                task.add_done_callback(self.late.discard)
            else:
                await super().group_send(group, message)

    async def _send_late(self, group: str, message: dict[str, Any], seconds: float) -> None:
        await asyncio.sleep(seconds)
        await super().group_send(group, message)
