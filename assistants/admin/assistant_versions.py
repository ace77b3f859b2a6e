"""The versions of an assistant in the admin: listed, compared, one seen whole, rolled back.

One fragment of HTML shows all of it: within the assistant's page, where a script fetches it (versions.js), and as a
page of its own, to which the same links lead without the script. How often a version was used is told from above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html

from assistants import assistant_files, versions
from assistants.differences import Difference, differences, in_words
from assistants.errors import ApiError
from assistants.masking import masked
from assistants.models import Assistant, AssistantVersion

from . import audit
from .lists import BoundedAdmin
from .markup import moment, page_of

SHOWN = 20
"""Versions a page lists."""


@dataclass(frozen=True, slots=True)
class Use:
    """What a version did in the last seven days."""

    runs: int
    failed: int
    href: str
    """To the list of them."""

    def __str__(self) -> str:
        return f"{self.runs:,}" + (f" ({self.failed / self.runs:.0%} failed)" if self.failed else "")


uses: list[Callable[[str, Sequence[int]], Mapping[int, Use]]] = []
"""Tell the use of the versions with the given numbers of an assistant: `runs.admin` puts itself here."""


@dataclass(frozen=True, slots=True)
class Row:
    version: AssistantVersion
    when: str
    changes: list[str]
    use: Use | None
    is_current: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    older: AssistantVersion
    newer: AssistantVersion
    differences: list[Difference]


def urls(admin: BoundedAdmin) -> list[Any]:
    """The addresses of this module, for the assistants' ModelAdmin, before its own."""

    def of(view: Callable[..., HttpResponse]) -> Any:
        return admin.admin_site.admin_view(partial(view, admin))

    return [
        path("<path:object_id>/versions/", of(list_page), name="assistants_assistant_versions"),
        path("<path:object_id>/versions/<int:number>/", of(version_page), name="assistants_assistant_version"),
        path("<path:object_id>/versions/<int:number>/back/", of(roll_back), name="assistants_assistant_roll_back"),
    ]


def address_of(assistant_id: str, number: int | None = None) -> str:
    """Of the page of all versions, or of one."""
    name = "admin:assistants_assistant_versions" if number is None else "admin:assistants_assistant_version"
    return reverse(name, args=[quote(assistant_id), *([] if number is None else [number])])


def version_link(run: Any) -> str:
    """To the version of the assistant that a run used; in words alone where that is not known, or gone by now."""
    number = run.assistant_version
    if not number:
        return "–"
    if not AssistantVersion.objects.filter(assistant=run.assistant_id, number=number).exists():
        return f"version {number}, deleted with its assistant"
    return format_html('<a href="{}">version {}</a>', address_of(run.assistant_id, number), number)


def deleted_objects(assistants: Any, shown: int) -> Any:
    """What Django's page asks before it deletes: in a line what goes along, and what does not."""
    names = [f"{assistant} ({assistant.pk})" for assistant in assistants[:shown]]
    count = AssistantVersion.objects.filter(assistant__in=assistants).count()
    kept = "Threads, messages, runs, files and vector stores stay."
    goes = f"… and {'the one version' if count == 1 else f'all {count:,} versions'} of what it was. {kept}"
    return [*names, goes], {"assistants": len(assistants), "versions": count}, set(), []


# Pages ----------------------------------------------------------------------------------------------------------------


