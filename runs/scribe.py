"""Writing one open step of a run while the model speaks. At most one append is under way; what comes meanwhile merges.

So a reader of a quick model is never behind by more than one commit, and a slow disk makes larger deltas, not a queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from django.conf import settings

from assistants import metrics
from assistants.clock import now
from runs import progress
from runs.citations import CitationReader
from runs.models import Run, RunStep
from runs.progress import OpenMessage
from runs.story import Piece
from runs.transitions import Usage
from runs.writer import Writer


class Pen:
    """What one run is written with. It knows since when nothing has told that the run is still this worker's."""

    def __init__(self, run: Run, writer: Writer) -> None:
        self.run = run
        self.writer = writer
        self.held_at = time.monotonic()
        self._has_spoken = False

    async def write[T](self, work: Callable[[], T], *, urgent: bool = True) -> T:
        asked_at = time.monotonic()
        result = await self.writer.run(work, urgent=urgent)
        self.held_at = max(self.held_at, asked_at)
        return result

    async def check(self) -> None:
        """Asks whether the run is still ours, if that was not heard for two thirds of the lease.

        By this process's own clock, which no pause and no wrong time can fool. Raises Fenced or CancelRequested.
        """
        if time.monotonic() - self.held_at > settings.KUMOS_LEASE_SECONDS * 2 / 3:
            await self.write(partial(progress.hold, self.run))

    def spoke(self) -> None:
        """A step was opened with its first piece. The first one of a run is what its readers have waited for."""
        if self.run.epoch == 1 and not self._has_spoken:
            metrics.FIRST_TOKEN_SECONDS.observe((now() - self.run.created_at).total_seconds())
        self._has_spoken = True


class Scribe:
    """The pump that both kinds of step share: `_append` is called with nothing under way and must take what waits.

    `failed` is called with what an append raised, at once: the model may be silent for long.
    """

    def __init__(self, run: Run, pen: Pen, failed: Callable[[Exception], None]) -> None:
        self.run = run
        self.pen = pen
        self.failed = failed
        self._pump: asyncio.Task[None] | None = None

    def _kick(self) -> None:
        if self._pump is not None:
            if not self._pump.done():
                return
            self._pump.result()  # raises what an append raised: there is nothing more to write
        self._pump = asyncio.create_task(self._drain())
        self._pump.add_done_callback(self._pumped)

    def _pumped(self, pump: asyncio.Task[None]) -> None:
        error = None if pump.cancelled() else pump.exception()
        if isinstance(error, Exception):
            self.failed(error)

    async def _drain(self) -> None:
        while self._waiting():
            await self._append()

    async def flushed(self) -> None:
        """Everything written so far is in the log. Raises what an append raised: Fenced, CancelRequested."""
        if self._waiting():
            self._kick()
        if self._pump is not None:
            await asyncio.shield(self._pump)  # who waits may be cancelled; what is being written is not

    async def settle(self) -> None:
        """Nothing is under way any more, whatever became of it."""
        if self._pump is not None:
            await asyncio.gather(self._pump, return_exceptions=True)

    def _waiting(self) -> bool:
        raise NotImplementedError

    async def _append(self) -> None:
        raise NotImplementedError


class MessageScribe(Scribe):
    """Writes a message, which is opened with its first text."""

    def __init__(
        self, run: Run, pen: Pen, failed: Callable[[Exception], None], sources: Mapping[tuple[int, int], str]
    ) -> None:
        super().__init__(run, pen, failed)
        self.opened: OpenMessage | None = None
        self._reader = CitationReader(sources)
        self._pieces: list[Piece] = []
        self._streamed = False
        self._annotations = 0

    def write(self, text: str) -> None:
        self._add(self._reader.read(text))

    def _add(self, pieces: Sequence[Piece]) -> None:
        if pieces:
            self._pieces.extend(pieces)
            self._kick()

    def _waiting(self) -> bool:
        return bool(self._pieces)

    async def _append(self) -> None:
        pieces, self._pieces = self._pieces, []
        if self.opened is None:
            self.opened = await self.pen.write(partial(progress.open_message, self.run, pieces))
            self.pen.spoke()
        else:
            work = partial(
                progress.say,
                self.run,
                self.opened.message.pk,
                pieces,
                first=not self._streamed,
                annotations=self._annotations,
            )
            await self.pen.write(work, urgent=not self._streamed)
        self._streamed = True
        self._annotations += sum(piece.annotation is not None for piece in pieces)

    async def finish(self, usage: Usage, *, last: bool) -> None:
        """Completes the message, and with the `last` one the run."""
        await self.break_off()
        assert self.opened is not None
        ending = progress.complete if last else progress.finish_message
        await self.pen.write(partial(ending, self.run, self.opened, self._reader.content(), usage))

    async def break_off(self) -> None:
        """Logs all text, for a message that is about to end."""
        self._add(self._reader.end())
        await self.flushed()
        if self.opened is None:  # an answer without a word: clients still expect a delta (contract 3.4)
            self._add([Piece("")])
            await self.flushed()


class CallScribe(Scribe):
    """Writes the calls of one turn into one tool step: `entries` as in contract 3.5–3.7."""

    def __init__(self, run: Run, pen: Pen, failed: Callable[[Exception], None]) -> None:
        super().__init__(run, pen, failed)
        self.step: RunStep | None = None
        self._entries: list[dict[str, Any]] = []

    def write(self, entry: dict[str, Any]) -> None:
        last = self._entries[-1] if self._entries else None
        if last is None or not _joined(last, entry):
            self._entries.append(entry)
        self._kick()

    def _waiting(self) -> bool:
        return bool(self._entries)

    async def _append(self) -> None:
        entries, self._entries = self._entries, []
        if self.step is None:
            self.step = await self.pen.write(partial(progress.open_tool_step, self.run, entries))
            self.pen.spoke()
        else:
            await self.pen.write(partial(progress.report_calls, self.run, self.step.pk, entries), urgent=False)


def _joined(last: dict[str, Any], entry: Mapping[str, Any]) -> bool:
    """Whether `entry` could be appended to `last`: the next piece of the same call's arguments, or of its input."""
    type = entry["type"]
    if (last["index"], last["type"], "id" in last, "id" in entry) != (entry["index"], type, False, False):
        return False
    for text in ("arguments", "input"):
        if last[type].keys() == entry[type].keys() == {text}:
            last[type][text] += entry[type][text]
            return True
    return False
