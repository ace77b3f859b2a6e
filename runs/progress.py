"""What a worker reports of the run it holds. Every function here is fenced (P4): it writes only while the run still has
the worker's epoch and is active, renews the lease with the same statement, and learns from it of a cancel.

One transaction each, run by `writer.py` together with those of other runs. Ends of runs are `transitions.end_run`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from assistants.clock import now
from assistants.failpoints import failpoint, failpoint_on_commit
from assistants.models import Message, MessageStatus, Role
from assistants.retrieval import conversations
from runs import story
from runs.models import HELD, Run, RunStatus, RunStep, StepStatus, StepType
from runs.story import Piece
from runs.transitions import Ending, Usage, close_step, end_run, fresh
from streaming import journal
from streaming.journal import Draft

logger = logging.getLogger(__name__)


class Fenced(Exception):
    """The run is not this worker's any more: stop at once, write nothing."""


class CancelRequested(Exception):
    """Somebody asked to cancel the run: stop, and end it as cancelled."""


@dataclass(frozen=True, slots=True)
class OpenMessage:
    """The message a worker is writing, with its step."""

    step: RunStep
    message: Message


_FENCE = """
UPDATE runs_run SET lease_until = {lease}{spoke}
WHERE id = %s AND epoch = %s AND status IN ('in_progress', 'cancelling') RETURNING status
"""
_LEASES = {"sqlite": "%s", "postgresql": "clock_timestamp() + %s"}
_SPOKE = ", first_token_at = COALESCE(first_token_at, %s)"
_FENCES = {
    (vendor, spoke): _FENCE.format(lease=lease, spoke=_SPOKE if spoke else "")
    for vendor, lease in _LEASES.items()
    for spoke in (False, True)
}


def hold(run: Run, *, spoke: bool = False) -> None:
    """The fence and the heartbeat in one. Raises Fenced or CancelRequested. `spoke`: a step is opened with its first
    piece, and if it is the run's first, that moment is kept."""
    lease: Any = timedelta(seconds=settings.KUMOS_LEASE_SECONDS)
    if connection.vendor == "sqlite":  # the shared clock, without another query
        lease = connection.ops.adapt_datetimefield_value(now() + lease)
    first = [connection.ops.adapt_datetimefield_value(now())] if spoke else []
    with connection.cursor() as cursor:
        cursor.execute(_FENCES[connection.vendor, spoke], [lease, *first, run.pk, run.epoch])
        row = cursor.fetchone()
    if row is None:
        logger.info("a write for run %s was refused, it is not ours any more", run.pk)
        raise Fenced(run.pk)
    if row[0] == RunStatus.CANCELLING:
        raise CancelRequested(run.pk)


def _log(run: Run, drafts: Sequence[Draft]) -> None:
    try:
        journal.append(run.thread_id, drafts)
    except journal.ThreadGone:
        raise Fenced(run.pk) from None


def open_message(run: Run, pieces: Sequence[Piece]) -> OpenMessage:
    """A new message and its step, with the first text of it, so that a first token waits for one commit."""
    with transaction.atomic(savepoint=False):
        hold(run, spoke=True)
        message = Message.objects.create(
            thread_id=run.thread_id,
            role=Role.ASSISTANT,
            status=MessageStatus.IN_PROGRESS,
            assistant_id=run.assistant_id,
            run_id=run.pk,
        )
        details = {"type": StepType.MESSAGE_CREATION, "message_creation": {"message_id": message.pk}}
        step = _create_step(run, StepType.MESSAGE_CREATION, details)
        failpoint("message.opened.before_commit")
        failpoint_on_commit("message.first_delta.before_publish")
        _log(
            run,
            [
                story.step_event(step, run, "created"),
                story.step_event(step, run),
                story.message_event(message, run, "created"),
                story.message_event(message, run),
                *story.text_deltas(run, message.pk, pieces, first=True, annotations=0),
            ],
        )
    return OpenMessage(step, message)


def _create_step(run: Run, type: StepType, details: Mapping[str, Any]) -> RunStep:
    return RunStep.objects.create(
        run=run, thread_id=run.thread_id, assistant_id=run.assistant_id, type=type, step_details=details
    )


def say(run: Run, message_id: str, pieces: Sequence[Piece], *, first: bool, annotations: int) -> None:
    """Streams text of the open message: once per token when idle, merged when commits crowd."""
    with transaction.atomic(savepoint=False):
        hold(run)
        _log(run, story.text_deltas(run, message_id, pieces, first=first, annotations=annotations))
        failpoint("message.delta.before_commit")


def finish_message(run: Run, opened: OpenMessage, content: Sequence[Mapping[str, Any]], usage: Usage) -> None:
    with transaction.atomic(savepoint=False):
        hold(run)
        _log(run, _finish_message(run, opened, content, usage))


def complete(run: Run, opened: OpenMessage, content: Sequence[Mapping[str, Any]], usage: Usage) -> None:
    """The last message is done, and with it the run."""
    with transaction.atomic(savepoint=False):
        hold(run)
        drafts = _finish_message(run, opened, content, usage)
        failpoint("message.completed.before_run")
        _end(run, Ending(RunStatus.COMPLETED), [RunStatus.IN_PROGRESS], drafts)


