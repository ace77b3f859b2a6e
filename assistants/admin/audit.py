"""What is written down of every change that somebody makes in the admin, or a command makes: the old and new values.

It goes into Django's own log (LogEntry), whose message is JSON that Django can read as well; beside each part of it
stand the `values` that changed. Secrets are masked by their name, long texts kept as a difference. The pages that show
it are the history of an object and `audit_log.py`. Events of runs are never entered here: they have a log of their own.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.db.models import Field, JSONField, Model
from django.http import HttpRequest

from assistants.masking import MASK, masked
from assistants.secret_names import is_secret

if TYPE_CHECKING:
    StockAdmin = admin.ModelAdmin[Any]
else:  # Django's own class cannot be subscripted at run time
    StockAdmin = admin.ModelAdmin

TEXT_KEPT = 300
"""Characters of a value that are kept as they are; of longer ones, how they differ."""
DIFFERENCE_KEPT = 4000
COMPARED = 50_000
"""Characters of a text that is compared line by line; of a longer one only the length is kept."""
WITHHELD = ("digest", "sealed", "password")
"""What is a secret, or leads to one, though KUMOS_MASKED_FIELDS may not say so."""
COMMAND = "manage.py"
"""Who changed what a command changed: a user nobody can log in as."""

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """Of one field. `difference` has the lines of a long text, each with "+", "-", "@" or " " in front."""

    label: str
    old: str
    new: str
    difference: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """One object of an entry: what was done in words, and the values."""

    words: str
    changes: Sequence[Change]


# Values ---------------------------------------------------------------------------------------------------------------


def values_of(obj: Model) -> dict[str, Any]:
    """The columns of a row, as they are now."""
    deferred = obj.get_deferred_fields()
    return {
        field.name: deepcopy(field.value_from_object(obj))
        for field in obj._meta.concrete_fields
        if field.attname not in deferred
    }


def as_text(name: str, value: Any) -> str:
    """A value for reading; of a secret only whether there is one."""
    if value is None or value == "":
        return ""
    if is_secret(name) or any(word in name.lower() for word in WITHHELD):
        return MASK
    if isinstance(value, dict | list):
        return json.dumps(masked(value), indent=1, ensure_ascii=False, sort_keys=True, default=str)
    if isinstance(value, bytes | memoryview):
        return f"({len(value)} bytes)"
    return str(masked(str(value)))


def kept(field: Field[Any, Any] | None, name: str, old: Any, new: Any) -> dict[str, Any]:
    """What the log keeps of one field's change."""
    entry: dict[str, Any] = {"name": name, "label": str(field.verbose_name) if field else name}
    before, after = as_text(name, old), as_text(name, new)
    if before == after == MASK:
        after = f"{MASK} (another)"
    if max(len(before), len(after)) <= TEXT_KEPT:
        return {**entry, "old": before, "new": after}
    if not before or not after or max(len(before), len(after)) > COMPARED:
        return {**entry, "old": clipped(before), "new": clipped(after)}
    return {**entry, "difference": difference(before, after)}


def clipped(text: str) -> str:
    return text if len(text) <= TEXT_KEPT else f"{text[:TEXT_KEPT]}… ({len(text):,} characters)"


def difference(old: str, new: str) -> list[str]:
    """The lines that differ with one around them, as `diff` writes them, and not more than DIFFERENCE_KEPT."""
    lines, room = [], DIFFERENCE_KEPT
    for line in list(difflib.unified_diff(old.splitlines(), new.splitlines(), n=1, lineterm=""))[2:]:
        line = clipped(line)
        room -= len(line)
        if room < 0:
            lines.append("@ … and more")
            break
        lines.append(line)
    return lines


