"""Assistants as one YAML file: written to be compared and kept, read to make them so again.

An entry is the assistant as a client of the API would make it (contract 2.2), with its id and its project. Metadata of
which the pages hide anything is left out, and stays what it is where the file is applied. A file is applied as a whole
or not at all, and a second time changes nothing: an entry is the assistant with its id, else the one of its project
with its name, else a new one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.db import transaction

from assistants import ids, versions, yaml_text
from assistants.errors import ApiError
from assistants.masking import hidden_in, joined
from assistants.models import Assistant, Project
from assistants.parsers import parse_object
from assistants.rows import hold
from assistants.serializers.refusals import kind_of

HEAD = "# Assistants of Kumos. To make them so: manage.py assistants apply -f FILE\n"
ONLY_SHOWN = ("object", "created_at")
"""What the API shows and nobody can set. An entry may have it, so that an answer of the API is a file, too."""
ID = re.compile(r"asst_[A-Za-z0-9_-]{1,59}")
ENTRIES_MAX = 1000


class Refused(Exception):
    """Why a file was not applied: a sentence for each fault that was found."""

    def __init__(self, *faults: str) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Entry:
    """An assistant as a file wants it. `place` counts from one."""

    place: int
    project: Project
    id: str
    body: dict[str, Any]

    @property
    def called(self) -> str:
        name = self.body.get("name") or self.id
        return f"Entry {self.place} ({name})" if name else f"Entry {self.place}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an entry came to."""

    did: Literal["made", "changed", "unchanged"]
    assistant: Assistant
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)
    remark: str = ""


# Writing --------------------------------------------------------------------------------------------------------------


def written(assistants: Iterable[Assistant]) -> str:
    """The file. What stands in it depends on nothing but the assistants, in the order they were made."""
    ordered = sorted(assistants, key=lambda assistant: (assistant.created_at, assistant.id))
    return HEAD + yaml_text.write({"assistants": [entry_of(assistant) for assistant in ordered]})


def entry_of(assistant: Assistant) -> dict[str, Any]:
    body = versions.body_of(assistant)
    hidden = hidden_in(assistant.metadata)
    body["metadata"] = {key: value for key, value in assistant.metadata.items() if key not in hidden}
    return {"project": assistant.project.name, "id": assistant.id, **body}


def in_yaml(body: Mapping[str, Any]) -> str:
    """One state of an assistant, for reading."""
    return yaml_text.write(dict(body))


# Reading --------------------------------------------------------------------------------------------------------------


def read(text: str, project: Project | None) -> list[Entry]:
    """The entries of a file. All belong to `project` if it is given, else each to the one it names, or the only one."""
    try:
        wanted = items_of(yaml_text.read(text))
    except yaml_text.NotYaml as error:
        raise Refused(str(error)) from None
    projects = {name: project for project in Project.objects.all() for name in (project.id, project.name)}
    entries, faults = [], []
    for place, item in enumerate(wanted, 1):
        try:
            entries.append(entry(place, item, project, projects))
        except ApiError as error:
            faults.append(f"Entry {place}: {error}")
    if faults:
        raise Refused(*faults)
    return entries


def items_of(value: Any) -> list[Any]:
    """The assistants in a file of ours, in a list, in one of the API's answers; or the one that it is."""
    if isinstance(value, dict):
        if "assistants" in value:
            if others := value.keys() - {"assistants"}:
                raise Refused(f"Beside “assistants” stands what is not known: {', '.join(sorted(others))}.")
            value = value["assistants"]
        else:
            value = value.get("data") if value.get("object") == "list" else [value]
    if not isinstance(value, list):
        raise Refused(f"Expected a list of assistants, but got {kind_of(value)}.")
    if not value:
        raise Refused("There is no assistant in it.")
    if len(value) > ENTRIES_MAX:
        raise Refused(f"There are {len(value):,} assistants in it. At most {ENTRIES_MAX:,} are taken at once.")
    return value


def entry(place: int, item: Any, project: Project | None, projects: Mapping[str, Project]) -> Entry:
    """ApiError where it could not be the body of a request, or does not say which assistant it is."""
    if not isinstance(item, dict):
        raise ApiError(f"Expected an assistant, but got {kind_of(item)}.")
    try:
        body = parse_object(json.dumps(item, allow_nan=False).encode())
    except ValueError:
        raise ApiError("It has a number that is too large.") from None
    for name in ONLY_SHOWN:
        body.pop(name, None)
    id, named = body.pop("id", None) or "", body.pop("project", None)
    if not isinstance(id, str) or (id and not ID.fullmatch(id)):
        raise ApiError(f"Invalid 'id': '{id}'. Expected an ID that begins with 'asst_'.")
    if not id and not body.get("name"):
        raise ApiError("It has neither a name nor an id by which it could be found again.")
    if project is None:
        project = project_of(named, projects)
    return Entry(place, project, id, body)


