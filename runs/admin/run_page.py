"""The page of one run: who asked for what, what came of it and why, and what can be done now.

What happened in it is `timeline.py`, why it failed `causes.py`. While the run is active the page is told of each event
(`run_stream.py`) and asks for itself again, with `?live`, for the parts that changed.
"""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from assistants import clock, trials
from assistants.admin import content
from assistants.admin.assistant_versions import version_link
from assistants.admin.markup import chat_link, clipped, json_block, link, list_of, moment
from assistants.admin.transcript import Utterance, conversation
from assistants.masking import masked, so_far
from assistants.models import ApiKey, Assistant, Message, MessageStatus, Project, Thread
from runs.models import ACTIVE, Run, UsageRecord
from runs.story import streamed_content
from runs.transitions import RETRIED_FROM
from streaming.models import Event

from . import again
from .causes import cause_of
from .narrowing import USER, makers
from .outcome import dollars, ended, told
from .timeline import STEPS_SHOWN, log_of, picture_of, step_of, steps_of

BEFORE = 4
"""Messages shown of what was said before the run."""
MESSAGES_SHOWN = 50
Facts = list[tuple[str, object]]


def shown(request: HttpRequest, run: Any, context: dict[str, Any]) -> dict[str, Any]:
    """What the page's template is given, besides what Django gives it."""
    readable = content.may_read(request)
    steps = steps_of(run)
    base = request.build_absolute_uri("/v1")
    body = again.body_of(run, readable=readable)
    over = ended(run)
    live = run.status in ACTIVE
    return {
        "title": "Run",
        "state": told(run, "status"),
        "cause": cause_of(run),
        "numbers": numbers_of(run),
        "facts": header_of(request, run),
        "asked": asked_of(run, readable=readable),
        "waits_for": json_block(masked(run.required_action) if readable else content.HIDDEN)
        if run.required_action
        else "",
        "steps": [step_of(step, readable=readable) for step in steps],
        "steps_shown": STEPS_SHOWN if len(steps) == STEPS_SHOWN else 0,
        "picture": picture_of(run, steps, over),
        "log": None if "live" in request.GET else log_of(run),
        "events_href": list_of(Event, q=run.id),
        "conversation": transcript_of(run, readable=readable),
        "readable": readable,
        "chat_link": chat_link(thread=run.thread_id),
        "codes": [
            ("python", "Python", again.as_python(run, base, body)),
            ("curl", "curl", again.as_curl(run, base, body)),
        ],
        "live": live,
        "last_seq": run.thread.last_seq,
        "created_ms": round(run.created_at.timestamp() * 1000),
        "buttons": buttons(run, context.get("action_form")),
    }


def buttons(run: Run, form: Any) -> list[tuple[str, str]]:
    """The actions that make sense now, of those that the viewer may take."""
    possible = {"cancel": run.status in ACTIVE and run.status != "cancelling", "retry": run.status in RETRIED_FROM}
    choices = form.fields["action"].choices if form else ()
    return [(name, text) for name, text in choices if name and possible.get(name, True)]


def numbers_of(run: Any) -> Facts:
    """What is looked at first."""
    usage = run.usage or {}
    record = None if run.status in ACTIVE else UsageRecord.objects.filter(pk=run.pk).values_list("cost").first()
    spent = f"{usage.get('prompt_tokens', 0):,} in + {usage.get('completion_tokens', 0):,} out" if usage else ""
    return [
        ("Duration", told(run, "took")),
        ("First token", told(run, "first")),
        ("Tokens", format_html("{}<small>{}</small>", told(run, "tokens"), spent)),
        ("Cost", dollars(record[0]) if record else "–"),
        ("Assistant", assistant_of(run)),
        ("Model", clipped(run.model, 80)),
    ]


def assistant_of(run: Any) -> SafeString:
    name = run.assistant_name or run.assistant_id
    if not run.assistant_name:
        return format_html("{}<small>deleted</small>", name)
    if run.is_trial:  # it is in no list and has no page
        return format_html("{}", clipped(trials.called(name), 80))
    version = format_html("<small>{}</small>", version_link(run)) if run.assistant_version else ""
    return format_html("{}{}", link(Assistant, run.assistant_id, clipped(name, 80)), version)


def header_of(request: HttpRequest, run: Any) -> Facts:
    """Where it comes from, and its ids."""
    return [
        ("Id", run.id),
        ("Made by", maker_of(request, run.made_by)),
        ("Request id", run.request_id or "–"),
        *(([("Retry of", link(Run, run.retry_of))]) if run.retry_of else []),
        *[("Retried by", link(Run, id)) for id in Run.objects.filter(retry_of=run.pk).values_list("pk", flat=True)[:5]],
        ("Thread", link(Thread, run.thread_id)),
        ("Project", link(Project, run.project_id, str(run.project))),
        ("Messages", format_html('<a href="{}">written by this run</a>', list_of(Message, q=run.id))),
        ("Created", moment(run.created_at)),
        ("Started", moment(run.started_at)),
        ("Ended", moment(ended(run))),
        ("Runner", f"{run.worker_id or '–'} (attempt {run.epoch}, {run.crash_attempts} crashes)" if run.epoch else "–"),
    ]


def maker_of(request: HttpRequest, made_by: str) -> SafeString | str:
    """A key or a person, leading to their page: by the id alone where they are gone, or not for whoever asks."""
    if not made_by:
        return "–"
    name = makers(request, [made_by]).get(made_by)
    if name is None:
        return made_by
    if USER.fullmatch(made_by):
        return link(get_user_model(), made_by.removeprefix("user "), name)
    return link(ApiKey, made_by, name)


def asked_of(run: Run, *, readable: bool) -> Facts:
    """The assistant and the overrides as they were when the run was made, without what is as it is by default."""
    asked = again.body_of(run, readable=readable)
    instructions = format_html('<div class="kumos-text" tabindex="0">{}</div>', clipped(asked.get("instructions", "–")))
    facts: Facts = [("Instructions", instructions)]
    if run.metadata and not readable:
        asked["metadata"] = content.HIDDEN
    if run.tool_resources:
        asked["tool_resources"] = run.tool_resources
    for name, value in asked.items():
        if name not in ("assistant_id", "model", "instructions"):
            text = json_block(value) if isinstance(value, dict | list) else value
            facts.append((name.replace("_", " ").capitalize(), text))
    return [*facts, ("All the rest", "as by default")]


def transcript_of(run: Run, *, readable: bool) -> list[Utterance]:
    """What was said last before the run, and what it said: that which is being written, as far as it is."""
    until = ended(run) or clock.now()
    said = run.thread.messages.exclude(run_id=run.pk).filter(superseded=False, created_at__lte=until)
    before = list(said.order_by("-created_at", "-id")[:BEFORE])[::-1]
    own = list(Message.objects.filter(run_id=run.pk).order_by("created_at", "id")[:MESSAGES_SHOWN])
    if readable:
        for message in own:
            if message.status == MessageStatus.IN_PROGRESS:
                message.content = streamed_content(run, message.pk)
                for part in message.content:
                    part["text"]["value"] = so_far(part["text"]["value"])
    return conversation([*before, *own], readable=readable)
