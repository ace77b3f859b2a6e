"""Vector stores and their files on the wire (contract 5.2, 5.3)."""

from __future__ import annotations

from typing import Any

from assistants import stores
from assistants.clock import now, unix
from assistants.models import VectorStore, VectorStoreFile
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
from assistants.serializers.tools import STORE_FILES_MAX, ChunkingStrategy

NAME_MAX = 256
DESCRIPTION_MAX = 512


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


def vector_store_object(store: VectorStore, contents: stores.Contents | None = None) -> dict[str, Any]:
    """`contents` where the caller has counted already, as a list does for a whole page."""
    contents = contents or stores.contents_of([store])[store.id]
    expires_at = stores.expires_at(store)
    if expires_at is not None and expires_at <= now():
        status = "expired"
    else:
        status = "in_progress" if contents.in_progress else "completed"
    days = store.expires_after_days
    return {
        "id": store.id,
        "object": "vector_store",
        "created_at": unix(store.created_at),
        "name": store.name,
        "description": store.description,
        "usage_bytes": contents.usage_bytes,
        "file_counts": {
            "in_progress": contents.in_progress,
            "completed": contents.completed,
            "failed": contents.failed,
            "cancelled": contents.cancelled,
            "total": contents.total,
        },
        "status": status,
        "expires_after": None if days is None else {"anchor": "last_active_at", "days": days},
        "expires_at": unix(expires_at),
        "last_active_at": unix(store.last_active_at),
        "metadata": store.metadata,
    }


def vector_store_file_object(store_file: VectorStoreFile) -> dict[str, Any]:
    return {
        "id": store_file.file_id,
        "object": "vector_store.file",
        "created_at": unix(store_file.created_at),
        "vector_store_id": store_file.vector_store_id,
        "status": str(store_file.status),
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
