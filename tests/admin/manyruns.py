"""Runs in each status, as operators find them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User

from assistants import clock, trials
from assistants.models import Assistant, Project, Thread
from runs.models import Run, RunStatus
from runs.transitions import Ending, create_run, end_run

TIMEOUT = {"code": "server_error", "message": "The model server at http://10.0.0.7:{0}/v1 did not answer."}
LIMIT = {"code": "rate_limit_exceeded", "message": "Limit 30000. Try again in {0}s."}


def trial_of(project: Project, user: User, **fields: Any) -> trials.Trial:
    """Of a form that `user` has not saved yet."""
    body = {"name": "Searcher", "model": "scripted", "instructions": "Search.", **fields}
    return trials.prepare(user, project, body, compare=True)


def queued(project: Project, **fields: Any) -> Run:
    """A run that waits, on a thread of its own."""
    thread = fields.pop("thread", None) or Thread.objects.create(project=project)
    given = {"assistant_id": "asst_gone", "model": "scripted", "instructions": "Wait.", **fields}
    return create_run(thread, Run(project=project, thread=thread, **given)).run


def ended(project: Project, status: RunStatus = RunStatus.FAILED, error: Any = None, **fields: Any) -> Run:
    run = queued(project, **fields)
    assert end_run(run, Ending(status, last_error=error), only_from=[RunStatus.QUEUED])
    run.refresh_from_db()
    return run


def failed(project: Project, error: dict[str, str], number: int, **fields: Any) -> Run:
    """One that failed by `error`, whose message gets the number."""
    return ended(project, error={**error, "message": error["message"].format(number)}, **fields)


def made_at(run: Run, age: timedelta) -> None:
    Run.objects.filter(pk=run.pk).update(created_at=clock.now() - age)


def assistant(project: Project, **fields: Any) -> Assistant:
    return Assistant.objects.create(project=project, **{"model": "scripted", **fields})
