"""The full-text index of chunks: what is written, and the two questions that ranking asks of it.

SQLite: FTS5 (migration 0002); its triggers follow the chunk table. PostgreSQL: a generated column of lexemes (migration
0006). So writing rows is all there is to do on either. Words, scores and file names are the business of `search.py`.
"""

from __future__ import annotations

import json
import unicodedata
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
    """Chunk id → weight (> 0, greater is better) of the best `limit` chunks that hold any of the phrases.

    Only chunks of `files`. The weight is BM25 or close to it and has no fixed scale: compare it within one answer only.
    """
    ids = list(files.values_list("pk", flat=True)) if phrases else []
    if not ids:
        return {}
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRES_MATCHES, {"phrases": list(map(_plain, phrases)), "files": ids, "limit": limit})
        else:
            cursor.execute(SQLITE_MATCHES, [" OR ".join(map(_quoted, phrases)), json.dumps(ids), limit])
        return dict(cursor.fetchall())


def holders(phrase: Phrase, chunk_ids: Collection[int]) -> set[int]:
    """Those of the chunks that hold the phrase."""
    if not chunk_ids:
        return set()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(POSTGRES_HOLDERS, [_plain(phrase), list(chunk_ids)])
        else:
            cursor.execute(SQLITE_HOLDERS, [_quoted(phrase), json.dumps(list(chunk_ids))])
        return {row[0] for row in cursor.fetchall()}


SQLITE_MATCHES = """
    SELECT chunk.id, -found.rank
    FROM assistants_chunk_fts found
    JOIN assistants_chunk chunk ON chunk.id = found.rowid
    WHERE assistants_chunk_fts MATCH %s AND chunk.store_file_id IN (SELECT value FROM json_each(%s))
    ORDER BY found.rank, chunk.id
    LIMIT %s
"""

SQLITE_HOLDERS = """
    SELECT rowid FROM assistants_chunk_fts
    WHERE assistants_chunk_fts MATCH %s AND rowid IN (SELECT value FROM json_each(%s))
"""

# PostgreSQL's own rank knows nothing of how rare a word is, and nothing of phrases in an OR. So each phrase is ranked
# alone (occurrences level off, long passages pay: its option 1), times BM25's rarity among the chunks of these files.
POSTGRES_MATCHES = """
    WITH asked AS (
        SELECT DISTINCT phraseto_tsquery('assistants_words', phrase) AS query FROM unnest(%(phrases)s::text[]) phrase
    ), hit AS (
        SELECT chunk.id, asked.query, ts_rank(chunk.words, asked.query, 1)::float8 AS rank
        FROM asked JOIN assistants_chunk chunk ON chunk.words @@ asked.query
        WHERE chunk.store_file_id = ANY(%(files)s::bigint[])
    ), stored AS (
        SELECT count(*)::float8 AS chunks FROM assistants_chunk WHERE store_file_id = ANY(%(files)s::bigint[])
    ), rarity AS (
        SELECT query, ln(1 + (stored.chunks - count(*) + 0.5) / (count(*) + 0.5)) AS factor
        FROM hit CROSS JOIN stored
        GROUP BY query, stored.chunks
    )
    SELECT id, sum(rank * factor) AS weight
    FROM hit JOIN rarity USING (query)
    GROUP BY id
    ORDER BY weight DESC, id
    LIMIT %(limit)s
"""

POSTGRES_HOLDERS = """
    SELECT id FROM assistants_chunk
    WHERE words @@ phraseto_tsquery('assistants_words', %s) AND id = ANY(%s::bigint[])
"""


def _quoted(phrase: Phrase) -> str:
    """A string of FTS5's query language: nothing inside the quotes is an operator."""
    return '"{}"'.format(" ".join(phrase).replace('"', " "))


def _plain(phrase: Phrase) -> str:
    """The phrase as migration 0006 writes words: without marks above letters, apostrophes as spaces."""
    letters = unicodedata.normalize("NFKD", " ".join(phrase))
    return (
        "".join(letter for letter in letters if not "\u0300" <= letter <= "\u036f").replace("’", " ").replace("'", " ")
    )
