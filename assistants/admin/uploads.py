"""Files that come in through a form of the admin, several at once: judged and kept like uploads through the API.

Each file stands for itself: what is wrong with one is said of it, and the others are kept. The form's script
(admin_kumos/uploads.js) sends them one by one and asks for JSON; without it the same form is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template.defaultfilters import filesizeformat

from assistants import storage
from assistants.errors import ApiError
from assistants.models import File, Project, Purpose
from assistants.parsers import label
from assistants.serializers.file import UPLOAD_PURPOSES

from .markup import page_of

PURPOSES = {
    Purpose.ASSISTANTS: "assistants: to be searched, or worked with by code",
    Purpose.VISION: "vision: an image for a message",
    Purpose.USER_DATA: "user_data: anything else",
}
NO_FILE = "Choose at least one file."


class UploadForm(forms.Form):
    """Where files belong and what they are for. The files themselves are looked at one by one."""

    project = forms.ModelChoiceField(Project.objects.all(), empty_label=None)
    purpose = forms.ChoiceField(
        choices=[(purpose.value, PURPOSES.get(purpose, purpose.value)) for purpose in UPLOAD_PURPOSES],
        initial=Purpose.ASSISTANTS,
    )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file: `file`, or the `error` in words."""

    name: str
    file: File | None = None
    error: str = ""


def receive(
    request: HttpRequest, project: Project, purpose: str, then: Callable[[File], Any] = lambda file: None
) -> list[Outcome]:
    """Keeps each file of the request and does `then` with it."""
    return [received(project, upload, purpose, then) for upload in request.FILES.getlist("file")]


def received(project: Project, upload: Any, purpose: str, then: Callable[[File], Any]) -> Outcome:
    name = label(upload)
    limit = settings.KUMOS_FILE_BYTES_MAX
    if upload.size > limit:
        return Outcome(name, error=f"It is too large: {filesizeformat(limit)} is the most a file may have.")
    try:
        file = storage.store_file(project, upload, filename=name, purpose=purpose)
    except OSError as error:
        return Outcome(name, error=f"The server could not keep it: {error.strerror or 'its storage failed'}.")
    try:
        then(file)
    except ApiError as error:
        return Outcome(name, file, f"It is uploaded, but: {error}")
    return Outcome(name, file)


def answer(page: admin.ModelAdmin[Any], request: HttpRequest, outcomes: list[Outcome], back: str) -> HttpResponse:
    """Enters what was kept in the log; tells the script in JSON, and anybody else with messages at `back`."""
    for outcome in outcomes:
        if outcome.file is not None:
            page.log_addition(request, outcome.file, [{"added": {}}])
    if not request.accepts("text/html"):
        failed = any(outcome.error for outcome in outcomes) or not outcomes
        shown = [as_json(outcome) for outcome in outcomes] or [{"name": "", "error": NO_FILE}]
        return JsonResponse({"files": shown}, status=400 if failed else 200)
    if not outcomes:
        page.message_user(request, NO_FILE, messages.ERROR)
    for outcome in outcomes:
        if outcome.error:
            page.message_user(request, f"{outcome.name}: {outcome.error}", messages.ERROR)
    kept = sum(outcome.file is not None for outcome in outcomes)
    if kept:
        page.message_user(request, f"{kept} file{'s' if kept != 1 else ''} uploaded.", messages.SUCCESS)
    return HttpResponseRedirect(back)


def as_json(outcome: Outcome) -> dict[str, str]:
    if outcome.error:
        return {"name": outcome.name, "error": outcome.error}
    assert outcome.file is not None
    return {"name": outcome.name, "id": outcome.file.id, "href": page_of(File, outcome.file.id)}
