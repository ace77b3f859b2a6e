"""Vector stores, their files and batches of files on the wire (contract 5.2–5.4). Searches are in `search.py`."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from assistants import stores
from assistants.clock import unix
from assistants.models import FileBatch, FileStatus, VectorStore, VectorStoreFile
from assistants.serializers.fields import (
    Array,
    ClosedSerializer,
    Enum,
    Id,
    Integer,
    Metadata,
    Pairs,
    String,
    check_attribute_value,
)
from assistants.serializers.refusals import at, refusal
from assistants.serializers.search import ShownPassage
from assistants.serializers.tools import STORE_FILES_MAX, ChunkingStrategy, ShownChunking

NAME_MAX = 256
DESCRIPTION_MAX = 512
BATCH_FILES_MAX = 2_000


class StoreExpiry(ClosedSerializer):
    anchor = Enum("last_active_at")
    days = Integer(min=1, max=365)


class VectorStoreInput(ClosedSerializer):
    name = String(max=NAME_MAX, required=False, allow_null=True)
    description = String(max=DESCRIPTION_MAX, required=False, allow_null=True)
    file_ids = Array(Id("file"), of="strings", max=STORE_FILES_MAX, required=False, allow_null=True)
    expires_after = StoreExpiry(required=False, allow_null=True)
    chunking_strategy = ChunkingStrategy(required=False, allow_null=True)
    metadata = Metadata()


class VectorStoreChanges(ClosedSerializer):
    name = String(max=NAME_MAX, required=False, allow_null=True)
    expires_after = StoreExpiry(required=False, allow_null=True)
    metadata = Metadata()


class StoreFileInput(ClosedSerializer):
    file_id = Id("file")
    chunking_strategy = ChunkingStrategy(required=False, allow_null=True)
    attributes = Pairs(check_attribute_value, required=False, allow_null=True)


class StoreFileChanges(ClosedSerializer):
    attributes = Pairs(check_attribute_value, allow_null=True)


class FileBatchInput(ClosedSerializer):
    """`attributes` and `chunking_strategy` are for `file_ids`; each of `files` has its own (contract 5.4)."""

    file_ids = Array(Id("file"), of="strings", min=1, max=BATCH_FILES_MAX, required=False, allow_null=True)
    files = Array(StoreFileInput(), min=1, max=BATCH_FILES_MAX, required=False, allow_null=True)
    attributes = Pairs(check_attribute_value, required=False, allow_null=True)
    chunking_strategy = ChunkingStrategy(required=False, allow_null=True)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("file_ids") and attrs.get("files"):
            text = "Invalid '{param}': expected one of 'file_ids' or 'files', not both."
            raise at("files", refusal("invalid_value", text))
        if not attrs.get("file_ids") and not attrs.get("files"):
            raise at("file_ids", refusal("missing_required_parameter", "Missing required parameter: '{param}'."))
        return attrs


class FileCounts(TypedDict):
    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


class ShownStoreExpiry(TypedDict):
    anchor: Literal["last_active_at"]
    days: int


class VectorStoreObject(TypedDict):
    id: str
    object: Literal["vector_store"]
    created_at: int
    name: str | None
    description: str | None
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["in_progress", "completed", "expired"]
    expires_after: ShownStoreExpiry | None
    expires_at: int | None
    last_active_at: int
    metadata: dict[str, str]


class StoreFileError(TypedDict):
    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


class VectorStoreFileObject(TypedDict):
    id: str
    object: Literal["vector_store.file"]
    created_at: int
    vector_store_id: str
    status: FileStatus
    usage_bytes: int
    last_error: StoreFileError | None
    chunking_strategy: ShownChunking
    attributes: dict[str, str | float | bool]


class FileBatchObject(TypedDict):
    id: str
    object: Literal["vector_store.file_batch"]
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    file_counts: FileCounts


class FileContentObject(TypedDict):
    object: Literal["vector_store.file_content.page"]
    data: list[ShownPassage]
    has_more: Literal[False]
    next_page: None


def vector_store_object(store: VectorStore, contents: stores.Contents | None = None) -> VectorStoreObject:
    """`contents` where the caller has counted already, as a list does for a whole page."""
    contents = contents or stores.contents_of([store])[store.id]
    expires_at = stores.expires_at(store)
    status: Literal["in_progress", "completed", "expired"]
    if stores.is_expired(store):
        status = "expired"
    elif contents.in_progress:
        status = "in_progress"
    else:
        status = "completed"
    days = store.expires_after_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": unix(store.created_at),
        "name": store.name,
        "description": store.description,
        "usage_bytes": contents.usage_bytes,
        "file_counts": file_counts(contents),
        "status": status,
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": unix(expires_at),
        "last_active_at": unix(store.last_active_at),
        "metadata": store.metadata,
    }


def file_counts(contents: stores.Contents) -> FileCounts:
    return {
        "in_progress": contents.in_progress,
        "completed": contents.completed,
        "failed": contents.failed,
        "cancelled": contents.cancelled,
        "total": contents.total,
    }


def file_batch_object(batch: FileBatch, contents: stores.Contents) -> FileBatchObject:
    """Its status follows from the files': `failed` is a batch of which nothing came in."""
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    if batch.cancelled_at is not None:
        status = "cancelled"
    elif contents.in_progress:
        status = "in_progress"
    else:
        status = "failed" if contents.failed and contents.failed == contents.total else "completed"
    return {
        "id": batch.id,
        "object": "vector_store.file_batch",
        "created_at": unix(batch.created_at),
        "vector_store_id": batch.vector_store_id,
        "status": status,
        "file_counts": file_counts(contents),
    }


def file_content_object(text: str) -> FileContentObject:
    """The parsed text of a file in a store (contract 5.3), in one piece."""
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}] if text else [],
        "has_more": False,
        "next_page": None,
    }


def vector_store_file_object(store_file: VectorStoreFile) -> VectorStoreFileObject:
    return {
        "id": store_file.file_id,
        "object": "vector_store.file",
        "created_at": unix(store_file.created_at),
        "vector_store_id": store_file.vector_store_id,
        "status": FileStatus(store_file.status),
        "usage_bytes": store_file.usage_bytes,
        "last_error": store_file.last_error,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": store_file.max_chunk_size_tokens,
                "chunk_overlap_tokens": store_file.chunk_overlap_tokens,
            },
        },
        "attributes": store_file.attributes,
    }
