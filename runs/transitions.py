"""Every status a run can take and how it gets there: row, steps, messages and events, in one transaction.

Called by views in their own transaction, by the sweeper, and by the runner through `writer.py`. What a worker reports
while it holds a run is in `progress.py`. Guards are WHERE clauses (contract 2.9); lock order is run, then thread.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.db import IntegrityError, OperationalError, transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import Coalesce

from assistants import bell, conversation, metrics, stores
from assistants.clock import now, shared_now
from assistants.errors import ApiError, not_found, unavailable
from assistants.failpoints import failpoint, failpoint_on_commit
from assistants.faults import is_undone
from assistants.models import Message, MessageStatus, Project, Thread
from assistants.retrieval import conversations
from assistants.rows import hold, unlocked
from assistants.serializers.fields import merge_metadata
from assistants.serializers.thread import thread_object
from runs import budgets, ledger, story, unreported
from runs.models import ACTIVE, HELD, Run, RunStatus, RunStep, StepStatus, StepType
from streaming import journal
from streaming.journal import Draft

Usage = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Created:
    """A new run, and the number after which its story begins."""

    run: Run
    cursor: int


# Making runs ----------------------------------------------------------------------------------------------------------


CREATED_WITHIN = 5
"""How often a run is tried to be stored where each time another had the thread, and is over already; then it is 503."""


def create_run(thread: Thread, run: Run, messages: Sequence[Mapping[str, Any]] = ()) -> Created:
    """Stores `run` (unsaved) and, before it, `messages` of its thread. ApiError 400 while another run is active."""
    for _ in range(CREATED_WITHIN):
        try:
            with transaction.atomic():
                return _insert(thread, run, messages)
        except IntegrityError as error:
            active = Run.objects.filter(thread=thread, status__in=ACTIVE).first()
            if active is not None and expire_overdue(active) is active:
                raise ApiError(f"Thread {thread.pk} already has an active run {active.pk}.") from None
            if not Thread.objects.filter(pk=thread.pk).exists():
                raise not_found("thread", thread.pk) from error
            refused = error  # what held the thread is over by now
    raise unavailable() from refused


def create_thread_and_run(
    project: Project, thread_data: Mapping[str, Any], run: Run, tool_resources: Mapping[str, Any] | None = None
) -> Created:
    """POST /threads/runs: the story begins with `thread.created`, an event of the thread itself.

    `tool_resources` (validated) stand in for the assistant's. What they ask for is made, or nothing at all is.
    """
    with transaction.atomic():
        run.tool_resources = stores.resolve_tool_resources(project, tool_resources) or run.tool_resources
        thread = conversation.insert_thread(project, thread_data)
        run.thread = thread
        created = Draft("thread.created", journal.encode(thread_object(thread, long=True)))
        return _insert(thread, run, before=[created])


def _insert(
    thread: Thread, run: Run, messages: Sequence[Mapping[str, Any]] = (), before: Sequence[Draft] = ()
) -> Created:
    run.created_at = shared_now()
    run.expires_at = run.created_at + timedelta(seconds=settings.KUMOS_RUN_SECONDS)
    run.save(force_insert=True)  # the unique index decides who is first
    Thread.objects.filter(pk=thread.pk).update(active_run_id=run.pk)
    conversation.insert_messages(thread, messages)
    if not run.instructions and not thread.messages.filter(role="user").exists():
        raise ApiError(
            "Run creation requires a Thread with a user message or an assistant with instructions.",
            code="invalid_thread",
        )
    if thread.tool_resources:
        run.tool_resources = joined_resources(run.tool_resources, thread.tool_resources)
        run.save(update_fields=["tool_resources"])
    failpoint_on_commit("run.accepted.before_hint")
    bell.ring_runner("run.queued")
    metrics.after_commit(metrics.RUNS_CREATED)
    entries = journal.append(thread.pk, [*before, story.run_event(run, "created"), story.run_event(run)])
    failpoint("run.accepted.before_commit")
    return Created(run, entries[0].seq - 1)


def joined_resources(*owners: Mapping[str, Any] | None) -> dict[str, Any]:
    """The tool resources of assistant and thread, used together (contract 2.4)."""
    joined: dict[str, dict[str, list[str]]] = {}
    for resources in owners:
        for tool, lists in (resources or {}).items():
            for name, ids in lists.items():
                known = joined.setdefault(tool, {}).setdefault(name, [])
                known.extend(id for id in ids if id not in known)
    return joined


# Retrying -------------------------------------------------------------------------------------------------------------

RETRIED_FROM = (RunStatus.FAILED, RunStatus.EXPIRED, RunStatus.INCOMPLETE, RunStatus.CANCELLED)
RETRIED_FIELDS = (
    "project_id",
    "assistant_id",
    "assistant_version",
    "model",
    "instructions",
    "tools",
    "tool_resources",
    "metadata",
    "temperature",
    "top_p",
    "response_format",
    "tool_choice",
    "truncation_strategy",
    "parallel_tool_calls",
    "max_prompt_tokens",
    "max_completion_tokens",
    "reasoning_effort",
    "include",
)
"""All that was asked for. What came of it, and who asked, belongs to each run alone."""
ENDED_AT = Coalesce("completed_at", "failed_at", "cancelled_at", "expires_at")


def retry_run(run: Run, made_by: str) -> Created:
    """A new run of the same thread that is asked for the same, in the place of `run`, which did not complete.

    It answers what `run` was to answer, so ApiError 400 where the thread has gone on since. What `run` had written of
    an answer is superseded: neither the model nor the thread's readers are to find two beginnings of one answer.
    """
    run = fresh(run)
    if run.status not in RETRIED_FROM:
        allowed = ", ".join(RETRIED_FROM)
        raise ApiError(f"Cannot retry run with status '{run.status}': only {allowed} runs are retried.")
    budgets.check(run.project)  # an operator's retry costs as much as anybody's
    with transaction.atomic():
        asked = {name: getattr(run, name) for name in RETRIED_FIELDS}
        again = Run(thread_id=run.thread_id, made_by=made_by, retry_of=run.pk, **asked)
        created = create_run(run.thread, again)
        # Only now: the thread's row is held since, and nobody adds to it.
        if (
            later := run.thread.runs.filter(created_at__gt=run.created_at)
            .exclude(pk=again.pk)
            .order_by("created_at")
            .last()
        ):
            raise ApiError(f"Cannot retry run {run.pk}: run {later.pk} of its thread came after it.")
        ended = Run.objects.filter(pk=run.pk).values_list(ENDED_AT, flat=True).get()
        if Message.objects.filter(thread_id=run.thread_id, created_at__gt=ended).exclude(run_id=run.pk).exists():
            raise ApiError(f"Cannot retry run {run.pk}: its thread went on, somebody has added a message since.")
        written = Message.objects.filter(thread_id=run.thread_id, run_id=run.pk, superseded=False)
        for id in list(written.values_list("pk", flat=True)):
            conversations.forget_message(id)
        written.update(superseded=True)
    return created


def retryable(runs: QuerySet[Run]) -> QuerySet[Run]:
    """Those of `runs` that `retry_run` would not refuse, as far as can be seen now."""
    later_runs = Run.objects.filter(thread=OuterRef("thread_id"), created_at__gt=OuterRef("created_at"))
    later_messages = Message.objects.filter(thread=OuterRef("thread_id"), created_at__gt=OuterRef("over_at")).exclude(
        run_id=OuterRef("pk")
    )
    ended = runs.filter(status__in=RETRIED_FROM).annotate(over_at=ENDED_AT)
    return ended.filter(~Exists(later_runs), ~Exists(later_messages))


# Asking something of a run --------------------------------------------------------------------------------------------


CANCELLED_FROM = (RunStatus.QUEUED, RunStatus.IN_PROGRESS, RunStatus.REQUIRES_ACTION)
HELD_SECONDS = 2.0


def cancel_run(run: Run) -> Run:
    """The run as `cancelling`, or `cancelled` at once where nobody works on it. ApiError 400 in any other status."""
    with transaction.atomic():
        moved = Run.objects.filter(pk=run.pk, status__in=CANCELLED_FROM).update(
            status=RunStatus.CANCELLING, required_action=None
        )
        run = fresh(run)
        if not moved:
            raise ApiError(f"Cannot cancel run with status '{run.status}'.")
        failpoint_on_commit("cancel.accepted.before_hint")
        journal.append(run.thread_id, [story.run_event(run)])
        if run.lease_until is not None:
            bell.ring_runner("run.cancel", run_id=run.pk)
        else:
            end_run(run, Ending(RunStatus.CANCELLED), only_from=[RunStatus.CANCELLING])
    return fresh(run)


def cancel_runs(ids: Sequence[str]) -> int:
    """`cancel_run` for many in a few statements. Returns how many there were to cancel.

    Those that nobody works on become `cancelling` as well: whoever claims next ends them (`queue.end_cancelled`). Those
    whose rows somebody holds are left for a moment, since a worker that has one of them may want another next. What is
    held longer is not cancelled.
    """
    cancelled = 0
    give_up_at = time.monotonic() + HELD_SECONDS
    while True:
        try:
            cancelled += _cancel_unlocked(ids)
        except OperationalError as error:
            if not is_undone(error):
                raise
        if not Run.objects.filter(pk__in=ids, status__in=CANCELLED_FROM).exists() or time.monotonic() > give_up_at:
            return cancelled
        time.sleep(0.01)


def _cancel_unlocked(ids: Sequence[str]) -> int:
    with transaction.atomic():
        wanted = Run.objects.filter(pk__in=ids, status__in=CANCELLED_FROM)
        runs = list(unlocked(wanted.select_related("thread")))  # its row, too: the event takes it
        changes: dict[str, Any] = {"status": RunStatus.CANCELLING, "required_action": None}
        Run.objects.filter(pk__in=[run.pk for run in runs]).update(**changes)
        for run in runs:
            run.status, run.required_action = RunStatus.CANCELLING, None
        failpoint_on_commit("cancel.accepted.before_hint")
        journal.append_to_each({run.thread_id: story.run_event(run) for run in runs})
        for run in runs:
            if run.lease_until is not None:
                bell.ring_runner("run.cancel", run_id=run.pk)
        if any(run.lease_until is None for run in runs):
            bell.ring_runner("run.queued")
    return len(runs)


def submit_tool_outputs(run: Run, outputs: Sequence[Mapping[str, str]]) -> Created:
    """Takes all pending outputs at once and queues the run again (contract 2.12); the cursor is before what follows."""
    with transaction.atomic():
        run = fresh(run)
        if run.status != RunStatus.REQUIRES_ACTION or run.required_action is None:
            raise ApiError(f'Runs in status "{run.status}" do not accept tool outputs.')
        expected = [call["id"] for call in run.required_action["submit_tool_outputs"]["tool_calls"]]
        got = [output["tool_call_id"] for output in outputs]
        if sorted(expected) != sorted(got):
            raise ApiError(f"Expected tool outputs for call_ids {expected}, got {got}")
        moved = Run.objects.filter(pk=run.pk, status=RunStatus.REQUIRES_ACTION, epoch=run.epoch).update(
            status=RunStatus.QUEUED, required_action=None
        )
        if not moved:
            raise ApiError(f'Runs in status "{fresh(run).status}" do not accept tool outputs.')
        run = fresh(run)
        step = open_steps(run).get(type=StepType.TOOL_CALLS)
        given = {output["tool_call_id"]: output["output"] for output in outputs}
        if step.begun is not None:  # with the outputs that the server gave itself
            step.step_details = {"type": StepType.TOOL_CALLS, "tool_calls": step.begun["calls"]}
        for call in step.step_details["tool_calls"]:
            if call["id"] in given:
                call["function"]["output"] = given[call["id"]]
        close_step(step, StepStatus.COMPLETED, now())
        failpoint("tool.outputs_accepted.before_queued")
        entries = journal.append(run.thread_id, [story.step_event(step, run), story.run_event(run)])
        bell.ring_runner("run.queued")
    return Created(run, entries[0].seq - 1)


def modify_run(run: Run, metadata: Mapping[str, str] | None) -> Run:
    """Merges `metadata` into a run that is over, None clears it; 400 while the run is active (contract 2.8)."""
    with transaction.atomic():
        hold(Run.objects.filter(pk=run.pk))
        run = fresh(run)
        if run.status in ACTIVE:
            raise ApiError(f"Cannot update run with status '{run.status}'.")
        run.metadata = merge_metadata(run.metadata, metadata)
        run.save(update_fields=["metadata"])
    return run


def expire_overdue(run: Run) -> Run:
    """The run, ended first if its time is over: reading one never shows an overdue run as active."""
    if run.status in ACTIVE and run.expires_at <= shared_now():
        expire_run(run)
        return fresh(run)
    return run


def end_overdue(run_id: str) -> bool:
    """Whether the run is over: it was already, or its time was and it has been ended here."""
    run = Run.objects.filter(pk=run_id).first()
    return run is not None and expire_overdue(run).status not in ACTIVE


def expire_run(run: Run) -> bool:
    with transaction.atomic():
        active = Run.objects.filter(pk=run.pk, status__in=ACTIVE).select_for_update().first()
        if active is None:
            return False
        return end_run(active, Ending(RunStatus.EXPIRED, unseen=unseen_usage(active)), only_from=ACTIVE)


def end_with_threads(threads: Collection[str]) -> None:
    """Ends what is active in threads that the caller is about to delete, in his transaction: what it has used is kept.

    Whoever works on it is fenced by that, and told, so that the model is not listened to any longer.
    """
    with transaction.atomic():
        for run in Run.objects.filter(thread__in=threads, status__in=ACTIVE).select_for_update():
            if end_run(run, Ending(RunStatus.CANCELLED, unseen=unseen_usage(run)), only_from=ACTIVE):
                bell.ring_runner("run.cancel", run_id=run.pk)


# Ending runs ----------------------------------------------------------------------------------------------------------

STEP_AT_END = {
    RunStatus.CANCELLED: StepStatus.CANCELLED,
    RunStatus.FAILED: StepStatus.FAILED,
    RunStatus.EXPIRED: StepStatus.EXPIRED,
    RunStatus.INCOMPLETE: StepStatus.COMPLETED,
    RunStatus.COMPLETED: StepStatus.COMPLETED,
}
MESSAGE_AT_END = {
    RunStatus.CANCELLED: "run_cancelled",
    RunStatus.FAILED: "run_failed",
    RunStatus.EXPIRED: "run_expired",
}
STAMP_AT_END = {
    RunStatus.CANCELLED: "cancelled_at",
    RunStatus.FAILED: "failed_at",
    RunStatus.INCOMPLETE: "completed_at",
    RunStatus.COMPLETED: "completed_at",
}
STEP_ERRORS = ("server_error", "rate_limit_exceeded")


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends (contract 2.9). `message_reason` is why an open message ends, `usage` what its open step has used;
    estimated where nobody knows. `unseen` is what was used for an answer of which nothing came: no step shows it.
    """

    status: RunStatus
    last_error: Mapping[str, str] | None = None
    incomplete_reason: str = ""
    message_reason: str = ""
    usage: Usage | None = None
    unseen: Usage | None = None


