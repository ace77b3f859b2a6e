"""/vector_stores/{id}/file_batches (contract 5.4)."""

from __future__ import annotations

from django.db import transaction
from rest_framework.request import Request

from assistants import file_batches, stores
from assistants.answers import POLL_HEADERS, Answer, Page
from assistants.models import FileBatch, VectorStoreFile
from assistants.scopes import Area, within
from assistants.serializers.tools import chunk_sizes
from assistants.serializers.vector_store import (
    FileBatchInput,
    FileBatchObject,
    VectorStoreFileObject,
    file_batch_object,
)
from assistants.views.resource import ResourceViewSet, takes
from assistants.views.vector_store import FILES_QUERY, files_page


@within(Area.FILES)
class FileBatchViewSet(ResourceViewSet):
    def find(self, vector_store_id: str, batch_id: str) -> FileBatch:
        return file_batches.find_batch(stores.find_store(self.project, vector_store_id), batch_id)

    def answer(self, batch: FileBatch) -> Answer[FileBatchObject]:
        return Answer(file_batch_object(batch, file_batches.contents_of(batch)), headers=POLL_HEADERS)

    @takes(FileBatchInput)
    def create(self, request: Request, vector_store_id: str) -> Answer[FileBatchObject]:
        store = stores.find_store(self.project, vector_store_id)
        data = self.body()
        wanted = data.get("files") or [{**data, "file_id": id} for id in data["file_ids"]]
        files = stores.find_files(self.project, [one["file_id"] for one in wanted])
        attachments = [
            stores.Attachment(file, *chunk_sizes(one.get("chunking_strategy")), one.get("attributes"))
            for file, one in zip(files, wanted, strict=True)
        ]
        with transaction.atomic():  # the answer counts before anybody has finished a file
            return self.answer(file_batches.create_batch(store, attachments))

    def retrieve(self, request: Request, vector_store_id: str, batch_id: str) -> Answer[FileBatchObject]:
        return self.answer(self.find(vector_store_id, batch_id))

    def cancel(self, request: Request, vector_store_id: str, batch_id: str) -> Answer[FileBatchObject]:
        batch = self.find(vector_store_id, batch_id)
        file_batches.cancel_batch(batch)
        return self.answer(batch)

    @takes(query=FILES_QUERY)
    def files(self, request: Request, vector_store_id: str, batch_id: str) -> Answer[Page[VectorStoreFileObject]]:
        return files_page(VectorStoreFile.objects.filter(batches=self.find(vector_store_id, batch_id)), request)
