"""What came of a run, in words: how long it took, what it used, why it did not simply complete. For list and page."""

from __future__ import annotations

from datetime import datetime

from django.utils.html import format_html
from django.utils.safestring import SafeString

from assistants import clock
from assistants.admin.markup import clipped, duration, error_in_words
from runs.models import ACTIVE, Run, RunStatus


def ended(run: Run) -> datetime | None:
    return run.completed_at or run.failed_at or run.cancelled_at or (None if run.status in ACTIVE else run.expires_at)


def took(run: Run) -> str:
    """From creation to the end, or until now."""
    return duration((ended(run) or clock.now()) - run.created_at)


def spoke_after(run: Run) -> str:
    """How long the first token took, by which people judge speed."""
    return duration(run.first_token_at - run.created_at if run.first_token_at else None)


def told(run: Run, part: str) -> SafeString:
    """A part of the run's state that `live.js` keeps up to date: "status", "took", "first", "tokens" or "trouble".

    The page must load that script (`admin_kumos/live.js`), and its viewer have the permission to view runs.
    """
    if part == "status":
        return format_html('<span class="kumos-badge kumos-{}" data-run="{}">{}</span>', run.status, run.pk, words(run))
    show = {"took": took, "first": spoke_after, "tokens": tokens, "trouble": trouble}[part]
    since = round(run.created_at.timestamp() * 1000) if part == "took" and run.status in ACTIVE else ""
    return format_html(
        '<span data-run="{}" data-part="{}" data-since="{}">{}</span>', run.pk, part, since, clipped(show(run), 500)
    )


def words(run: Run) -> str:
    return run.status.replace("_", " ")


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


def dollars(millionths: int | None) -> str:
    """ "$0.0011", "$12.30"."""
    if millionths is None:
        return "no price known"
    amount = millionths / 1_000_000
    return f"${amount:,.2f}" if amount >= 1 or not millionths else f"${amount:.4f}"
