"""Batches: files that are put into a store together, counted together, and can be called off (contract 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from django.db import transaction
from django.db.models import F

from assistants import stores
from assistants.clock import now
from assistants.errors import not_found
from assistants.models import FileBatch, FileStatus, VectorStore, VectorStoreFile


def find_batch(store: VectorStore, id: str) -> FileBatch:
    """ApiError 404 also where the batch is another store's."""
    batch = FileBatch.objects.filter(vector_store=store, pk=id).first()
    if batch is None:
        raise not_found("file batch", id)
    return batch


def contents_of(batch: FileBatch) -> stores.Contents:
    return stores.contents_by("batches", [batch.pk])[batch.pk]


@transaction.atomic
def create_batch(store: VectorStore, attachments: Sequence[stores.Attachment]) -> FileBatch:
    """The files in `store`, as `stores.attach_all` puts them there, and the batch that counts them."""
    store_files = stores.attach_all(store, attachments)
    batch = FileBatch.objects.create(vector_store=store)
    batch.store_files.set(store_files)
    return batch


def cancel_batch(batch: FileBatch) -> None:
    """What is not finished becomes `cancelled`; whoever works on it writes nothing more. A finished batch stays."""
    with transaction.atomic():
        waiting = VectorStoreFile.objects.filter(batches=batch, status=FileStatus.IN_PROGRESS)
        stopped = list(waiting.values_list("pk", flat=True))
        if not stopped:
            return
        waiting.update(status=FileStatus.CANCELLED, claimed_until=None, epoch=F("epoch") + 1)
        batch.cancelled_at = now()
        batch.save(update_fields=["cancelled_at"])
        passages_of = VectorStoreFile.objects.filter(pk__in=stopped, status=FileStatus.CANCELLED)
        # No search shows them any more: it need not be part of what is asked for, nor make it fail.
        transaction.on_commit(partial(stores.forget_passages, passages_of), robust=True)
