"""The page that asks whether to do something to every run that matches, with their exact number, and shows how far it
came. The work is done by `actions.py`; from one request to the next its state is in the form, signed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.contrib import messages
from django.core import signing
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from assistants import clock
from runs.models import Run

from .actions import ACTIONS, PERMISSION, Action, Progress, go_on
from .narrowing import Narrowing, maker_of
from .outcome import trouble

SALT = "kumos.admin.actions"
VALID_FOR = timedelta(days=1)
EXAMPLES = 10


def page(admin: Any, request: HttpRequest, name: str) -> HttpResponse:
    action = ACTIONS.get(name)
    if action is None:
        raise Http404
    if not request.user.has_perm(PERMISSION) or not admin.has_view_permission(request):
        raise PermissionDenied
    return carry_on(admin, request, action) if request.method == "POST" else ask(admin, request, action)


def ask(admin: Any, request: HttpRequest, action: Action) -> HttpResponse:
    narrowing = replace(Narrowing.of(request.GET), at=clock.now())
    matching, possible = action.matching(narrowing), action.candidates(narrowing)
    concerned, total = narrowing.count(matching), narrowing.count(possible)
    ids = narrowing.ids(possible.order_by("created_at", "pk"))
    examples = Run.objects.filter(pk__in=[id for id, _ in zip(ids, range(EXAMPLES), strict=False)])
    context = {
        "concerned": concerned,
        "impossible": concerned - total,
        "examples": [(run, trouble(run)) for run in examples.order_by("created_at", "pk").only(*SHOWN)],
        "is_sound": narrowing.is_sound,
    }
    return shown(admin, request, action, narrowing, Progress(total), context)


SHOWN = ("id", "status", "created_at", "last_error", "incomplete_reason", "expires_at")


def carry_on(admin: Any, request: HttpRequest, action: Action) -> HttpResponse:
    try:
        state = signing.loads(request.POST.get("state", ""), salt=SALT, max_age=VALID_FOR)
    except signing.BadSignature:
        state = {}
    if state.get("action") != action.name or state.get("user") != request.user.pk:
        admin.message_user(request, "That form was not made here, or is too old: nothing was done.", messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())
    narrowing = Narrowing(**state["narrowing"], at=datetime.fromisoformat(state["at"]))
    assert request.user.pk is not None
    if not state["progress"]["total"]:
        return HttpResponseRedirect(narrowing.href)
    progress, finished = go_on(action, narrowing, Progress.unpacked(state["progress"]), request.user.pk)
    if not finished:
        return shown(admin, request, action, narrowing, progress, {"is_under_way": True})
    text = f"{action.done} {progress.done:,} of {progress.total:,} runs.{progress.in_words}"
    admin.message_user(request, text, messages.WARNING if progress.stopped else messages.SUCCESS)
    return HttpResponseRedirect(narrowing.href)


def shown(
    admin: Any, request: HttpRequest, action: Action, narrowing: Narrowing, progress: Progress, more: dict[str, Any]
) -> TemplateResponse:
    state = {
        "action": action.name,
        "user": request.user.pk,
        "narrowing": narrowing.given,
        "at": narrowing.asked_at.isoformat(),
        "progress": progress.packed(),
    }
    context = {
        **admin.admin_site.each_context(request),
        "opts": admin.opts,
        "title": f"{action.name.capitalize()} {progress.total:,} run{'' if progress.total == 1 else 's'}",
        "action": action,
        "narrowing": narrowing,
        "words": narrowing.words(partial(maker_of, request)),
        "progress": progress,
        "state": signing.dumps(state, salt=SALT),
        **more,
    }
    return TemplateResponse(request, "admin/runs/run/all.html", context)
