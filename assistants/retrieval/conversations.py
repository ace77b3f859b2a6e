"""Threads by what was said in them: what is noted of titles and messages, and which threads hold the words of a query.

SQLite: FTS5; PostgreSQL: a generated column of lexemes; both follow the rows of ThreadText (migration 0010), which are
written in the transaction of what they repeat. Passages of files are the business of `index.py` and `search.py`.

A text matches if it holds every word of the query; a word stands for all that begin like it. So an answer to half a
word is one to the whole, and no language needs a stemmer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import TypedDict

from django.db import connection

from assistants.models import Message, MessageStatus, Project, Thread, ThreadText

CHARACTERS_MAX = 50_000
"""What is noted of one message. Longer ones are found by their beginning."""
QUERY_CHARACTERS_MAX = 256
WORDS_MAX = 8
MATCHES_MAX = 5_000
"""How many texts of a project one search looks at, newest first: a query that everything matches costs no more."""
SNIPPET_CHARACTERS = 160
LEAD = 40
"""Characters of a snippet before its first hit."""

WORD = re.compile(r"[^\W_]+")
MARKER = re.compile(r"【[^】]{0,80}】")


class ThreadMatch(TypedDict):
    """Why a search found a thread: in which message, or its title if that is null, and the words around the hit."""

    message_id: str | None
    snippet: str


# What is noted. Each of these is called in the transaction that changes what it repeats. ------------------------------


def note_title(thread: Thread) -> None:
    """The title of a thread as its metadata has it now."""
    title = searchable(thread.metadata.get("title") or "")
    if title:
        ThreadText.objects.update_or_create(thread=thread, message_id=None, defaults={"text": title})
    else:
        ThreadText.objects.filter(thread=thread, message_id=None).delete()


def note_messages(messages: Iterable[Message]) -> None:
    """Messages that were not noted before. Those that are not finished, or hold no text, are passed over."""
    rows = [
        ThreadText(thread_id=message.thread_id, message_id=message.pk, text=text)
        for message in messages
        if message.status != MessageStatus.IN_PROGRESS and not message.superseded
        if (text := searchable(message.text))
    ]
    ThreadText.objects.bulk_create(rows, batch_size=500)


def forget_message(id: str) -> None:
    ThreadText.objects.filter(message_id=id).delete()


def searchable(text: str) -> str:
    """`text` as every database takes it, without the markers of citations; empty where there is nothing to find."""
    return MARKER.sub("", text[:CHARACTERS_MAX]).encode(errors="replace").decode().strip()


# What is found --------------------------------------------------------------------------------------------------------


def search(project: Project, query: str) -> dict[str, int]:
    """Thread → its newest text that matches, for threads of `project`. Any text is a legal query."""
    words = words_of(query)
    if not words:
        return {}
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                POSTGRES_MATCHES, [" & ".join(f"'{plain(word)}':*" for word in words), project.pk, MATCHES_MAX]
            )
        else:
            cursor.execute(SQLITE_MATCHES, [" AND ".join(f'"{word}"*' for word in words), project.pk, MATCHES_MAX])
        return dict(cursor.fetchall())


def matches(texts: Collection[int], query: str) -> dict[str, ThreadMatch]:
    """Thread → what is shown of its match, for these of the texts that `search` found."""
    words = words_of(query)
    return {
        text.thread_id: {"message_id": text.message_id, "snippet": snippet(text.text, words)}
        for text in ThreadText.objects.filter(pk__in=texts)
    }


def words_of(query: str) -> list[str]:
    """The distinct words to look for: letters and digits only, so that none is an operator of a query language."""
    return list(dict.fromkeys(WORD.findall(unicodedata.normalize("NFC", query).lower())))[:WORDS_MAX]


def plain(text: str) -> str:
    """`text` as PostgreSQL's index writes words (migration 0010): without marks above letters."""
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not "\u0300" <= letter <= "\u036f")


def snippet(text: str, words: Sequence[str]) -> str:
    """Some words of `text` around the first that begins like one of `words`."""
    folded = plain(text).lower()
    beginnings = "|".join(re.escape(plain(word)) for word in words)
    hit = re.search(rf"(?<![^\W_])(?:{beginnings})", folded)
    # Letters that are written differently without their marks shift the place; roughly is near enough to be seen.
    place = hit.start() * len(text) // len(folded) if hit else 0
    start = max(0, place - LEAD)
    shown = text[start : start + SNIPPET_CHARACTERS]
    if start > 0:
        shown = "…" + re.sub(r"^\S*\s", "", shown, count=1)
    if start + SNIPPET_CHARACTERS < len(text):
        shown = re.sub(r"\s\S*$", "", shown, count=1) + "…"
    return " ".join(shown.split())


SQLITE_MATCHES = """
    SELECT thread_id, max(id) FROM (
        SELECT text.thread_id, text.id
        FROM assistants_threadtext_fts found
        JOIN assistants_threadtext text ON text.id = found.rowid
        JOIN assistants_thread thread ON thread.id = text.thread_id
        WHERE assistants_threadtext_fts MATCH %s AND thread.project_id = %s
        ORDER BY found.rowid DESC
        LIMIT %s
    ) newest
    GROUP BY thread_id
"""

POSTGRES_MATCHES = """
    SELECT thread_id, max(id) FROM (
        SELECT text.thread_id, text.id
        FROM assistants_threadtext text
        JOIN assistants_thread thread ON thread.id = text.thread_id
        WHERE text.words @@ to_tsquery('pg_catalog.simple', %s) AND thread.project_id = %s
        ORDER BY text.id DESC
        LIMIT %s
    ) newest
    GROUP BY thread_id
"""