def list_page(admin: BoundedAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """All versions, newest first; between the two that the query names, what differs."""
    assistant = seen(admin, request, object_id)
    context: dict[str, Any] = {}
    if "from" in request.GET and "to" in request.GET:
        ends = [found(assistant, request.GET[name]) for name in ("from", "to")]
        older, newer = sorted(ends, key=lambda version: version.number)
        context["comparison"] = comparison(older, newer)
    return answer(admin, request, assistant, "Versions", context)


def version_page(admin: BoundedAdmin, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
    """One version whole, and what is different now."""
    assistant = seen(admin, request, object_id)
    version = found(assistant, number)
    now = AssistantVersion(assistant=assistant, number=assistant.version, body=versions.body_of(assistant))
    context = {
        "version": version,
        "when": moment(version.created_at),
        "is_current": version.number == assistant.version,
        "since": comparison(version, now),
        "whole": assistant_files.in_yaml(masked_body(version.body)),
    }
    return answer(admin, request, assistant, f"Version {number}", context)


def roll_back(admin: BoundedAdmin, request: HttpRequest, object_id: str, number: int) -> HttpResponse:
    """The assistant is what it was, and its page is shown again."""
    assistant = seen(admin, request, object_id)
    if not admin.has_change_permission(request, assistant):
        raise PermissionDenied
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    found(assistant, number)
    try:
        version = versions.roll_back(assistant, number, str(request.user))
    except ApiError as error:
        text = f"It cannot be what it was in version {number}: {error} Nothing was changed."
        admin.message_user(request, text, messages.ERROR)
    else:
        if version is None:
            text = f"Nothing to do: it is what it was in version {number} already."
            admin.message_user(request, text, messages.WARNING)
        else:
            before = found(assistant, version.number - 1).body
            words = f"Back to version {number}, as version {version.number}."
            admin.log_change(request, assistant, audit.said(words, Assistant, before, version.body))
            text = f"It is again what it was in version {number}. That is version {version.number}."
            admin.message_user(request, text, messages.SUCCESS)
    return HttpResponseRedirect(page_of(Assistant, assistant.pk))


def seen(admin: BoundedAdmin, request: HttpRequest, object_id: str) -> Assistant:
    """The assistant, for somebody who may look at it; else 404 or 403."""
    assistant = admin.get_object(request, unquote(object_id))
    if assistant is None:
        raise Http404("There is no such assistant.")
    if not admin.has_view_or_change_permission(request, assistant):
        raise PermissionDenied
    return assistant  # type: ignore[no-any-return]


def found(assistant: Assistant, number: str | int) -> AssistantVersion:
    if not str(number).isdecimal() or len(str(number)) > 9:
        raise Http404(f"There is no version “{number}”.")
    version = assistant.versions.filter(number=number).first()
    if version is None:
        raise Http404(f"There is no version {number}.")
    return version


def answer(
    admin: BoundedAdmin, request: HttpRequest, assistant: Assistant, title: str, context: Mapping[str, Any]
) -> HttpResponse:
    is_fragment = "fragment" in request.GET
    everything = {
        **({} if is_fragment else admin.admin_site.each_context(request)),
        **listed(request, assistant),
        **context,
        "title": title,
        "subtitle": str(assistant),
        "opts": admin.opts,
        "assistant": assistant,
        "page": page_of(Assistant, assistant.pk),
        "address": address_of(assistant.pk),
        "export": reverse("admin:assistants_assistant_export", args=[quote(assistant.pk)]),
        "may_change": admin.has_change_permission(request, assistant),
    }
    name = "versions_fragment" if is_fragment else "versions"
    return TemplateResponse(request, f"admin/assistants/{name}.html", everything)


def listed(request: HttpRequest, assistant: Assistant) -> dict[str, Any]:
    """The rows of the list. The one below the last is needed to tell what that one changed."""
    known = assistant.versions.all()
    before = request.GET.get("before", "")
    if before.isdecimal() and len(before) < 10:
        known = known.filter(number__lt=before)
    shown = list(known[: SHOWN + 1])
    numbers = [version.number for version in shown[:SHOWN]]
    used: dict[int, Use] = {}
    for source in uses:
        used.update(source(assistant.pk, numbers))
    rows = [
        Row(version, moment(version.created_at), changes(version, last), used.get(version.number), is_current)
        for version, last in zip(shown[:SHOWN], [*shown[1:], None], strict=False)
        for is_current in [version.number == assistant.version]
    ]
    compared = [request.GET.get("from"), request.GET.get("to")]
    return {
        "rows": rows,
        "older": numbers[-1] if len(shown) > SHOWN else None,
        "newest": not before,
        "uses_known": bool(uses),
        "from_number": compared[0] or (str(numbers[1]) if len(numbers) > 1 else ""),
        "to_number": compared[1] or (str(numbers[0]) if numbers else ""),
    }


def changes(version: AssistantVersion, last: AssistantVersion | None) -> list[str]:
    return in_words(last.body, version.body) if last else ["The first version"]


def comparison(older: AssistantVersion, newer: AssistantVersion) -> Comparison:
    return Comparison(older, newer, differences(older.body, newer.body, masked))


def masked_body(body: Mapping[str, Any]) -> dict[str, Any]:
    """As it may be shown. Instructions and the like are read as they are, even where they happen to be JSON. In the
    order of a file: PostgreSQL has one of its own."""
    shown = {name: body[name] for name in versions.FIELDS if name in body}
    return {name: value if isinstance(value, str) else masked(value) for name, value in shown.items()}