def _finish_message(run: Run, opened: OpenMessage, content: Sequence[Mapping[str, Any]], usage: Usage) -> list[Draft]:
    moment = now()
    message, step = opened.message, opened.step
    message.status, message.completed_at, message.content = MessageStatus.COMPLETED, moment, list(content)
    # Not save(): somebody may have deleted the message, and the run goes on all the same.
    if Message.objects.filter(pk=message.pk).update(
        status=message.status, completed_at=message.completed_at, content=message.content
    ):
        conversations.note_messages([message])
    step.usage = usage
    close_step(step, StepStatus.COMPLETED, moment)
    return [story.message_event(message, run), story.step_event(step, run)]


def open_tool_step(run: Run, entries: Sequence[Mapping[str, Any]]) -> RunStep:
    """A new step for the calls of a turn, with the first pieces of them (`report_calls`)."""
    with transaction.atomic(savepoint=False):
        hold(run, spoke=True)
        step = _create_step(run, StepType.TOOL_CALLS, {"type": StepType.TOOL_CALLS, "tool_calls": []})
        opened = [story.step_event(step, run, "created"), story.step_event(step, run)]
        _log(run, [*opened, *story.call_deltas(run, step.pk, entries)])
    return step


def report_calls(run: Run, step_id: str, entries: Sequence[Mapping[str, Any]]) -> None:
    """Streams pieces of tool calls; `entries` as in contract 3.5–3.7, at most one per index and delta."""
    with transaction.atomic(savepoint=False):
        hold(run)
        _log(run, story.call_deltas(run, step_id, entries))


def begin_call(run: Run, step: RunStep, begun: Mapping[str, Any]) -> None:
    """Notes that a call begins that must not be made twice, and all that is known of the step's calls by then.

    Nothing of it is on the wire yet. It is what a take-over finds (runs/recovery.py): `calls` and `arguments` as they
    will stand in the step, `usage`, and `ids` of the calls that have begun.
    """
    with transaction.atomic(savepoint=False):
        hold(run)
        step.begun = dict(begun)
        step.save(update_fields=["begun"])


def finish_tool_step(
    run: Run, step: RunStep, calls: Sequence[Mapping[str, Any]], arguments: Mapping[str, str], usage: Usage
) -> None:
    with transaction.atomic(savepoint=False):
        hold(run)
        _set_calls(step, calls, arguments, usage)
        close_step(step, StepStatus.COMPLETED, now())
        _log(run, [story.step_event(step, run)])


def require_action(
    run: Run, step: RunStep, calls: Sequence[Mapping[str, Any]], arguments: Mapping[str, str], usage: Usage
) -> None:
    """Stops for the client's outputs; nobody holds the run until they come. The step stays open (contract 3.5)."""
    with transaction.atomic(savepoint=False):
        hold(run)
        _set_calls(step, [_unanswered(call) for call in calls], arguments, usage)
        if any(call["type"] == "function" and call["function"]["output"] is not None for call in calls):
            step.begun = {"calls": list(calls), "arguments": dict(arguments), "usage": usage, "ids": []}
        step.save(update_fields=["step_details", "call_arguments", "usage", "begun"])
        pending = [
            {
                "id": call["id"],
                "type": "function",
                "function": {"name": call["function"]["name"], "arguments": call["function"]["arguments"]},
            }
            for call in calls
            if call["type"] == "function" and call["function"]["output"] is None
        ]
        action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": pending}}
        moved = Run.objects.filter(pk=run.pk, epoch=run.epoch, status=RunStatus.IN_PROGRESS).update(
            status=RunStatus.REQUIRES_ACTION, required_action=action, lease_until=None, worker_id=""
        )
        if not moved:
            raise Fenced(run.pk)
        failpoint_on_commit("tool.outputs_required.before_publish")
        _log(run, [story.run_event(fresh(run))])


def _set_calls(step: RunStep, calls: Sequence[Mapping[str, Any]], arguments: Mapping[str, str], usage: Usage) -> None:
    step.step_details = {"type": StepType.TOOL_CALLS, "tool_calls": list(calls)}
    step.call_arguments = dict(arguments)
    step.usage = usage
    step.begun = None


def _unanswered(call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Outputs are told when the step ends, whoever gave them (contract 3.5): until then GET shows none either."""
    return {**call, "function": {**call["function"], "output": None}} if call["type"] == "function" else call


def fail(run: Run, code: str, message: str, usage: Usage | None = None, unseen: Usage | None = None) -> None:
    error = {"code": code, "message": message}
    _end(run, Ending(RunStatus.FAILED, last_error=error, usage=usage, unseen=unseen), [RunStatus.IN_PROGRESS])


def cancel(run: Run, usage: Usage | None = None, unseen: Usage | None = None) -> None:
    _end(run, Ending(RunStatus.CANCELLED, usage=usage, unseen=unseen), [RunStatus.CANCELLING])


def expire(run: Run, usage: Usage | None = None, unseen: Usage | None = None) -> None:
    _end(run, Ending(RunStatus.EXPIRED, usage=usage, unseen=unseen), HELD)


def stop_short(run: Run, run_reason: str, message_reason: str, usage: Usage | None) -> None:
    """`incomplete`: a token limit or the content filter (contract 2.9)."""
    ending = Ending(RunStatus.INCOMPLETE, incomplete_reason=run_reason, message_reason=message_reason, usage=usage)
    _end(run, ending, [RunStatus.IN_PROGRESS])


def _end(run: Run, ending: Ending, only_from: Sequence[RunStatus], before: Sequence[Draft] = ()) -> None:
    with transaction.atomic(savepoint=False):
        if end_run(run, ending, only_from=only_from, epoch=run.epoch, before=before):
            return
        hold(run)  # says why: a cancel came first, or the run is not ours
        raise Fenced(run.pk)
