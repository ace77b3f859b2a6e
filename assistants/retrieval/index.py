"""The full-text index of chunks: what is written, and the two questions that ranking asks of it.

SQLite: FTS5 (migration 0002); its triggers follow the chunk table, so writing rows is all there is to do. PostgreSQL
joins behind the same functions. Words, scores and file names are the business of `search.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from django.db import connection

from assistants.models import Chunk, FileStatus

Phrase = tuple[str, ...]
"""Words that stand side by side. Letters and digits only: the index is free to split or stem each."""


def add_passages(store_file_id: int, first_position: int, passages: Iterable[str]) -> int:
    """Writes passages of a file, numbered from `first_position`; returns how many. In the caller's transaction."""
    chunks = [
        Chunk(store_file_id=store_file_id, position=first_position + offset, text=passage)
        for offset, passage in enumerate(passages)
    ]
    Chunk.objects.bulk_create(chunks, batch_size=100)
    return len(chunks)


def remove_passages(store_file_id: int, limit: int) -> int:
    """Removes up to `limit` passages of a file and returns how many. In the caller's transaction, so keep it short."""
    doomed = list(Chunk.objects.filter(store_file_id=store_file_id).values_list("pk", flat=True)[:limit])
    Chunk.objects.filter(pk__in=doomed).delete()
    return len(doomed)


def best_matches(store_ids: Collection[str], phrases: Sequence[Phrase], limit: int) -> dict[int, float]:
    """Chunk id → BM25 weight (> 0, greater is better) of the best `limit` chunks that hold any of the phrases.

    Only files that are `completed`. The weight has no fixed scale: compare it within one answer only.
    """
    if not store_ids or not phrases:
        return {}
    _require_sqlite()
    marks = ", ".join(["%s"] * len(store_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT chunk.id, -bm25(assistants_chunk_fts)
            FROM assistants_chunk_fts
            JOIN assistants_chunk chunk ON chunk.id = assistants_chunk_fts.rowid
            JOIN assistants_vectorstorefile store_file ON store_file.id = chunk.store_file_id
            WHERE assistants_chunk_fts MATCH %s
              AND store_file.status = %s AND store_file.vector_store_id IN ({marks})
            ORDER BY bm25(assistants_chunk_fts), chunk.id
            LIMIT %s
            """,
            [" OR ".join(map(_quoted, phrases)), FileStatus.COMPLETED.value, *store_ids, limit],
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
