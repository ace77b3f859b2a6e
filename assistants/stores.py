"""Vector stores: making them, putting files in and out, what they hold, when they expire (contract 2.4, 5.2, 5.3).

Each project has one hidden store that covers all its files with purpose `assistants`. Reading and indexing the files is
done by the runner (runs/ingest.py); here they are only left waiting for it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum

from assistants import bell, clock
from assistants.errors import ApiError, not_found
from assistants.models import Assistant, File, FileStatus, Project, Thread, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.rows import Vanished
from assistants.serializers.tools import AUTO_CHUNK_TOKENS, AUTO_OVERLAP_TOKENS, chunk_sizes

THREAD_STORE_DAYS = 7
"""A store made for a thread expires that long after its last use (contract 2.4)."""
PASSAGES_PER_DELETE = 50


@dataclass(frozen=True, slots=True)
class Contents:
    """What a store holds: files by status, and the bytes of the finished ones."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    usage_bytes: int = 0

    @property
    def total(self) -> int:
        return self.in_progress + self.completed + self.failed + self.cancelled


def stores_of(project: Project) -> QuerySet[VectorStore]:
    """The stores a client of `project` can see."""
    return VectorStore.objects.filter(project=project, covers_project=False)


def files_of(project: Project) -> QuerySet[File]:
    """The files a client of `project` can see: an expired one is gone."""
    return File.objects.filter(Q(expires_at=None) | Q(expires_at__gt=clock.now()), project=project)


def no_such_file(id: str) -> ApiError:
    return ApiError(f"No such File object: {id}", status=404, param="id")


def find_files(project: Project, ids: Sequence[str]) -> list[File]:
    """The files with `ids`, in their order. ApiError 404 names the first that `project` does not have."""
    found = files_of(project).in_bulk(list(set(ids))) if ids else {}
    for id in ids:
        if id not in found:
            raise no_such_file(id)
    return [found[id] for id in ids]


def find_store(project: Project, id: str) -> VectorStore:
    """ApiError 404 where `project` has no such store; the hidden one is never found."""
    store = stores_of(project).filter(pk=id).first()
    if store is None:
        raise not_found("vector store", id)
    return store


def contents_of(stores: Iterable[VectorStore]) -> dict[str, Contents]:
    """Store id → its contents, for all `stores` in one query."""
    return contents_by("vector_store", [store.id for store in stores])


def contents_by(holder: str, ids: Collection[str]) -> dict[str, Contents]:
    """Id → what that store, or that batch, holds; `holder` is the field that leads there."""
    rows = (
        VectorStoreFile.objects.filter(**{f"{holder}__in": ids})
        .order_by()
        .values_list(holder, "status")
        .annotate(count=Count("id"), usage=Sum("usage_bytes", default=0))
    )
    contents = {id: Contents() for id in ids}
    for id, status, count, usage in rows:
        held = contents[id]
        contents[id] = replace(held, usage_bytes=held.usage_bytes + usage, **{status: count})
    return contents


def expires_at(store: VectorStore) -> datetime | None:
    days = store.expires_after_days
    return None if days is None else store.last_active_at + timedelta(days=days)


def is_expired(store: VectorStore) -> bool:
    """An expired store keeps its files, but nothing is found in it and nothing can be put in."""
    expiry = expires_at(store)
    return expiry is not None and expiry <= clock.now()


def refuse_expired(store: VectorStore) -> None:
    if is_expired(store):
        raise ApiError(f"Vector store {store.id} has expired.")


def touch(ids: Iterable[str]) -> None:
    """Notes that the stores with `ids` were used now; called by searches, which also put off expiry."""
    VectorStore.objects.filter(pk__in=list(ids)).update(last_active_at=clock.now())


def forget_passages(store_files: QuerySet[VectorStoreFile]) -> None:
    """Removes the passages of files that are about to go, few at a time and outside any transaction.

    One cascade over thousands of them would hold SQLite's only writer for seconds, and every run would wait.
    """
    for pk in list(store_files.values_list("pk", flat=True)):
        while index.remove_passages(pk, PASSAGES_PER_DELETE):
            pass


def delete_store(store: VectorStore) -> None:
    forget_passages(VectorStoreFile.objects.filter(vector_store=store))
    store.delete()


def detach(store_file: VectorStoreFile) -> None:
    """Takes a file out of its store; the file itself stays (contract 5.3)."""
    forget_passages(VectorStoreFile.objects.filter(pk=store_file.pk))
    store_file.delete()


