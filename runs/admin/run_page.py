"""The page of one run: who asked for what, and what came of it. What happened in it is `timeline.py`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.html import format_html

from assistants.admin.markup import badge, chat_link, clipped, json_block, link, list_of, moment
from assistants.models import Assistant, Message, Project, Thread
from runs.models import ACTIVE, Run

from .outcome import ended, took, trouble
from .timeline import STEPS_SHOWN, log_of, steps_of


def shown(request: HttpRequest, run: Any) -> dict[str, Any]:
    """What the page's template is given, besides what Django gives it."""
    steps = steps_of(run)
    context = {
        "title": "Run",
        "state": badge(run.status),
        "trouble": trouble(run),
        "facts": header_of(run),
        "asked": asked_of(run),
        "steps": steps,
        "steps_shown": STEPS_SHOWN if len(steps) == STEPS_SHOWN else 0,
        "log": log_of(run),
        "chat_link": chat_link(thread=run.thread_id),
    }
    if run.status not in ACTIVE:
        context["action_form"] = None  # nothing left to cancel
    return context


def header_of(run: Any) -> list[tuple[str, object]]:
    """Who ran what, when, how long and at what price."""
    usage = run.usage or {}
    spent = (
        f"{usage.get('prompt_tokens', 0):,} in + {usage.get('completion_tokens', 0):,} out"
        f" = {usage.get('total_tokens', 0):,}"
        if usage
        else "–"
    )
    return [
        ("Id", run.id),
        ("Thread", link(Thread, run.thread_id)),
        (
            "Assistant",
            link(Assistant, run.assistant_id, run.assistant_name) if run.assistant_name else run.assistant_id,
        ),
        ("Project", link(Project, run.project_id, str(run.project))),
        ("Model", run.model),
        ("Messages", format_html('<a href="{}">written by this run</a>', list_of(Message, q=run.id))),
        ("Created", moment(run.created_at)),
        ("Started", moment(run.started_at)),
        ("Ended", moment(ended(run))),
        ("Duration", took(run)),
        ("Tokens", spent),
        ("Worker", f"{run.worker_id} (attempt {run.epoch}, {run.crash_attempts} crashes)" if run.worker_id else "–"),
    ]


def asked_of(run: Run) -> list[tuple[str, object]]:
    """The assistant and the overrides as they were when the run was made."""
    facts: list[tuple[str, object]] = [
        ("Instructions", format_html('<div class="kumos-text">{}</div>', clipped(run.instructions or "–"))),
        ("Tools", json_block(run.tools)),
        ("Tool choice", json_block(run.tool_choice)),
        ("Temperature", run.temperature),
        ("Top p", run.top_p),
        ("Response format", json_block(run.response_format)),
        ("Truncation", json_block(run.truncation_strategy)),
        ("Token budgets", f"in {run.max_prompt_tokens or '–'}, out {run.max_completion_tokens or '–'}"),
        ("Metadata", json_block(run.metadata)),
    ]
    if run.required_action:
        facts.insert(0, ("Waits for", json_block(run.required_action)))
    return facts