def end_run(
    run: Run,
    ending: Ending,
    *,
    only_from: Iterable[RunStatus] = HELD,
    epoch: int | None = None,
    before: Sequence[Draft] = (),
) -> bool:
    """Ends the run with what is open in it; `before` are events that come first. False if the guard did not hold.

    `epoch` is the fence of a worker.
    """
    with transaction.atomic(savepoint=False):
        moment = now()
        changes: dict[str, Any] = {"status": ending.status, "last_error": ending.last_error}
        changes |= {"incomplete_reason": ending.incomplete_reason, "required_action": None}
        changes |= {"lease_until": None, "worker_id": ""}
        if ending.status in STAMP_AT_END:
            changes[STAMP_AT_END[ending.status]] = moment
        guard = Run.objects.filter(pk=run.pk, status__in=list(only_from))
        if not (guard if epoch is None else guard.filter(epoch=epoch)).update(**changes):
            return False
        ended = fresh(run)
        drafts = [*before, *_end_open_work(ended, ending, moment)]
        ended.usage = total_usage(ended)
        ended.save(update_fields=["usage"])
        ledger.enter(ended, moment, ending.unseen)
        Thread.objects.filter(pk=ended.thread_id, active_run_id=ended.pk).update(active_run_id=None)
        journal.append(ended.thread_id, [*drafts, story.run_event(ended)])
        failpoint("run.ended.before_commit")
        failpoint_on_commit("run.ended.before_publish")
        transaction.on_commit(partial(_count_end, ended, moment), robust=True)
    return True


