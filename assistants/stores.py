"""Vector stores: making them, putting files in and out, what they hold, when they expire (contract 2.4, 5.2, 5.3).

Each project has one hidden store that covers all its files with purpose `assistants`. Reading and indexing the files is
done by the runner (runs/ingest.py); here they are only left waiting for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Sum

from assistants import bell, clock
from assistants.errors import ApiError, not_found
from assistants.models import Assistant, File, FileStatus, Project, Thread, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.serializers.tools import chunk_sizes

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
    ids = [store.id for store in stores]
    rows = (
        VectorStoreFile.objects.filter(vector_store__in=ids)
        .order_by()
        .values_list("vector_store_id", "status")
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
    file_ids: Sequence[str] = (),
    chunking_strategy: dict[str, Any] | None = None,
) -> VectorStore:
    """A new store with its files waiting. ApiError 404 for a file `project` does not have."""
    files = find_files(project, list(dict.fromkeys(file_ids)))
    store = VectorStore.objects.create(
        project=project,
        name=name,
        description=description,
        expires_after_days=expires_after_days,
        metadata=dict(metadata or {}),
    )
    size, overlap = chunk_sizes(chunking_strategy)
    VectorStoreFile.objects.bulk_create(
        VectorStoreFile(vector_store=store, file=file, max_chunk_size_tokens=size, chunk_overlap_tokens=overlap)
        for file in files
    )
    if files:
        bell.ring_runner("file.waiting")
    return store


@transaction.atomic
def attach(
    store: VectorStore,
    file: File,
    *,
    chunking_strategy: dict[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
) -> VectorStoreFile:
    """`file` in `store`, waiting for the runner. Once more after a failure, or with other settings, starts afresh."""
    size, overlap = chunk_sizes(chunking_strategy)
    wanted: dict[str, Any] = {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}
    if attributes is not None:
        wanted["attributes"] = dict(attributes)
    store_file, is_new = VectorStoreFile.objects.get_or_create(vector_store=store, file=file, defaults=wanted)
    if not is_new:
        stale = store_file.status in (FileStatus.FAILED, FileStatus.CANCELLED) or (
            (store_file.max_chunk_size_tokens, store_file.chunk_overlap_tokens) != (size, overlap)
        )
        if stale:
            # The next epoch fences off whoever still works with the old settings.
            wanted |= {"status": FileStatus.IN_PROGRESS, "last_error": None, "usage_bytes": 0, "claimed_until": None}
            wanted["epoch"] = F("epoch") + 1
        VectorStoreFile.objects.filter(pk=store_file.pk).update(**wanted)
        store_file.refresh_from_db()
    touch([store.id])
    bell.ring_runner("file.waiting")
    return store_file


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
            file_ids = resource.get("file_ids", [])
            find_files(project, file_ids)
            kept[tool] = {"file_ids": file_ids}
        else:
            store_ids = [find_store(project, id).id for id in resource.get("vector_store_ids", [])]
            store_ids += [
                create_store(project, expires_after_days=expires_after_days, **wanted).id
                for wanted in resource.get("vector_stores", [])
            ]
            kept[tool] = {"vector_store_ids": store_ids}
    return kept


def changed_tool_resources(owner: Assistant | Thread, data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a modification leaves of `owner`'s tool resources: absent tools stay, null clears them all."""
    if data is None:
        return {}
    return {**owner.tool_resources, **resolve_tool_resources(owner.project, data)}