def project_of(named: Any, projects: Mapping[str, Project]) -> Project:
    if named is None:
        if len(set(projects.values())) != 1:
            raise ApiError("It does not say which project it belongs to.")
        return next(iter(projects.values()))
    if not isinstance(named, str) or named not in projects:
        raise ApiError(f"There is no project “{named}”.")
    return projects[named]


# Applying -------------------------------------------------------------------------------------------------------------


def apply(
    text: str,
    *,
    author: str,
    project: Project | None = None,
    dry_run: bool = False,
    enter: Callable[[list[Outcome]], None] | None = None,
) -> list[Outcome]:
    """Makes the assistants of the file so, and tells what that took. Refused, and nothing is changed, where one cannot.

    A dry run does the same and takes it back. `enter` is told of what was done, in the same transaction.
    """
    entries = read(text, project)  # which may take a second: before SQLite's only writer is held
    with transaction.atomic():
        outcomes = applied(entries, author)
        if dry_run:
            transaction.set_rollback(True)
        elif enter is not None:
            enter(outcomes)
    return outcomes


def applied(entries: Sequence[Entry], author: str) -> list[Outcome]:
    """In the caller's transaction, which must end with nothing done where this raises Refused."""
    targets, outcomes, faults = targets_of(entries), [], []
    for one, target in zip(entries, targets, strict=True):
        try:
            outcomes.append(changed(one, target, author) if target else made(one, author))
        except ApiError as error:
            faults.append(f"{one.called}: {error}")
    if faults:
        raise Refused(*faults)
    return outcomes


def targets_of(entries: Sequence[Entry]) -> list[Assistant | None]:
    """The assistant that each entry stands for, as they were before the first is touched. None: a new one."""
    faults: list[str] = []
    held: dict[str, int] = {}  # assistant id → the entry that stands for it
    targets: list[Assistant | None] = [by_id(one) for one in entries]
    for one, target in zip(entries, targets, strict=True):
        if key := target.pk if target else one.id:
            if key in held:
                faults.append(f"{one.called}: entry {held[key]} has the same id.")
            held.setdefault(key, one.place)
    for n, one in enumerate(entries):
        if targets[n] or not one.body.get("name"):
            continue
        namesakes = [each for each in by_name(one) if each.pk not in held]
        if len(namesakes) > 1:
            faults.append(f"{one.called}: {len(namesakes)} assistants have this name. Say by its id which it is.")
        elif namesakes:
            targets[n] = namesakes[0]
            held[namesakes[0].pk] = one.place
        elif not one.id and any(same_name(one, other) for other in entries[:n]):
            faults.append(f"{one.called}: another entry has the same name. Give each an id.")
    if faults:
        raise Refused(*faults)
    return targets


def by_id(one: Entry) -> Assistant | None:
    if not one.id:
        return None
    return Assistant.objects.filter(project=one.project, pk=one.id, scratch_of=None).first()


def by_name(one: Entry) -> list[Assistant]:
    name = one.body["name"]
    if not isinstance(name, str):
        return []  # the serializer will say so
    return list(Assistant.objects.filter(project=one.project, name=name, scratch_of=None)[:100])


def same_name(one: Entry, other: Entry) -> bool:
    return (one.project, one.body["name"]) == (other.project, other.body.get("name"))


def made(one: Entry, author: str) -> Outcome:
    """A new assistant, with the id of the file where nobody has it."""
    remark = ""
    id = one.id or ids.new_assistant_id()
    if one.id and Assistant.objects.filter(pk=one.id).exists():
        if not one.body.get("name"):
            raise ApiError(f"The id '{one.id}' belongs to another project, and there is no name to find it by.")
        id = ids.new_assistant_id()
        remark = f"{one.id} belongs to another project, so it has a new id"
    assistant = Assistant(pk=id, project=one.project)
    versions.become(assistant, one.body)
    assistant.save(force_insert=True)
    versions.record(assistant, author, "From a file")
    return Outcome("made", assistant, after=versions.body_of(assistant), remark=remark)


def changed(one: Entry, assistant: Assistant, author: str) -> Outcome:
    hold(Assistant.objects.filter(pk=assistant.pk))
    assistant.refresh_from_db()
    remark = f"found by its name, not as {one.id}" if one.id and one.id != assistant.pk else ""
    before = versions.body_of(assistant)
    old = assistant.metadata
    versions.become(assistant, one.body)
    assistant.metadata = joined(assistant.metadata, old, hidden_in(old) - assistant.metadata.keys())
    after = versions.body_of(assistant)
    if versions.same(before, after):
        return Outcome("unchanged", assistant, before, after, remark)
    assistant.save()
    versions.record(assistant, author, "From a file")
    return Outcome("changed", assistant, before, after, remark)
