"""The full-text index of chunks: what is written, and the two questions that ranking asks of it.

SQLite: FTS5 (migration 0002); its triggers follow the chunk table, so writing rows is all there is to do. PostgreSQL
joins behind the same functions. Words, scores and file names are the business of `search.py`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from django.db import connection
from django.db.models import QuerySet

from assistants.models import Chunk, VectorStoreFile
from assistants.retrieval.chunk import Slice

Phrase = tuple[str, ...]
"""Words that stand side by side. Letters and digits only: the index is free to split or stem each."""


def add_passages(store_file_id: int, first_position: int, passages: Iterable[Slice]) -> int:
    """Writes passages of a file, numbered from `first_position`; returns how many. In the caller's transaction."""
    chunks = [
        Chunk(
            store_file_id=store_file_id,
            position=first_position + offset,
            text=passage.text,
            repeated=passage.repeated,
        )
        for offset, passage in enumerate(passages)
    ]
    Chunk.objects.bulk_create(chunks, batch_size=100)
    return len(chunks)


def remove_passages(store_file_id: int, limit: int) -> int:
    """Removes up to `limit` passages of a file and returns how many. In the caller's transaction, so keep it short."""
    doomed = list(Chunk.objects.filter(store_file_id=store_file_id).values_list("pk", flat=True)[:limit])
    Chunk.objects.filter(pk__in=doomed).delete()
    return len(doomed)


def text_of(store_file_id: int) -> str:
    """The whole text of a file, put together again from its passages."""
    chunks = Chunk.objects.filter(store_file_id=store_file_id).order_by("position").values_list("text", "repeated")
    return "".join(text[repeated:] for text, repeated in chunks)


def best_matches(files: QuerySet[VectorStoreFile], phrases: Sequence[Phrase], limit: int) -> dict[int, float]:
    """Chunk id → BM25 weight (> 0, greater is better) of the best `limit` chunks that hold any of the phrases.

    Only chunks of `files`. The weight has no fixed scale: compare it within one answer only.
    """
    ids = list(files.values_list("pk", flat=True)) if phrases else []
    if not ids:
        return {}
    _require_sqlite()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT chunk.id, -found.rank
            FROM assistants_chunk_fts found
            JOIN assistants_chunk chunk ON chunk.id = found.rowid
            WHERE assistants_chunk_fts MATCH %s AND chunk.store_file_id IN (SELECT value FROM json_each(%s))
            ORDER BY found.rank, chunk.id
            LIMIT %s
            """,
            [" OR ".join(map(_quoted, phrases)), json.dumps(ids), limit],
        )
        return dict(cursor.fetchall())


def holders(phrase: Phrase, chunk_ids: Collection[int]) -> set[int]:
    """Those of the chunks that hold the phrase."""
    if not chunk_ids:
        return set()
    _require_sqlite()
    marks = ", ".join(["%s"] * len(chunk_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT rowid FROM assistants_chunk_fts WHERE assistants_chunk_fts MATCH %s AND rowid IN ({marks})",
            [_quoted(phrase), *chunk_ids],
        )
        return {row[0] for row in cursor.fetchall()}


def _quoted(phrase: Phrase) -> str:
    """A string of FTS5's query language: nothing inside the quotes is an operator."""
    return '"{}"'.format(" ".join(phrase).replace('"', " "))


def _require_sqlite() -> None:
    if connection.vendor != "sqlite":
        raise NotImplementedError(f"file_search has no full-text index on {connection.vendor} yet")