def _count_end(run: Run, moment: datetime) -> None:
    metrics.RUNS_ENDED.labels(run.status).inc()
    metrics.RUN_SECONDS.observe((moment - run.created_at).total_seconds())
    used = run.usage or {}
    for kind in ("prompt", "completion"):
        metrics.TOKENS.labels(kind).inc(used.get(f"{kind}_tokens", 0))


def _end_open_work(run: Run, ending: Ending, moment: datetime) -> list[Draft]:
    drafts = []
    reason = ending.message_reason or MESSAGE_AT_END.get(ending.status, "")
    for message in Message.objects.filter(run_id=run.pk, status=MessageStatus.IN_PROGRESS):
        end_message(message, run, reason, moment)
        drafts.append(story.message_event(message, run))
    for step in open_steps(run):
        keep_streamed_calls(run, step)
        step.last_error = run.last_error if run.status == RunStatus.FAILED else None
        if step.last_error and step.last_error["code"] not in STEP_ERRORS:
            step.last_error = {**step.last_error, "code": "server_error"}
        step.usage = ending.usage or step.usage or (step.begun or {}).get("usage") or unreported_usage(run, step)
        close_step(step, STEP_AT_END[RunStatus(run.status)], moment)
        drafts.append(story.step_event(step, run))
    return drafts


