"""What people call those by whom usage is summed, and the lists of them that the usage page has to choose from.

A list is as long as somebody reads: where there are more, an id is typed, and a model's name always may be.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from django import forms
from django.contrib.auth import get_user_model
from django.http import HttpRequest

from assistants import keys
from assistants.admin.inputs import SuggestingInput
from assistants.admin.lists import may_see
from assistants.admin.markup import clipped, page_of
from assistants.models import ApiKey, Assistant, Project
from runs.models import UsageRecord

BY = [("project", "Project"), ("made_by", "Key or person"), ("assistant", "Assistant"), ("model", "Model")]
LISTED = 100
NAME_SHOWN = 60
RECORDS_READ = 2_000
"""The newest, whose models are proposed."""

Choice = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Named:
    name: str
    href: str = ""


def names_of(request: HttpRequest, by: str, ids: set[str]) -> dict[str, Named]:
    """What people call projects, keys, people and assistants. Those that are gone keep their ids, and keys and people
    do where whoever asks may not see their pages."""
    if by == "project":
        projects = Project.objects.filter(pk__in=ids).values_list("pk", "name")
        return {pk: Named(name, page_of(Project, pk)) for pk, name in projects}
    if by == "assistant":
        assistants = Assistant.objects.filter(pk__in=ids).values_list("pk", "name")
        return {pk: Named(name or pk, page_of(Assistant, pk)) for pk, name in assistants}
    if by == "made_by":
        lines = keys.lines_of(id for id in ids if not id.startswith("user ") and may_see(request, ApiKey))
        names = {id: Named(line_called(line), page_of(ApiKey, line[0].pk)) for id, line in lines.items()}
        people = {int(number) for id in ids if (number := id.removeprefix("user ")) != id and number.isdecimal()}
        if not may_see(request, get_user_model()):
            return names
        users = get_user_model()._default_manager.filter(pk__in=people)
        return names | {f"user {user.pk}": Named(user.get_username()) for user in users}
    return {}


def line_called(line: Sequence[ApiKey]) -> str:
    """The newest key, and how many it follows: what they have used is one sum."""
    before = len(line) - 1
    return f"{line[0]}{f' and {before} before it' if before else ''}"


# To choose from -------------------------------------------------------------------------------------------------------


def offer(request: HttpRequest, form: forms.Form) -> None:
    """Gives the fields that are named in BY something to choose from, with what is asked for among it."""
    for name, label in BY:
        field = form.fields[name]
        if name == "model":
            field.widget = SuggestingInput()
            field.widget.suggest = models
            continue
        found = makers(request) if name == "made_by" else LISTS[name]()
        if found is None:
            continue
        asked = str(form.data.get(name, "")).strip()
        if asked and asked not in {value for value, _ in found}:
            found = [*found, (asked, called(request, name, asked))]
        field.label = label
        field.widget = forms.Select(
            choices=[("", "All"), *((value, clipped(text, NAME_SHOWN)) for value, text in found)]
        )


def called(request: HttpRequest, by: str, id: str) -> str:
    known = keys.succession_of(id) if by == "made_by" else id
    names = names_of(request, by, {known})
    return names[known].name if known in names else id


def projects() -> list[Choice] | None:
    return short(Project.objects.order_by("name").values_list("pk", "name"))


def assistants() -> list[Choice] | None:
    rows = Assistant.objects.filter(scratch_of=None).order_by().values_list("pk", "name")
    found = short((pk, name or pk) for pk, name in rows[: LISTED + 1])
    return found and sorted(found, key=lambda choice: choice[1].lower())


def makers(request: HttpRequest) -> list[Choice] | None:
    """One of each line of keys, then people: those that whoever asks may see. None, too, where he may see neither."""
    sees_keys, sees_people = may_see(request, ApiKey), may_see(request, get_user_model())
    if not (sees_keys or sees_people):
        return None
    newest = ApiKey.objects.order_by("-created_at", "-id")[: 2 * LISTED + 1] if sees_keys else ()
    if len(newest) > 2 * LISTED:
        return None
    lines: dict[str, list[ApiKey]] = {}
    for key in newest:
        lines.setdefault(key.succession, []).append(key)
    of_keys = short(
        sorted(((id, line_called(line)) for id, line in lines.items()), key=lambda choice: choice[1].lower())
    )
    users = get_user_model()._default_manager.order_by("username").values_list("pk", "username")[: LISTED + 1]
    of_people = short((f"user {pk}", name) for pk, name in (users if sees_people else ()))
    return None if of_keys is None or of_people is None else [*of_keys, *of_people]


def models() -> list[Choice]:
    """Those that were used last, and those of assistants."""
    used = UsageRecord.objects.order_by("-ended_at").values_list("model", flat=True)[:RECORDS_READ]
    named = Assistant.objects.filter(scratch_of=None).order_by().values_list("model", flat=True)[:RECORDS_READ]
    return [(model, "") for model in islice(sorted({*used, *named}), LISTED)]


def short(rows: Iterable[Choice]) -> list[Choice] | None:
    """All of them; None where there are too many."""
    found = list(islice(rows, LISTED + 1))
    return found if len(found) <= LISTED else None


LISTS = {"project": projects, "assistant": assistants}
