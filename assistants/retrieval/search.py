"""Ranked passages for a question (contract 5.6, file_search): full text first, the file's name as a second voice.

Scores are 0 to 1 and depend on the question and the passage rather than on how much else is stored:

    text  = share of the question's words that the passage holds × its BM25 weight ÷ the best weight of this answer
    name  = share of the question's words that the file's name holds
    score = 1 − (1 − text) × (1 − NAME_WEIGHT × name)

So a passage that holds every word and ranks first scores 1; a file that is asked for by its name is found even where
no passage repeats it. Each part only raises the score. A file that is in two of the stores is found twice (10.9).
"""

from __future__ import annotations

import os.path
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q, QuerySet

from assistants.models import Chunk, FileStatus, VectorStoreFile

from . import index
from .condition import Filter, holds
from .words import pairs_of, terms_of, words_of

CANDIDATES = 100
"""How many chunks are weighed closely; the index chooses them by BM25 alone."""
NAMED_FILES_MAX = 20
NAME_WEIGHT = 0.5


@dataclass(frozen=True, slots=True)
class Ranking:
    """How a score came about: what the two rankers, of texts and of names, said of a passage. All from 0 to 1."""

    coverage: float
    """Share of the question's words that the passage holds."""
    weight: float
    """Its BM25 weight ÷ the best weight of this answer."""
    named: float
    """Share of the question's words that the file's name holds."""

    @property
    def text(self) -> float:
        return self.coverage * self.weight

    @property
    def name(self) -> float:
        return NAME_WEIGHT * self.named

    @property
    def score(self) -> float:
        return 1 - (1 - self.text) * (1 - self.name)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a file. `score` 0 to 1, `position` counts the file's passages from 0, `attributes` as attached."""

    file_id: str
    filename: str
    store_id: str
    text: str
    score: float
    attributes: Mapping[str, Any]
    position: int
    ranking: Ranking


def search(
    store_ids: Sequence[str],
    query: str,
    *,
    limit: int = 20,
    score_threshold: float = 0.0,
    condition: Filter | None = None,
) -> list[Passage]:
    """`search_together` for one query."""
    return search_together(store_ids, [query], limit=limit, score_threshold=score_threshold, condition=condition)


def search_together(
    store_ids: Sequence[str],
    queries: Sequence[str],
    *,
    limit: int,
    score_threshold: float = 0.0,
    condition: Filter | None = None,
) -> list[Passage]:
    """The best passages of completed files in these stores for any of the queries, best first.

    One that several find counts with its best score; any text is a legal query. `condition` is what the files'
    attributes must meet. The caller answers for the stores: they must belong to the request's project.
    """
    files = VectorStoreFile.objects.filter(vector_store__in=store_ids, status=FileStatus.COMPLETED).order_by()
    if condition is not None:
        described = files.values_list("pk", "attributes")
        files = files.filter(pk__in=[pk for pk, attributes in described if holds(condition, attributes)])
    best: dict[tuple[str, str, int], Passage] = {}
    for query in queries:
        for passage in passages_of(files, query):
            place = (passage.store_id, passage.file_id, passage.position)
            if passage.score >= score_threshold and (place not in best or best[place].score < passage.score):
                best[place] = passage
    return sorted(best.values(), key=rank)[:limit]


def passages_of(files: QuerySet[VectorStoreFile], query: str) -> list[Passage]:
    """The candidates for one query, in no order."""
    terms = terms_of(query)
    if not terms:
        return []
    phrases = [(term,) for term in terms] + pairs_of(query)
    weights = index.best_matches(files, phrases, CANDIDATES)
    coverage = shares({term: index.holders((term,), weights) for term in terms})
    named = named_files(files, terms)
    best = max(weights.values(), default=1.0)

    passages = []
    for chunk in chunks_of(weights, named):
        store_file = chunk.store_file
        ranking = Ranking(coverage.get(chunk.pk, 0.0), weights.get(chunk.pk, 0.0) / best, named.get(store_file.pk, 0.0))
        passages.append(
            Passage(
                file_id=store_file.file_id,
                filename=store_file.file.filename,
                store_id=store_file.vector_store_id,
                text=chunk.text.strip(),
                score=round(ranking.score, 4),
                attributes=store_file.attributes,
                position=chunk.position,
                ranking=ranking,
            )
        )
    return passages


def rewritten(query: str) -> str:
    """The query as it is looked for: its telling words, without the question around them."""
    return " ".join(terms_of(query)) or query


def rank(passage: Passage) -> tuple[float, str, int, str]:
    """Best first; what is equal stays in the order of its files."""
    return (-passage.score, passage.filename, passage.position, passage.store_id)


def shares(holders: Mapping[str, set[int]]) -> dict[int, float]:
    """Id → share of the terms that name it."""
    counts: dict[int, int] = {}
    for ids in holders.values():
        for id in ids:
            counts[id] = counts.get(id, 0) + 1
    return {id: count / len(holders) for id, count in counts.items()}


def named_files(files: QuerySet[VectorStoreFile], terms: Sequence[str]) -> dict[int, float]:
    """Store file → share of the terms that its file's name holds, for those of `files` that are named best."""
    mentions = Q()
    for term in terms:
        mentions |= Q(file__filename__icontains=singular(term))
    rows = files.filter(mentions).values_list("pk", "file__filename")
    wanted = {singular(term) for term in terms}
    found = {}
    for pk, filename in rows:
        stem, _ = os.path.splitext(filename)
        hits = wanted & {singular(word) for word in words_of(stem)}
        if hits:
            found[pk] = len(hits) / len(wanted)
    return dict(sorted(found.items(), key=lambda item: -item[1])[:NAMED_FILES_MAX])


def singular(word: str) -> str:
    """Rough, for names only; the text index has a real stemmer."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def chunks_of(weights: Mapping[int, float], named: Mapping[int, float]) -> list[Chunk]:
    """The chunks that matched, and the first one of each file that is asked for by name."""
    wanted = Q(pk__in=list(weights)) | Q(store_file_id__in=list(named), position=0)
    return list(Chunk.objects.filter(wanted).select_related("store_file__file").order_by())
