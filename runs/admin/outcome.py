"""What came of a run, in words: how long it took, what it used, why it did not simply complete. For list and page."""

from __future__ import annotations

from datetime import datetime

from assistants import clock
from assistants.admin.markup import duration, error_in_words
from runs.models import ACTIVE, Run, RunStatus


def ended(run: Run) -> datetime | None:
    return run.completed_at or run.failed_at or run.cancelled_at or (None if run.status in ACTIVE else run.expires_at)


def took(run: Run) -> str:
    """From creation to the end, or until now."""
    return duration((ended(run) or clock.now()) - run.created_at)


def tokens(run: Run) -> str:
    return f"{run.usage.get('total_tokens', 0):,}" if run.usage else "–"


def trouble(run: Run) -> str:
    """Why a run did not simply complete, in words; nothing for one that did."""
    if run.last_error:
        return error_in_words(run.last_error)
    if run.incomplete_reason:
        return f"Stopped early: {run.incomplete_reason.replace('_', ' ')}"
    if run.status == RunStatus.EXPIRED:
        return "Not finished within its time"
    return ""
