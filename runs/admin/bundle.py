"""The support bundle of a run: one .zip of everything that explains it, to be given to whoever helps.

Written to a file on the disk piece by piece, since a run may have a million events, and sent from there. What is secret
by its name is masked; who may not read content gets names, times and numbers only.
"""

from __future__ import annotations

import json
import platform
import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import orjson
from django.conf import settings
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Length
from django.http import FileResponse, Http404, HttpRequest
from django.utils.functional import Promise

from assistants import clock
from assistants.admin.content import HIDDEN, may_read
from assistants.masking import MASK, masked
from assistants.models import AssistantVersion, Message
from assistants.secret_names import is_secret, without_credentials
from runs.models import Run, RunStep, UsageRecord
from streaming.models import Event

ROWS_AT_ONCE = 200

WRITTEN = {
    Run: (
        "instructions",
        "tools",
        "metadata",
        "response_format",
        "tool_choice",
        "required_action",
    ),
    RunStep: ("step_details", "call_arguments", "begun", "metadata"),
    Message: ("content", "attachments", "metadata"),
}
"""The columns that hold what people and models wrote."""

SECRET_NAMES = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
TOLD = ("ALLOWED_HOSTS", "DEBUG", "INTERRUPTED_RUN", "OLLAMA_BASE_URL", "OLLAMA_MODEL", "OPENAI_BASE_URL", "TIME_ZONE")
"""Settings besides those that begin with KUMOS_."""

README = """Support bundle of {run}, made {moment:%Y-%m-%d %H:%M:%S} UTC.

run.json                the run: what was asked for, and what came of it
steps.ndjson            its steps, one a line
messages.ndjson         the messages of its thread up to its end, one a line
events.ndjson           its events as they were streamed, one a line
assistant_version.json  the assistant as the run found it, if that version is kept
settings.json           the server's settings, without secrets
versions.json           the server's packages, and its database

{content}
"""
WITH_CONTENT = "It holds what people and models wrote. Values that are secret by their name are masked."
WITHOUT_CONTENT = "It does not hold what people and models wrote: whoever made it may not read that."


def download(admin: Any, request: HttpRequest, run_id: str) -> FileResponse:
    if not admin.has_view_permission(request):
        raise PermissionDenied
    # By the id as it is or as the admin's addresses write it.
    run = Run.objects.filter(pk__in=[run_id, unquote(run_id)]).first()
    if run is None:
        raise Http404
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 (the response closes it)
    try:
        write(file, run, with_content=may_read(request))
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return FileResponse(file, as_attachment=True, filename=f"{run.pk}.zip", content_type="application/zip")


def write(file: IO[bytes], run: Run, *, with_content: bool) -> None:
    content = WITH_CONTENT if with_content else WITHOUT_CONTENT
    end = run.completed_at or run.failed_at or run.cancelled_at or run.expires_at
    messages = Message.objects.filter(thread_id=run.thread_id, created_at__lte=end).order_by("created_at", "pk")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("README.txt", README.format(run=run.pk, moment=clock.now(), content=content))
        archive.writestr("run.json", pretty({**row_of(run, with_content), "used": used_by(run)}))
        lines(archive, "steps.ndjson", (row_of(step, with_content) for step in rows(run.steps.order_by("created_at"))))
        lines(archive, "messages.ndjson", (row_of(message, with_content) for message in rows(messages)))
        lines(archive, "events.ndjson", events_of(run, with_content))
        if version := version_of(run, with_content):
            archive.writestr("assistant_version.json", pretty(version))
        archive.writestr("settings.json", pretty(settings_told()))
        archive.writestr("versions.json", pretty(versions()))


def rows(query: Any) -> Any:
    return query.iterator(chunk_size=ROWS_AT_ONCE)


def lines(archive: zipfile.ZipFile, name: str, values: Iterable[Any]) -> None:
    with archive.open(name, "w", force_zip64=True) as file:
        for value in values:
            file.write(orjson.dumps(value, default=str) + b"\n")


def pretty(value: Any) -> bytes:
    return orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2)


def row_of(thing: Model, with_content: bool) -> dict[str, Any]:
    """All columns of a row, under their names."""
    values = {one.attname: getattr(thing, one.attname) for one in thing._meta.concrete_fields}
    for name in WRITTEN.get(type(thing), ()):
        values[name] = masked(values[name]) if with_content else HIDDEN
    return values


def used_by(run: Run) -> dict[str, Any] | None:
    entry = UsageRecord.objects.filter(pk=run.pk).first()
    return row_of(entry, True) if entry else None


def events_of(run: Run, with_content: bool) -> Iterable[dict[str, Any]]:
    events = Event.objects.filter(run_id=run.pk).order_by("seq")
    if with_content:
        for seq, name, at, data in rows(events.values_list("seq", "name", "created_at", "data")):
            yield {"seq": seq, "event": name, "created_at": at, "data": masked(unfolded(data))}
        return
    for seq, name, at, size in rows(
        events.annotate(size=Length("data")).values_list("seq", "name", "created_at", "size")
    ):
        yield {"seq": seq, "event": name, "created_at": at, "size": size}


def unfolded(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def version_of(run: Run, with_content: bool) -> dict[str, Any] | None:
    number = run.assistant_version or 0  # which no version has
    version = AssistantVersion.objects.filter(assistant=run.assistant_id, number=number).first()
    if version is None:
        return None
    values = row_of(version, with_content)
    hidden = ("instructions", "tools", "metadata", "response_format")
    body = {name: HIDDEN if name in hidden and not with_content else value for name, value in version.body.items()}
    return {**values, "body": masked(body)}


def settings_told() -> dict[str, Any]:
    """What the server is set to. A secret is one by its name; an address may hold one, too."""
    names = sorted({*TOLD, *(name for name in dir(settings) if name.startswith("KUMOS_"))})
    return {name: told(name, getattr(settings, name, None)) for name in names}


def told(name: str, value: Any) -> Any:
    if value and (SECRET_NAMES.search(name) or is_secret(name)) and not isinstance(value, int | float):
        return MASK if name != "KUMOS_MASKED_FIELDS" else value
    match value:
        case Mapping():
            return {str(key): told(str(key), inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [told("", inner) for inner in value]
        case None | bool() | int() | float():
            return value
        case str() | Path() | Promise():
            return without_credentials(str(value), MASK)
    return type(value).__name__


def versions() -> dict[str, Any]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT version()" if connection.vendor == "postgresql" else "SELECT sqlite_version()")
        database = cursor.fetchone()[0]
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "database": f"{connection.vendor}: {database}",
        "packages": dict(sorted(found.items(), key=lambda pair: str(pair[0]).lower())),
    }
