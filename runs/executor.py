"""One run, from its claim to its end: prompt → completer → steps → tools → again, until terminal or `requires_action`.

It only waits, reads what the model sends, and hands transitions to the writer. Whatever goes wrong ends the run with a
reason, unless the run is not this worker's any more: then it stops and writes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from functools import partial
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings

from assistants import metrics
from assistants.failpoints import failpoint
from assistants.faults import is_lock_wait, is_passing
from assistants.tokens import count_tokens
from runs import progress, prompt, queue
from runs.calls import Call, Entry, usable_id
from runs.completers import Completer, CompleterError, Finish, TextDelta, ToolCallDelta, Usage
from runs.completers.providers import completer_for
from runs.images import Images
from runs.models import Run
from runs.progress import CancelRequested, Fenced
from runs.scribe import CallScribe, MessageScribe, Pen
from runs.tools import CallContext, tools_of
from runs.tools.function import carried_out
from runs.transitions import usage_of
from runs.writer import OutcomeUnknown, Writer

logger = logging.getLogger(__name__)

NO_FUNCTION = "Error: there is no function of this name. Use only the functions that were given."
"""What a model is told that calls one nobody has. A client is never asked for it: it would not know what to answer."""


class Stop(Enum):
    """Why a run is to stop before its own end."""

    CANCELLED = "cancelled"
    EXPIRED = "expired"
    HANDED_BACK = "handed back"
    LOST = "lost"


@dataclass(slots=True)
class Turn:
    """What one answer of the model has come to so far."""

    prompt: prompt.Prompt
    completer: Completer
    model: str
    """By which name `completer` knows the model."""
    asked: bool = False
    message: MessageScribe | None = None
    message_done: bool = False
    calls: dict[int, Call] = field(default_factory=dict)
    call_scribe: CallScribe | None = None
    said: list[str] = field(default_factory=list)
    said_tokens: int = 0
    usage: Usage | None = None
    finish: str = ""

    def estimate(self) -> Usage:
        """For models that report no usage. Takes its time over a long prompt: not for the loop."""
        written = "".join([*self.said, *(call.arguments for call in self.calls.values())])
        return Usage(prompt.estimate(self.prompt.request), count_tokens(written))

    def spoken(self) -> dict[str, Any]:
        """Usage of the message in front of the turn's calls, before the model reports any: the words alone.

        Like `estimate`, not for the loop.
        """
        self.said_tokens = count_tokens("".join(self.said))
        return usage_of(completion=self.said_tokens)

    def used(self) -> dict[str, Any]:
        """Usage of the turn's last step: all of the turn that its message does not have, so that they add up to it."""
        usage = self.usage
        assert usage is not None  # the answer is over, and where the model said nothing it was estimated
        words = max(usage.completion_tokens - self.said_tokens, 0)
        return usage_of(usage.prompt_tokens, words, usage.cached_tokens, usage.reasoning_tokens)

    def is_seen(self) -> bool:
        """Whether the turn has the step that its usage belongs to: once all that was written is in the log."""
        if self.call_scribe is not None:
            return self.call_scribe.step is not None
        return self.message is not None and self.message.opened is not None

    async def settle(self) -> None:
        """Nothing of it is being written any more."""
        for scribe in (self.message, self.call_scribe):
            if scribe is not None:
                await scribe.settle()


def next_turn(run: Run) -> Turn:
    """What to ask, and whom. Reads the database. Raises PromptTooLong, and CompleterError where nobody answers."""
    return Turn(prompt.build(run), *completer_for(run.model, run.project_id))


