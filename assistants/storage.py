"""The bytes of files: written before their row, removed after it (contract 5.1; design, section 7).

A crash between the two leaves bytes that nobody names, never a row without bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.files.base import File as Upload
from django.db import DatabaseError, transaction

from assistants import stores
from assistants.clock import now
from assistants.models import Assistant, File, Project, Purpose, Thread, VectorStoreFile
from assistants.rows import hold

HOLDERS_PER_TRANSACTION = 50


@contextmanager
def received(
    project: Project, upload: Upload[Any], *, filename: str, purpose: str, expires_after_seconds: int | None = None
) -> Iterator[File]:
    """The file whose bytes are `upload`, kept by now, for `enter` to give it its row; without one they go again.

    Bytes take their time, so this is outside of any transaction.
    """
    created_at = now()
    file = File(
        project=project,
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=expires_after_seconds) if expires_after_seconds else None,
        filename=filename,
        bytes=upload.size,
        purpose=purpose,
    )
    file.blob.save(filename, upload, save=False)
    try:
        yield file
    except BaseException:
        # A commit may have come through although its answer was lost. In doubt the bytes stay.
        with suppress(DatabaseError):
            if not File.objects.filter(pk=file.pk).exists():
                file.blob.delete(save=False)
        raise
    if file._state.adding:
        file.blob.delete(save=False)


@transaction.atomic
def enter(file: File) -> None:
    """The row of a `received` file. With purpose `assistants` it joins the store that covers the project."""
    file.save(force_insert=True)
    if file.purpose == Purpose.ASSISTANTS and settings.KUMOS_SEARCH_ALL_FILES:
        stores.attach(stores.covering_store(file.project), file)


def store_file(project: Project, upload: Upload[Any], **fields: Any) -> File:
    """Keeps `upload`; `fields` are those of `received`."""
    with received(project, upload, **fields) as file:
        enter(file)
    return file


def delete_file(file: File) -> None:
    """Removes `file` from every store and all tool resources, then its row, then its bytes."""
    stores.forget_passages(VectorStoreFile.objects.filter(file=file))
    for model in (Assistant, Thread):
        while forget_holders(model, file):
            pass
    with transaction.atomic():
        for model in (Assistant, Thread):
            forget_holders(model, file)  # those that came meanwhile
        storage, name = file.blob.storage, str(file.blob.name)
        file.delete()
        transaction.on_commit(lambda: storage.delete(name))


@transaction.atomic
def forget_holders(model: type[Assistant] | type[Thread], file: File) -> int:
    """Takes `file` out of the tool resources of up to HOLDERS_PER_TRANSACTION objects, and says of how many.

    All at once could hold SQLite's only writer for seconds, as `stores.forget_passages` knows.
    """
    ids = list(model.objects.filter(named_files=file).values_list("pk", flat=True)[:HOLDERS_PER_TRANSACTION])
    for id in ids:
        hold(model.objects.filter(pk=id))
        for holder in model.objects.filter(pk=id):
            code = holder.tool_resources.get("code_interpreter", {"file_ids": []})
            code["file_ids"] = [one for one in code["file_ids"] if one != file.id]
            holder.save(update_fields=["tool_resources"])
    return len(ids)


def delete_expired_files(limit: int = 100) -> int:
    """Deletes up to `limit` files past their `expires_at` and says how many; meant for the runner's sweep."""
    expired = list(File.objects.filter(expires_at__lte=now()).order_by("expires_at")[:limit])
    for file in expired:
        delete_file(file)
    return len(expired)
