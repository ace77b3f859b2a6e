"""/vector_stores and the files in them (contract 5.2, 5.3)."""

from __future__ import annotations

from typing import Any, Literal

from django.db import transaction
from django.db.models import QuerySet
from rest_framework.request import Request

from assistants import stores
from assistants.answers import POLL_HEADERS, Answer, Deletion, Page
from assistants.clock import now
from assistants.errors import not_found
from assistants.models import FileStatus, VectorStore, VectorStoreFile
from assistants.pagination import envelope, page, paginate, parse_choice, remember_place
from assistants.retrieval import index
from assistants.retrieval.search import rewritten, search_together
from assistants.rows import hold
from assistants.scopes import Area, within
from assistants.serializers.fields import Enum, merge_metadata
from assistants.serializers.file import deletion_object
from assistants.serializers.search import SearchInput, SearchResultsObject, search_results_object
from assistants.serializers.vector_store import (
    FileContentObject,
    StoreFileChanges,
    StoreFileInput,
    VectorStoreChanges,
    VectorStoreFileObject,
    VectorStoreInput,
    VectorStoreObject,
    file_content_object,
    vector_store_file_object,
    vector_store_object,
)
from assistants.views.resource import ResourceViewSet, takes

SEARCH_RESULTS = 10
"""How many a search gives unless it says otherwise (contract 5.5)."""
FILES_QUERY = {"filter": Enum(*FileStatus.values, required=False)}


def expiry_days(data: dict[str, Any]) -> int | None:
    return (data.get("expires_after") or {}).get("days")


@within(Area.FILES)
class VectorStoreViewSet(ResourceViewSet):
    def list(self, request: Request) -> Answer[Page[VectorStoreObject]]:
        found, has_more = page(stores.stores_of(self.project), request)
        contents = stores.contents_of(found)
        return envelope([vector_store_object(store, contents[store.id]) for store in found], has_more)

    @takes(VectorStoreInput)
    def create(self, request: Request) -> Answer[VectorStoreObject]:
        data = self.body()
        with transaction.atomic():  # the answer counts before anybody has finished a file, and before it is too late
            store = stores.create_store(
                self.project,
                name=data.get("name"),
                description=data.get("description"),
                expires_after_days=expiry_days(data),
                metadata=data.get("metadata"),
                file_ids=data.get("file_ids") or [],
                chunking_strategy=data.get("chunking_strategy"),
            )
            return Answer(vector_store_object(store))

    def retrieve(self, request: Request, vector_store_id: str) -> Answer[VectorStoreObject]:
        return Answer(vector_store_object(stores.find_store(self.project, vector_store_id)))

    @takes(VectorStoreChanges)
    def modify(self, request: Request, vector_store_id: str) -> Answer[VectorStoreObject]:
        data = self.body()
        with transaction.atomic():
            hold(VectorStore.objects.filter(project=self.project, pk=vector_store_id))
            store = stores.find_store(self.project, vector_store_id)
            if "name" in data:
                store.name = data["name"]
            if "expires_after" in data:
                store.expires_after_days = expiry_days(data)
                store.last_active_at = now()  # the days begin today; so an expired store comes back
            if "metadata" in data:
                store.metadata = merge_metadata(store.metadata, data["metadata"])
            store.save(update_fields=["name", "expires_after_days", "last_active_at", "metadata"])
            return Answer(vector_store_object(store))

    @takes(SearchInput, only_reads=True)
    def search(self, request: Request, vector_store_id: str) -> Answer[SearchResultsObject]:
        store = stores.find_store(self.project, vector_store_id)
        data = self.body()
        stores.refuse_expired(store)
        queries = [rewritten(query) for query in data["query"]] if data.get("rewrite_query") else data["query"]
        passages = search_together(
            [store.id],
            queries,
            limit=data.get("max_num_results") or SEARCH_RESULTS,
            score_threshold=(data.get("ranking_options") or {}).get("score_threshold") or 0.0,
            condition=data.get("filters"),
        )
        stores.touch([store.id])
        return Answer(search_results_object(queries, passages))

    def destroy(self, request: Request, vector_store_id: str) -> Answer[Deletion[Literal["vector_store.deleted"]]]:
        store = stores.find_store(self.project, vector_store_id)
        remember_place(request, store)
        stores.delete_store(store)
        return Answer(deletion_object(vector_store_id, "vector_store.deleted"))


def files_page(store_files: QuerySet[VectorStoreFile], request: Request) -> Answer[Page[VectorStoreFileObject]]:
    """The list of a store's or of a batch's files, which a view that `takes(query=FILES_QUERY)` answers."""
    status = parse_choice(request, "filter", tuple(FileStatus.values))
    shown = store_files.filter(status=status) if status else store_files
    return paginate(shown, request, vector_store_file_object, scope=store_files, key="file_id")


@within(Area.FILES)
class VectorStoreFileViewSet(ResourceViewSet):
    def find(self, vector_store_id: str, file_id: str) -> VectorStoreFile:
        store = stores.find_store(self.project, vector_store_id)
        store_file = VectorStoreFile.objects.filter(vector_store=store, file=file_id).first()
        if store_file is None:
            raise not_found("vector store file", file_id)
        return store_file

    def answer(self, store_file: VectorStoreFile) -> Answer[VectorStoreFileObject]:
        return Answer(vector_store_file_object(store_file), headers=POLL_HEADERS)

    @takes(query=FILES_QUERY)
    def list(self, request: Request, vector_store_id: str) -> Answer[Page[VectorStoreFileObject]]:
        store = stores.find_store(self.project, vector_store_id)
        return files_page(VectorStoreFile.objects.filter(vector_store=store), request)

    @takes(StoreFileInput)
    def create(self, request: Request, vector_store_id: str) -> Answer[VectorStoreFileObject]:
        store = stores.find_store(self.project, vector_store_id)
        data = self.body()
        (file,) = stores.find_files(self.project, [data["file_id"]])
        return self.answer(
            stores.attach(
                store, file, chunking_strategy=data.get("chunking_strategy"), attributes=data.get("attributes")
            )
        )

    def retrieve(self, request: Request, vector_store_id: str, file_id: str) -> Answer[VectorStoreFileObject]:
        return self.answer(self.find(vector_store_id, file_id))

    def content(self, request: Request, vector_store_id: str, file_id: str) -> Answer[FileContentObject]:
        """Nothing yet while the file is being read, and nothing of one that could not be."""
        store_file = self.find(vector_store_id, file_id)
        text = index.text_of(store_file.pk) if store_file.status == FileStatus.COMPLETED else ""
        return Answer(file_content_object(text))

    @takes(StoreFileChanges)
    def modify(self, request: Request, vector_store_id: str, file_id: str) -> Answer[VectorStoreFileObject]:
        data = self.body()
        store_file = self.find(vector_store_id, file_id)
        store_file.attributes = data["attributes"] or {}
        store_file.save(update_fields=["attributes"])
        return self.answer(store_file)

    def destroy(
        self, request: Request, vector_store_id: str, file_id: str
    ) -> Answer[Deletion[Literal["vector_store.file.deleted"]]]:
        store_file = self.find(vector_store_id, file_id)
        remember_place(request, store_file)
        stores.detach(store_file)
        return Answer(deletion_object(file_id, "vector_store.file.deleted"))