def differences(model: type[Model], old: Values, new: Values, without: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What the log keeps of the fields that differ."""
    fields = {field.name: field for field in model._meta.get_fields() if isinstance(field, Field)}
    names = [name for name in dict.fromkeys([*old, *new]) if name not in without]
    return [
        kept(fields.get(name), name, old.get(name), new.get(name))
        for name in names
        if not same(fields.get(name), old.get(name), new.get(name))
    ]


def same(field: Any, old: Any, new: Any) -> bool:
    if isinstance(field, JSONField):
        return json.dumps(old, sort_keys=True, default=str) == json.dumps(new, sort_keys=True, default=str)
    return old == new or (old in (None, "") and new in (None, ""))


def told(words: str, old: Values, obj: Model) -> list[dict[str, Any]]:
    """The message of a change that no form made: for `log_change`. `old` is `values_of` before it."""
    return said(words, type(obj), old, values_of(obj))


def said(words: str, model: type[Model], old: Values, new: Values) -> list[dict[str, Any]]:
    """As `told`, where the two states are at hand, or only a part of them is for the log."""
    values = differences(model, old, new)
    return [{"changed": {"fields": [value["label"] for value in values]}, "words": words, "values": values}]


def made(words: str, obj: Model, new: Values | None = None) -> list[dict[str, Any]]:
    """As `told`, of an object that no form made: for `log_addition`. `new` is what the log keeps of it, if not all."""
    values = differences(type(obj), {}, values_of(obj) if new is None else new)
    return [{"added": {}, "words": words, "values": values}]


# Writing --------------------------------------------------------------------------------------------------------------


class Audited(StockAdmin):
    """A ModelAdmin that enters old and new values wherever Django would enter names of fields."""

    unaudited: tuple[str, ...] = ()
    """Fields of which the log keeps nothing: what people wrote, and what changes by itself."""

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        obj = super().get_object(request, object_id, from_field)
        if obj is None:  # `asst_3Ax…` as it stands in an address written by hand: Django reads `_3A` as a quoted sign
            obj = super().get_object(request, quote(object_id), from_field)
        if obj is not None and request.method == "POST":
            try:
                self.hold(request, obj)
            except ObjectDoesNotExist:
                return None
            obj.__dict__["_as_it_was"] = values_of(obj)
        return obj

    def hold(self, request: HttpRequest, obj: Model) -> None:
        """Keeps its row for whoever may write it, and reads it again: others change it before that, or after the save.

        SQLite needs no lock: there a transaction has the only writer from its beginning.
        """
        if self.has_change_permission(request) and transaction.get_connection().in_atomic_block:
            obj.refresh_from_db(from_queryset=self.model._base_manager.select_for_update(no_key=True))

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Of what was there already only what differs: the form knows nothing of the rest, as that a key is revoked."""
        was = obj.__dict__.get("_as_it_was")
        if not change or was is None:
            super().save_model(request, obj, form, change)
        else:
            now = values_of(obj)
            obj.save(update_fields=[name for name in now if name not in was or now[name] != was[name]])

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        message: list[dict[str, Any]] = super().construct_change_message(request, form, formsets, add)
        values = self.values_of_form(form, add)
        if message and "name" not in next(iter(message[0].values())):
            message[0]["values"] = values
        elif values:
            message.insert(0, {"changed": {"fields": [value["label"] for value in values]}, "values": values})
        rows = [row for formset in formsets or () for row in rows_of(formset)]
        for part, row in zip(message[len(message) - len(rows) :], rows, strict=True):
            part["values"] = row
        return message

    def values_of_form(self, form: Any, add: bool) -> list[dict[str, Any]]:
        obj = form.instance if hasattr(form, "instance") else form.user  # Django's form of a password
        was = {name: form.initial.get(name) for name in form.changed_data if hasattr(obj, name)}
        old = {} if add else obj.__dict__.get("_as_it_was", was)
        values = differences(type(obj), old, values_of(obj), self.unaudited)
        for field in obj._meta.many_to_many:
            if field.name in form.changed_data:
                before = named(form.initial.get(field.name) or ())
                values.append(kept(field, field.name, before, named(form.cleaned_data[field.name])))
        return values

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        if message != []:  # saved as it was
            return super().log_change(request, obj, message)
        return None

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Enters what each was; called before they go."""
        return LogEntry.objects.bulk_create(
            entry(
                obj, DELETION, [{"values": differences(type(obj), values_of(obj), {}, self.unaudited)}], request.user.pk
            )
            for obj in queryset
        )


def named(objects: Iterable[Any]) -> str:
    return "\n".join(sorted(map(str, objects)))


def rows_of(formset: Any) -> Iterable[list[dict[str, Any]]]:
    """The values of the rows of an inline, in the order of Django's message: new, changed, deleted ones."""
    forms = {form.instance.pk: form for form in formset.initial_forms}
    for obj in formset.new_objects:
        yield differences(type(obj), {}, values_of(obj))
    for obj, names in formset.changed_objects:
        was, now = forms[obj.pk].initial, values_of(obj)
        yield differences(type(obj), {name: was.get(name) for name in names}, {name: now.get(name) for name in names})
    for obj in formset.deleted_objects:
        yield differences(type(obj), values_of(obj), {})


def entry(obj: Model, action: int, message: Any, user_id: Any) -> LogEntry:
    return LogEntry(
        user_id=user_id,
        content_type_id=ContentType.objects.get_for_model(obj, for_concrete_model=False).pk,
        object_id=str(obj.pk),
        object_repr=str(obj)[:200],
        action_flag=action,
        change_message=message if isinstance(message, str) else json.dumps(message, ensure_ascii=False),
    )


def enter_addition(obj: Model, words: str) -> None:
    """Enters what a command made. To be called in the transaction that makes it."""
    entry(obj, ADDITION, made(words, obj), command_user()).save()


def enter_change(obj: Model, words: str, old: Values, new: Values) -> None:
    """Enters what a command changed, likewise."""
    entry(obj, CHANGE, said(words, type(obj), old, new), command_user()).save()


def command_user() -> Any:
    users = get_user_model().objects
    user, _ = users.get_or_create(username=COMMAND, defaults={"is_active": False, "password": "!"})  # matches nothing
    return user.pk


# Reading --------------------------------------------------------------------------------------------------------------


def parts_of(log: LogEntry) -> list[Part]:
    """What an entry tells, whoever wrote it."""
    try:
        message = json.loads(log.change_message) if log.change_message[:1] == "[" else None
    except ValueError:
        message = None
    if not isinstance(message, list):
        return [Part(log.change_message or DONE.get(log.action_flag, ""), ())]
    return [part_of(part, log.action_flag) for part in message] or [Part(DONE.get(log.action_flag, ""), ())]


DONE = {ADDITION: "Added.", CHANGE: "Changed.", DELETION: "Deleted."}
VERBS = {"added": ADDITION, "changed": CHANGE, "deleted": DELETION}


def part_of(part: Mapping[str, Any], action: int) -> Part:
    verb = next((verb for verb in VERBS if verb in part), "")
    done = DONE[VERBS[verb]] if verb else DONE.get(action, "")
    about = part.get(verb) or {}
    words = part.get("words") or (f"{done[:-1]} {about['name']} “{about['object']}”." if "name" in about else done)
    values = part.get("values")
    if values is None and about.get("fields"):  # written by Django alone
        words = f"{words[:-1]}: {', '.join(about['fields'])}."
    return Part(words, [change_of(value) for value in values or ()])


def change_of(value: Mapping[str, Any]) -> Change:
    return Change(value["label"], value.get("old", ""), value.get("new", ""), value.get("difference", ()))


def summary(log: LogEntry) -> str:
    """For a list: what was done, and the names of the fields."""
    parts = parts_of(log)
    return " ".join(
        part.words
        if not part.changes or part.words != DONE[CHANGE]
        else f"{part.words.rstrip('.')}: {', '.join(change.label for change in part.changes)}."
        for part in parts
    )
