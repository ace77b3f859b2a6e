"""Trying an assistant beside its form, before it is saved. The form that saves it judges here, too.

The talk itself is a page in a frame (kumos_site/chat, static/chat/trial.js), a client of /v1 as the person logged in,
who must be a member of the project for that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

from assistants import trials, versions
from assistants.models import Assistant, Membership, Project

from . import audit
from .workbench import View, for_writers, refused

if TYPE_CHECKING:
    from .assistant import AssistantAdmin


def urls(page: AssistantAdmin, wrap: Callable[[View], View]) -> list[Any]:
    def trial(request: HttpRequest) -> HttpResponse:
        return prepare(page, request)

    def joined(request: HttpRequest) -> HttpResponse:
        return join(page, request)

    return [
        path("trial/", wrap(require_POST(trial)), name="assistants_assistant_trial"),
        path("trial/end/", wrap(end), name="assistants_assistant_trial_end"),
        path("trial/join/", wrap(require_POST(joined)), name="assistants_assistant_trial_join"),
    ]


def prepare(page: AssistantAdmin, request: HttpRequest) -> HttpResponse:
    """The form as it is now becomes the assistant of a trial; where it cannot, what is wrong with which field."""
    pk = request.POST.get("trial_of", "")
    saved = page.get_object(request, pk) if pk else None
    if pk and saved is None:
        return refused("This assistant was deleted. “Save as new” keeps what stands in the form.", 404)
    if not (page.has_change_permission(request, saved) if saved else page.has_add_permission(request)):
        raise PermissionDenied
    given = request.POST.copy()
    given.pop("based_on", None)  # nothing is saved, so it does no harm that somebody has saved meanwhile
    form = page.get_form(request, saved, change=saved is not None)(given, instance=saved)
    form.is_tried = True
    if not form.is_valid():
        errors = {name: [str(message) for message in messages] for name, messages in form.errors.items()}
        labels = {name: str(field.label or name.replace("_", " ").capitalize()) for name, field in form.fields.items()}
        return JsonResponse({"errors": errors, "labels": labels}, status=400)
    project: Project = form.cleaned_data["project"]
    if not Membership.objects.filter(project=project, user_id=request.user.pk or 0).exists():
        may = request.user.has_perm("assistants.add_membership")
        return JsonResponse({"join": {"project": project.pk, "name": project.name, "may": may}}, status=409)
    made = trials.prepare(
        request.user,  # type: ignore[arg-type]  # a person: the site is for staff
        project,
        versions.body_of(form.instance),
        known=request.POST.get("trial", ""),
        compare=saved is not None and "trial_compare" in request.POST,
        fresh="trial_fresh" in request.POST,
    )
    sides = [{"assistant": made.assistant.pk, "thread": made.thread, "name": form.instance.name or "Unnamed"}]
    if saved is not None and made.saved_thread:
        before = Assistant.objects.values_list("name", flat=True).get(pk=saved.pk)  # the form has changed `saved`
        sides.append({"assistant": saved.pk, "thread": made.saved_thread, "name": before or "Unnamed"})
    return JsonResponse({"trial": made.assistant.pk, "project": project.pk, "sides": sides})


@require_POST
def end(request: HttpRequest) -> HttpResponse:
    for_writers(request)
    trials.end(request.user, request.POST.get("trial", ""))  # type: ignore[arg-type]
    return JsonResponse({})


def join(page: AssistantAdmin, request: HttpRequest) -> HttpResponse:
    """Makes the operator a member of the project, as its page could."""
    if not request.user.has_perm("assistants.add_membership"):
        raise PermissionDenied
    project = Project.objects.filter(pk=request.POST.get("project", "")).first()
    if project is None:
        return refused("There is no such project any more.", 404)
    with transaction.atomic():
        membership, added = Membership.objects.get_or_create(project=project, user_id=request.user.pk or 0)
        if added:  # a membership has no page to see entries of: it stands with the project, as its page enters it
            (part,) = audit.made(f"Member “{request.user}” added, from “Try it”.", membership)
            about = {"name": "member", "object": str(membership)}
            page.log_change(request, project, [{**part, "added": about}])
    return JsonResponse({"project": project.pk})
