"""The resources below /v1, without trailing slashes (contract 2.1). Runs add theirs in runs/urls.py."""

from __future__ import annotations

from typing import Any

from django.urls import path

from assistants.views.assistant import AssistantViewSet
from assistants.views.file import FileViewSet
from assistants.views.file_batch import FileBatchViewSet
from assistants.views.message import MessageViewSet
from assistants.views.share import ShareViewSet
from assistants.views.thread import ThreadViewSet
from assistants.views.vector_store import VectorStoreFileViewSet, VectorStoreViewSet

COLLECTION: dict[str, Any] = {"get": "list", "post": "create"}
ITEM: dict[str, Any] = {"get": "retrieve", "post": "modify", "delete": "destroy"}
BATCH = "vector_stores/<str:vector_store_id>/file_batches/<str:batch_id>"

urlpatterns = [
    path("assistants", AssistantViewSet.as_view(COLLECTION)),
    path("assistants/<str:assistant_id>", AssistantViewSet.as_view(ITEM)),
    path("threads", ThreadViewSet.as_view(COLLECTION)),
    path("threads/<str:thread_id>", ThreadViewSet.as_view(ITEM)),
    path("threads/<str:thread_id>/fork", ThreadViewSet.as_view({"post": "fork"})),
    path("threads/<str:thread_id>/messages", MessageViewSet.as_view(COLLECTION)),
    path("threads/<str:thread_id>/messages/<str:message_id>", MessageViewSet.as_view(ITEM)),
    path("threads/<str:thread_id>/shares", ShareViewSet.as_view(COLLECTION)),
    path(
        "threads/<str:thread_id>/shares/<str:share_id>",
        ShareViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
    ),
    path("files", FileViewSet.as_view(COLLECTION)),
    path("files/<str:file_id>", FileViewSet.as_view({"get": "retrieve", "delete": "destroy"})),
    path("files/<str:file_id>/content", FileViewSet.as_view({"get": "content"})),
    path("vector_stores", VectorStoreViewSet.as_view(COLLECTION)),
    path("vector_stores/<str:vector_store_id>", VectorStoreViewSet.as_view(ITEM)),
    path("vector_stores/<str:vector_store_id>/search", VectorStoreViewSet.as_view({"post": "search"})),
    path("vector_stores/<str:vector_store_id>/files", VectorStoreFileViewSet.as_view(COLLECTION)),
    path("vector_stores/<str:vector_store_id>/files/<str:file_id>", VectorStoreFileViewSet.as_view(ITEM)),
    path(
        "vector_stores/<str:vector_store_id>/files/<str:file_id>/content",
        VectorStoreFileViewSet.as_view({"get": "content"}),
    ),
    path("vector_stores/<str:vector_store_id>/file_batches", FileBatchViewSet.as_view({"post": "create"})),
    path(BATCH, FileBatchViewSet.as_view({"get": "retrieve"})),
    path(f"{BATCH}/cancel", FileBatchViewSet.as_view({"post": "cancel"})),
    path(f"{BATCH}/files", FileBatchViewSet.as_view({"get": "files"})),
]
