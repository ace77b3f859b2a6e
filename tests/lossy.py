"""Channel layers as bad as the specification allows, and worse: they drop, double, delay and swap."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from channels.layers import BaseChannelLayer, InMemoryChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

if TYPE_CHECKING:
    Layer = BaseChannelLayer
else:
    Layer = object


class Lossy(Layer):
    """Over a real layer. `drop`, `double` and `delay` are probabilities; a message is late by up to `late_seconds`, and
    those that come meanwhile overtake it.
    """

    def __init__(
        self,
        *args: Any,
        seed: int | None = None,
        drop: float = 0.3,
        double: float = 0.1,
        delay: float = 0.3,
        late_seconds: float = 0.05,
        **kwargs: Any,
    ):
        super().__init__(*args, **kwargs)
        self.random = random.Random(seed)
        self.drop, self.double, self.delay, self.late_seconds = drop, double, delay, late_seconds
        self.dropped = 0
        self.late: set[asyncio.Task[None]] = set()

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self._perhaps(super().send, channel, message)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._perhaps(super().group_send, group, message)

    async def _perhaps(
        self, send: Callable[[str, dict[str, Any]], Awaitable[None]], to: str, message: dict[str, Any]
    ) -> None:
        if self.random.random() < self.drop:
            self.dropped += 1
            return
        for _ in range(2 if self.random.random() < self.double else 1):
            if self.random.random() < self.delay:
                task = asyncio.create_task(self._late(send, to, message, self.random.uniform(0, self.late_seconds)))
                self.late.add(task)
                task.add_done_callback(self.late.discard)
            else:
                await send(to, message)

    async def _late(
        self,
        send: Callable[[str, dict[str, Any]], Awaitable[None]],
        to: str,
        message: dict[str, Any],
        seconds: float,
    ) -> None:
        await asyncio.sleep(seconds)
        await send(to, message)


class LossyChannelLayer(Lossy, InMemoryChannelLayer):
    pass


class LossyRedisChannelLayer(Lossy, RedisPubSubChannelLayer):  # type: ignore[misc]  # it has no types
    pass