def end_message(message: Message, run: Run, reason: str, moment: datetime) -> None:
    """Closes an open message as incomplete, with the text that was logged of it and nothing else."""
    message.status = MessageStatus.INCOMPLETE
    message.incomplete_reason = reason
    message.incomplete_at = moment
    message.content = story.streamed_content(run, message.pk)
    message.save(update_fields=["status", "incomplete_reason", "incomplete_at", "content", "superseded"])
    conversations.note_messages([message])


def keep_streamed_calls(run: Run, step: RunStep) -> None:
    """A tool step that ends before its calls were complete shows what clients saw of them, and the outputs that the
    server's functions have given by then."""
    if step.begun is not None:
        step.step_details = {"type": StepType.TOOL_CALLS, "tool_calls": step.begun["calls"]}
        step.call_arguments = step.begun["arguments"]
    elif step.type == StepType.TOOL_CALLS and not step.step_details["tool_calls"]:
        step.step_details = {"type": StepType.TOOL_CALLS, "tool_calls": story.streamed_calls(run, step.pk)}


def close_step(step: RunStep, status: StepStatus, moment: datetime) -> None:
    step.status = status
    setattr(step, f"{status}_at", moment)
    step.begun = None
    changed = ["status", f"{status}_at", "step_details", "call_arguments", "begun", "usage", "last_error"]
    step.save(update_fields=changed)


