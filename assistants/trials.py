"""Trials: an assistant that somebody still writes, talked with before it is saved.

A trial is one scratch assistant (`Assistant.scratch_of`), of one person in one project, and the threads in which it,
and the saved one beside it, are asked. The scratch names its threads in its metadata, so both go together: when the
form is left, else with the next trial of anybody once it is a day old. The admin makes them
(assistants/admin/trial.py); what is said in them goes through /v1 like everything else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction

from assistants import clock
from assistants.conversation import delete_threads, insert_thread
from assistants.models import Assistant, Project, Thread
from assistants.rows import hold

PURPOSE: Final = "kumos.purpose"
"""The mark in the metadata of threads that are not for people to find in their list (static/chat/titles.js)."""
TRIAL: Final = "trial"
DRAFT: Final = "kumos.trial.draft"
SAVED: Final = "kumos.trial.saved"
"""Where a scratch keeps the ids of its threads."""
KEPT: Final = timedelta(days=1)
FORGOTTEN_AT_ONCE: Final = 20
TRIALS_READ: Final = 1000
"""The newest, where it is asked what is a trial: nobody has more open."""


@dataclass(frozen=True, slots=True)
class Trial:
    """`saved_thread` is where the saved assistant is asked the same; empty where nobody compares."""

    assistant: Assistant
    thread: str
    saved_thread: str


def prepare(
    user: AbstractBaseUser,
    project: Project,
    body: Mapping[str, Any],
    *,
    known: str = "",
    compare: bool = False,
    fresh: bool = False,
) -> Trial:
    """The trial `known` (or a new one) of `user` in `project`, its assistant now as `body` (versions.FIELDS) says.

    `fresh` begins its conversations anew.
    """
    for old in Assistant.objects.filter(scratch_of__isnull=False, created_at__lt=clock.now() - KEPT)[
        :FORGOTTEN_AT_ONCE
    ]:
        forget(old)
    with transaction.atomic():
        mine = Assistant.objects.filter(pk=known, scratch_of_id=user.pk, project=project)
        hold(mine)
        scratch = mine.first() or Assistant(project=project, scratch_of_id=user.pk)
        threads = {kind: thread.pk for kind, thread in threads_of(scratch).items()}
        if fresh:
            delete_threads(Thread.objects.filter(pk__in=threads.values()))
            threads = {}
        for kind in (DRAFT, SAVED) if compare else (DRAFT,):
            if kind not in threads:
                threads[kind] = insert_thread(project, {"metadata": {PURPOSE: TRIAL}}).pk
        for name, value in body.items():
            setattr(scratch, name, value)
        scratch.metadata = threads  # no run reads an assistant's own
        scratch.created_at = clock.now()
        scratch.save()
    return Trial(scratch, threads[DRAFT], threads[SAVED] if compare else "")


def threads_of(scratch: Assistant) -> dict[str, Thread]:
    """Those that are still there, by their kind. Clients may write metadata, so only what bears the mark counts."""
    named = {kind: scratch.metadata[kind] for kind in (DRAFT, SAVED) if kind in scratch.metadata}
    found = Thread.objects.filter(project_id=scratch.project_id, pk__in=named.values()).in_bulk()
    marked = {pk: thread for pk, thread in found.items() if thread.metadata.get(PURPOSE) == TRIAL}
    return {kind: marked[pk] for kind, pk in named.items() if pk in marked}


def conversations() -> set[str]:
    """The threads of the trials under way. Where a trial is over its threads are gone, and what ran in them."""
    scratches = Assistant.objects.filter(scratch_of__isnull=False).order_by("-created_at")
    named = {
        id: project
        for project, metadata in scratches.values_list("project_id", "metadata")[:TRIALS_READ]
        for kind in (DRAFT, SAVED)
        if isinstance(id := metadata.get(kind), str)
    }
    found = Thread.objects.filter(pk__in=named).values_list("pk", "project_id", "metadata") if named else ()
    return {pk for pk, project, metadata in found if project == named[pk] and metadata.get(PURPOSE) == TRIAL}


def called(name: str | None) -> str:
    """The scratch of an assistant of that name, for people."""
    return f"a trial of {name or 'an assistant without a name'}"


def end(user: AbstractBaseUser, known: str) -> None:
    """Whoever tried it has left. Nothing happens where it is not theirs, or gone already."""
    scratch = Assistant.objects.filter(pk=known, scratch_of_id=user.pk).first()
    if scratch is not None:
        forget(scratch)


@transaction.atomic
def forget(scratch: Assistant) -> None:
    assert scratch.scratch_of_id is not None
    delete_threads(threads_of(scratch).values())
    scratch.delete()
