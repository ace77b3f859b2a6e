"""Assistants out of the admin and into it, as one YAML file. What such a file is, `assistant_files.py` says.

What an import would do is shown before it is done; it is done by the same code, and only if it would still be the same.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from django import forms
from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path

from assistants import assistant_files
from assistants.assistant_files import Outcome, Refused
from assistants.differences import Difference, differences
from assistants.masking import masked
from assistants.models import Assistant, Project

from . import audit
from .lists import BoundedAdmin
from .markup import list_of

EXPORTED_AT_ONCE = 1000
IMPORTED_BYTES = 1024 * 1024
IMPORTED = "Imported from YAML."
CHANGED_MEANWHILE = "Something has changed since you looked. This is what the import would do now."


class ImportForm(forms.Form):
    file = forms.FileField(required=False, label="A YAML file")
    text = forms.CharField(
        required=False,
        strip=False,
        label="Or its text",
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false"}),
        help_text="What “Export YAML” writes, or an answer of the API: one assistant or a list of them.",
    )
    project = forms.ModelChoiceField(
        Project.objects.all(),
        required=False,
        empty_label="The one that the file names",
        help_text="Assistants are looked for, and made, in this project.",
    )

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        text = given.get("text", "")
        if upload := given.get("file"):
            if upload.size > IMPORTED_BYTES:
                raise forms.ValidationError(f"The file is too large. At most {IMPORTED_BYTES:,} bytes are taken here.")
            try:
                text = upload.read().decode()
            except UnicodeDecodeError:
                raise forms.ValidationError("The file is not text in UTF-8.") from None
        if len(text) > IMPORTED_BYTES:
            raise forms.ValidationError(f"The text is too long. At most {IMPORTED_BYTES:,} characters are taken here.")
        if not text.strip() and not self.errors:
            raise forms.ValidationError("Choose a file, or paste its text.")
        return {**given, "text": text.removeprefix("\ufeff")}


@dataclass(frozen=True, slots=True)
class Shown:
    """One entry's outcome, for reading."""

    outcome: Outcome
    differences: list[Difference]


def urls(admin: BoundedAdmin) -> list[Any]:
    def of(view: Callable[..., HttpResponse]) -> Any:
        return admin.admin_site.admin_view(partial(view, admin))

    return [
        path("import/", of(import_page), name="assistants_assistant_import"),
        path("<path:object_id>/export/", of(export), name="assistants_assistant_export"),
    ]


def export(admin: BoundedAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    assistant = admin.get_object(request, unquote(object_id))
    if assistant is None:
        raise Http404("There is no such assistant.")
    if not admin.has_view_or_change_permission(request, assistant):
        raise PermissionDenied
    return as_file([assistant])


def download(admin: BoundedAdmin, request: HttpRequest, assistants: Any) -> HttpResponse | None:
    """The file with those of the queryset; None, and a message, where they are too many for one."""
    found = list(assistants.select_related("project").defer(None)[: EXPORTED_AT_ONCE + 1])
    if len(found) > EXPORTED_AT_ONCE:
        text = f"More than {EXPORTED_AT_ONCE:,} at once are written by `manage.py assistants export`."
        admin.message_user(request, text, messages.ERROR)
        return None
    return as_file(found)


def as_file(assistants: Sequence[Assistant]) -> HttpResponse:
    name = "assistants"
    if len(assistants) == 1:
        name = re.sub(r"[^a-z0-9]+", "-", str(assistants[0]).lower()).strip("-")[:60] or "assistant"
    answer = HttpResponse(assistant_files.written(assistants), content_type="application/yaml; charset=utf-8")
    answer["Content-Disposition"] = f'attachment; filename="{name}.yaml"'
    return answer


def import_page(admin: BoundedAdmin, request: HttpRequest) -> HttpResponse:
    """Asks for a file, shows what it would do, does it."""
    if not (admin.has_add_permission(request) or admin.has_change_permission(request)):
        raise PermissionDenied
    form = ImportForm(request.POST, request.FILES) if request.method == "POST" else ImportForm()
    context: dict[str, Any] = {}
    if form.is_valid():
        try:
            outcomes, done = imported(admin, request, form.cleaned_data)
        except Refused as refused:
            context["faults"] = refused.faults
        else:
            if done:
                tell(admin, request, outcomes)
                return HttpResponseRedirect(list_of(Assistant))
            context = preview(form.cleaned_data, outcomes)
            if request.POST.get("seen"):
                admin.message_user(request, CHANGED_MEANWHILE, messages.WARNING)
    everything = {
        **admin.admin_site.each_context(request),
        "title": "Import assistants",
        "opts": admin.opts,
        "form": form,
        **context,
    }
    return TemplateResponse(request, "admin/assistants/assistant_import.html", everything)


def imported(admin: BoundedAdmin, request: HttpRequest, given: dict[str, Any]) -> tuple[list[Outcome], bool]:
    """What the file comes to, and whether it was done: only if the person has seen that, and may do it."""
    entries = assistant_files.read(given["text"], given["project"])  # before SQLite's only writer is held
    with transaction.atomic():
        outcomes = assistant_files.applied(entries, str(request.user))
        refuse_forbidden(admin, request, outcomes)
        done = request.POST.get("seen") == digest(outcomes)
        if not done:
            transaction.set_rollback(True)
    return outcomes, done


def refuse_forbidden(admin: BoundedAdmin, request: HttpRequest, outcomes: Sequence[Outcome]) -> None:
    did = {outcome.did for outcome in outcomes}
    if "made" in did and not admin.has_add_permission(request):
        raise Refused("It would make new assistants, which you may not.")
    if "changed" in did and not admin.has_change_permission(request):
        raise Refused("It would change assistants, which you may not.")


def digest(outcomes: Sequence[Outcome]) -> str:
    """Of what would be done to what. New ids are drawn anew each time and do not count."""
    told = [[one.did, one.before and one.assistant.pk, one.before, one.after, one.remark] for one in outcomes]
    return hashlib.sha256(orjson.dumps(told, option=orjson.OPT_SORT_KEYS)).hexdigest()


def preview(given: dict[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    counts = Counter(outcome.did for outcome in outcomes)
    return {
        "outcomes": [Shown(one, differences(one.before, one.after, masked)) for one in outcomes],
        "counts": ", ".join(f"{count} {did}" for did, count in counts.items()),
        "anything": counts["made"] or counts["changed"],
        "seen": digest(outcomes),
        "text": given["text"],
        "project": given["project"],
    }


def tell(admin: BoundedAdmin, request: HttpRequest, outcomes: Sequence[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.did == "made":
            admin.log_addition(request, outcome.assistant, audit.made(IMPORTED, outcome.assistant))
        elif outcome.did == "changed":
            values = audit.said(IMPORTED, Assistant, outcome.before, outcome.after)
            admin.log_change(request, outcome.assistant, values)
    counts = Counter(outcome.did for outcome in outcomes)
    admin.message_user(
        request, f"Imported: {', '.join(f'{count} {did}' for did, count in counts.items())}.", messages.SUCCESS
    )