@transaction.atomic
def create_store(
    project: Project,
    *,
    name: str | None = None,
    description: str | None = None,
    expires_after_days: int | None = None,
    metadata: Mapping[str, str] | None = None,
    file_ids: Sequence[str] | None = None,
    chunking_strategy: dict[str, Any] | None = None,
) -> VectorStore:
    """A new store with its files waiting, each once. ApiError 404 for a file `project` does not have."""
    files = find_files(project, file_ids or [])
    store = VectorStore.objects.create(
        project=project,
        name=name,
        description=description,
        expires_after_days=expires_after_days,
        metadata=dict(metadata or {}),
    )
    attach_all(store, [Attachment(file, *chunk_sizes(chunking_strategy)) for file in files])
    return store


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that is to go into a store, and how. Attributes that are None leave those of an earlier time."""

    file: File
    max_chunk_size_tokens: int = AUTO_CHUNK_TOKENS
    chunk_overlap_tokens: int = AUTO_OVERLAP_TOKENS
    attributes: Mapping[str, Any] | None = None


@transaction.atomic
def attach(
    store: VectorStore,
    file: File,
    *,
    chunking_strategy: dict[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> VectorStoreFile:
    """`file` in `store`, waiting for the runner. ApiError 400 where the store has expired."""
    (store_file,) = attach_all(store, [Attachment(file, *chunk_sizes(chunking_strategy), attributes)])
    return store_file


@transaction.atomic
def attach_together(store: VectorStore, attachments: Sequence[Attachment]) -> list[VectorStoreFile]:
    """`attach_all` in a transaction of its own."""
    return attach_all(store, attachments)


def attach_all(store: VectorStore, attachments: Sequence[Attachment]) -> list[VectorStoreFile]:
    """The files in `store`, in their order, each once, waiting for the runner. In the caller's transaction.

    A file that is there already starts afresh after a failure or with other chunks, and else stays as it is. ApiError
    400 where the store has expired.
    """
    refuse_expired(store)
    if not attachments:
        return []
    store.last_active_at = clock.now()
    if not VectorStore.objects.filter(pk=store.pk).update(last_active_at=store.last_active_at):  # which also holds it
        raise not_found("vector store", store.id)
    wanted = {attachment.file.pk: attachment for attachment in attachments}
    held = VectorStoreFile.objects.filter(vector_store=store, file__in=wanted)
    known = list(held)
    VectorStoreFile.objects.bulk_create(
        (
            VectorStoreFile(
                vector_store=store,
                file=attachment.file,
                max_chunk_size_tokens=attachment.max_chunk_size_tokens,
                chunk_overlap_tokens=attachment.chunk_overlap_tokens,
                attributes=dict(attachment.attributes or {}),
            )
            for attachment in wanted.values()
        ),
        ignore_conflicts=True,
    )
    for store_file in known:
        attach_again(store_file, wanted[store_file.file_id])
    bell.ring_runner("file.waiting")
    found = {store_file.file_id: store_file for store_file in held.all()}
    if len(found) < len(wanted):  # a file was deleted beside this
        raise Vanished
    return [found[id] for id in wanted]


def attach_again(store_file: VectorStoreFile, wanted: Attachment) -> None:
    sizes = (wanted.max_chunk_size_tokens, wanted.chunk_overlap_tokens)
    changes: dict[str, Any] = {}
    if wanted.attributes is not None:
        changes["attributes"] = dict(wanted.attributes)
    if (
        store_file.status in (FileStatus.FAILED, FileStatus.CANCELLED)
        or (store_file.max_chunk_size_tokens, store_file.chunk_overlap_tokens) != sizes
    ):
        changes["max_chunk_size_tokens"], changes["chunk_overlap_tokens"] = sizes
        changes |= {"status": FileStatus.IN_PROGRESS, "last_error": None, "usage_bytes": 0, "claimed_until": None}
        changes["epoch"] = F("epoch") + 1  # fences off whoever still works with the old settings
    if changes:
        VectorStoreFile.objects.filter(pk=store_file.pk).update(**changes)


def covering_store(project: Project) -> VectorStore:
    """The hidden store of `project`, made on first use."""
    return VectorStore.objects.get_or_create(project=project, covers_project=True)[0]


def resolve_tool_resources(
    project: Project, data: Mapping[str, Any] | None, *, expires_after_days: int | None = None
) -> dict[str, Any]:
    """What an object keeps of a validated `tool_resources`: everything named exists, a store asked for is made.

    `expires_after_days` is that of such a store. ApiError 404 for a file or a store that `project` does not have.
    """
    kept: dict[str, Any] = {}
    for tool, resource in (data or {}).items():
        if resource is None:
            continue
        if tool == "code_interpreter":
            file_ids = resource.get("file_ids") or []
            find_files(project, file_ids)
            kept[tool] = {"file_ids": file_ids}
        else:
            store_ids = [find_store(project, id).id for id in resource.get("vector_store_ids") or []]
            store_ids += [
                create_store(project, expires_after_days=expires_after_days, **wanted).id
                for wanted in resource.get("vector_stores") or []
            ]
            kept[tool] = {"vector_store_ids": store_ids}
    return kept


def changed_tool_resources(owner: Assistant | Thread, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a modification leaves of `owner`'s tool resources: absent tools stay, null clears them all."""
    if data is None:
        return {}
    return {**owner.tool_resources, **resolve_tool_resources(owner.project, data)}