def unreported_usage(run: Run, step: RunStep) -> Usage:
    """An estimate, where the worker of an open step told of none."""
    used = unreported.of_step(run, step)
    return usage_of(used.prompt_tokens, used.completion_tokens)


def unseen_usage(run: Run) -> Usage | None:
    """The same for a run that somebody works on, and in which nothing is open: its model has not said anything yet."""
    is_asked = run.lease_until is not None and not open_steps(run).exists()
    return usage_of(unreported.of_prompt(run)) if is_asked else None


def open_steps(run: Run) -> Any:
    return run.steps.filter(status=StepStatus.IN_PROGRESS)


def fresh(run: Run) -> Run:
    """The run as it is stored now. Raises the 404 of contract 4.3 if it was deleted meanwhile."""
    found = Run.objects.filter(pk=run.pk).first()
    if found is None:
        raise not_found("run", run.pk)
    return found


def usage_of(prompt: int = 0, completion: int = 0, cached: int = 0, reasoning: int = 0) -> Usage:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_token_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def total_usage(run: Run) -> Usage:
    """Exactly the sum of the steps' usage (contract 10.6)."""
    parts = [step.usage for step in run.steps.all() if step.usage]
    return usage_of(
        sum(part["prompt_tokens"] for part in parts),
        sum(part["completion_tokens"] for part in parts),
        sum(part["prompt_token_details"]["cached_tokens"] for part in parts),
        sum(part["completion_tokens_details"]["reasoning_tokens"] for part in parts),
    )