class Executor:
    """Executes one claimed run. `stop` may be called at any time from the loop it runs on."""

    def __init__(self, run: Run, writer: Writer) -> None:
        self.run = run
        self.pen = Pen(run, writer)
        self.tools = tools_of(run)
        self.functions = {tool["function"]["name"] for tool in run.tools if tool["type"] == "function"}
        self.images = Images(run)
        self._reason: Stop | None = None
        self._fault: Exception | None = None
        self._work: asyncio.Task[None] | None = None
        self._turn: Turn | None = None

    def stop(self, reason: Stop) -> None:
        if self._reason is None:
            self._reason = reason
            self._interrupt()

    def failed(self, error: Exception) -> None:
        """An append failed: the work stops now, not with the next word of the model."""
        if self._fault is None:
            self._fault = error
            self._interrupt()

    def _interrupt(self) -> None:
        """Once: a second cancel would end what the first one has to close."""
        if self._work is not None and not self._work.cancelling():
            self._work.cancel()

    def seconds_left(self) -> float:
        """Until the run expires, by the clock of the claim: its lease was made a moment ago, and by no other."""
        assert self.run.lease_until is not None
        claimed_at = self.run.lease_until - timedelta(seconds=settings.KUMOS_LEASE_SECONDS)
        return max((self.run.expires_at - claimed_at).total_seconds(), 0)

    async def execute(self) -> None:
        """Returns when the run is over for this worker. Never raises for what models, tools and people do."""
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(self.seconds_left(), self.stop, Stop.EXPIRED)
        self._work = asyncio.create_task(self._turns())
        try:
            if self._reason is not None:
                self._work.cancel()
            await self._work
        except asyncio.CancelledError:
            mine = asyncio.current_task()
            if self._reason is None and mine is not None and mine.cancelling():  # from outside: the process ends
                self._reason = Stop.HANDED_BACK
                self._work.cancel()
            if self._reason is not None:
                await self._conclude(self._reason)
            else:
                await self._fail(self._fault or RuntimeError("the work was cancelled, and nobody had asked for it"))
        except Exception as error:
            await self._fail(error)
        finally:
            deadline.cancel()
            failpoint("run.ended.after_publish")

    async def _fail(self, error: Exception) -> None:
        """Ends the run for what was raised, or leaves it. A fault of the database is not the run's: it goes on."""
        match error:
            case Fenced():
                metrics.FENCE_REJECTIONS.labels("write").inc()
                logger.info("run %s is not ours any more", self.run.pk)
            case CancelRequested():
                await self._conclude(Stop.CANCELLED)
            case CompleterError():
                spent = await self._spent()
                spent.pop("unseen", None)  # who refuses, or is not there, is paid nothing
                await self._end(partial(progress.fail, self.run, error.code, error.message, **spent))
            case _ if isinstance(error, OutcomeUnknown) or is_passing(error):
                logger.warning("run %s is given up, the database failed: %r", self.run.pk, error)
                await self._end(partial(queue.release, self.run, crashed=not is_lock_wait(error)))
            case _:
                logger.error("run %s failed", self.run.pk, exc_info=error)
                spent = await self._spent()
                await self._end(
                    partial(progress.fail, self.run, "server_error", "Sorry, something went wrong.", **spent)
                )

    async def _conclude(self, reason: Stop) -> None:
        match reason:
            case Stop.CANCELLED:
                await self._end(partial(progress.cancel, self.run, **await self._spent()))
            case Stop.EXPIRED:
                await self._end(partial(progress.expire, self.run, **await self._spent()))
            case Stop.HANDED_BACK:
                await self._end(partial(queue.release, self.run))
                failpoint("run.handed_back")

    async def _spent(self) -> dict[str, Any]:
        """What the turn under way has cost so far, as an `Ending` takes it: estimated, where the model would have
        reported it in the end."""
        turn = self._turn
        if turn is None or not turn.asked:
            return {}
        await turn.settle()
        if turn.usage is None:
            turn.usage = await asyncio.to_thread(turn.estimate)
        return {"usage" if turn.is_seen() else "unseen": turn.used()}

    async def _end(self, ending: Callable[[], None]) -> None:
        """The last word on the run, after the last append that is under way."""
        if self._turn is not None:
            await self._turn.settle()
        try:
            try:
                await self.pen.write(ending)
            except CancelRequested:
                await self.pen.write(partial(progress.cancel, self.run, **await self._spent()))
        except Fenced:
            metrics.FENCE_REJECTIONS.labels("write").inc()
            logger.info("run %s ended elsewhere", self.run.pk)
        except Exception:
            # The lease runs out, and whoever takes the run over ends it.
            logger.exception("run %s could not be ended", self.run.pk)

    # Turns --------------------------------------------------------------------------------------------------------

    async def _turns(self) -> None:
        read = database_sync_to_async(next_turn, thread_sensitive=False)
        for _ in range(settings.KUMOS_TURNS_MAX):
            try:
                self._turn = await read(self.run)
            except prompt.PromptTooLong:
                await self.pen.write(partial(progress.stop_short, self.run, "max_prompt_tokens", "max_tokens", None))
                return
            left = self._turn.prompt.request.max_completion_tokens
            if left is not None and left <= 0:
                await self._stop_short(self._turn, "max_completion_tokens", "max_tokens")
                return
            if await self._take(self._turn):
                return
        raise CompleterError("server_error", f"The run did not come to an end in {settings.KUMOS_TURNS_MAX} turns.")

    async def _take(self, turn: Turn) -> bool:
        """One answer of the model and what it asks for. True when the run is over or waits for its client."""
        request = turn.prompt.for_model(turn.model)
        if turn.completer.sees:
            request = await self.images.shown(request)
        turn.asked = True
        async with aclosing(turn.completer.stream(request)) as events:
            async for event in events:
                await self.pen.check()
                match event:
                    case TextDelta():
                        await self._text(turn, event.text)
                    case ToolCallDelta():
                        await self._call(turn, event)
                    case Usage():
                        turn.usage = event
                    case Finish():
                        turn.finish = event.reason
        failpoint("model.finished")
        if turn.usage is None:
            turn.usage = await asyncio.to_thread(turn.estimate)
        if turn.finish == "length":
            await self._stop_short(turn, "max_completion_tokens", "max_tokens")
            return True
        if turn.finish == "content_filter":
            await self._stop_short(turn, "content_filter", "content_filter")
            return True
        if turn.calls:
            return await self._run_calls(turn)
        message = turn.message or self._new_message(turn)
        await message.finish(turn.used(), last=True)
        return True

    async def _text(self, turn: Turn, text: str) -> None:
        if not text or turn.calls:
            return  # words after a call belong to no step: steps do not overlap, and the next turn speaks again
        turn.said.append(text)
        if turn.message is None:
            turn.message = self._new_message(turn)
        turn.message.write(text)

    def _new_message(self, turn: Turn) -> MessageScribe:
        return MessageScribe(self.run, self.pen, self.failed, turn.prompt.sources)

    async def _call(self, turn: Turn, piece: ToolCallDelta) -> None:
        if turn.call_scribe is None:
            turn.call_scribe = CallScribe(self.run, self.pen, self.failed)
            if turn.message is not None:  # the text of a turn is a step of its own, before its calls (contract 2.13)
                await turn.message.finish(await asyncio.to_thread(turn.spoken), last=False)
                turn.message_done = True
        call = turn.calls.get(piece.index)
        if call is None:
            id = usable_id(piece.id, {other.id for other in turn.calls.values()})
            tool, function = self.tools.get(piece.name), turn.prompt.functions.get(piece.name)
            known = tool is not None or piece.name in self.functions
            call = Call(len(turn.calls), id, piece.name, tool, function, output=None if known else NO_FUNCTION)
            turn.calls[piece.index] = call
            turn.call_scribe.write(call.opening(self.run))
        if entry := call.read(piece.arguments):
            turn.call_scribe.write(entry)

    async def _run_calls(self, turn: Turn) -> bool:
        """Runs the server's calls of a turn, and waits for the client's if there are any.

        Those that must not be made twice come last: once one has begun, a take-over makes none of the others either.
        """
        scribe = turn.call_scribe
        assert scribe is not None
        calls = list(turn.calls.values())
        begun: list[str] = []
        await scribe.flushed()  # clients see the whole calls before the first of them begins
        assert scribe.step is not None
        for call in sorted(calls, key=lambda call: call.is_made_once):
            if call.is_made_once:
                begun.append(call.id)
                whole, arguments = self._known(calls)
                known = {"calls": whole, "arguments": arguments, "usage": turn.used(), "ids": begun}
                await self.pen.write(partial(progress.begin_call, self.run, scribe.step, known))
            await self._execute(call, scribe)
        await scribe.flushed()
        waits = any(call.waits for call in calls)
        report = progress.require_action if waits else progress.finish_tool_step
        whole, arguments = self._known(calls)
        await self.pen.write(partial(report, self.run, scribe.step, whole, arguments, turn.used()))
        return waits

    def _known(self, calls: Sequence[Call]) -> tuple[list[Entry], dict[str, str]]:
        """The calls as far as they have come, and the arguments of those that do not show them."""
        arguments = {call.id: call.arguments for call in calls if call.tool is not None}
        return [call.whole(self.run) for call in calls], arguments

    async def _execute(self, call: Call, scribe: CallScribe) -> None:
        if call.tool is None and call.function is None:
            return
        failpoint("tool.before_call")
        if call.tool is not None:
            call.details = await call.tool.execute(
                self.run, call.arguments, lambda shown: scribe.write(call.piece(shown))
            )
        elif call.function is not None:
            run = self.run
            context = CallContext(run.project_id, run.assistant_id, run.thread_id, run.pk, call.id)
            call.output = await carried_out(call.function, context, call.arguments)
        failpoint("tool.after_call")

    async def _stop_short(self, turn: Turn, run_reason: str, message_reason: str) -> None:
        if turn.finish and turn.message is None and not turn.calls:
            turn.message = self._new_message(turn)  # without a word, but its step has the turn's usage
        if turn.message is not None and not turn.message_done:
            await turn.message.break_off()
        if turn.call_scribe is not None:
            await turn.call_scribe.flushed()
        await self.pen.write(
            partial(progress.stop_short, self.run, run_reason, message_reason, turn.used() if turn.finish else None)
        )
