"""Two ways to look into a vector store: a question, with each ranker's word on the answers, and a file's passages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import orjson
from django.contrib.admin.utils import quote
from django.http import Http404, HttpRequest
from django.urls import reverse
from rest_framework.exceptions import ValidationError

from assistants import stores
from assistants.errors import ApiError, from_validation
from assistants.masking import masked
from assistants.models import File, VectorStore, VectorStoreFile
from assistants.parsers import parse_value
from assistants.retrieval.search import NAME_WEIGHT, Passage, search
from assistants.retrieval.words import terms_of
from assistants.serializers.search import SearchInput
from assistants.tokens import count_tokens

from .content import may_read
from .file import named_store
from .markup import badge, error_in_words, link, page_of
from .passages import PASSAGES_PER_PAGE, passages_of, total_of

RESULTS = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage as the search page shows it. `below`: under the threshold, so that nobody else would see it."""

    rank: int
    passage: Passage
    link: str
    place: str
    tokens: int
    below: bool

    @property
    def scores(self) -> list[tuple[str, float, str]]:
        """Each ranker's word for it: name, score, and where that comes from."""
        ranking = self.passage.ranking
        return [
            ("Final", self.passage.score, "1 − (1 − text) × (1 − name)"),
            (
                "Text",
                ranking.text,
                f"{ranking.coverage:.0%} of the words × {ranking.weight:.2f} of the best BM25 weight",
            ),
            ("Name", ranking.name, f"{ranking.named:.0%} of the words in the file's name × {NAME_WEIGHT}"),
        ]


def passages_context(request: HttpRequest, store: VectorStore, file_id: str) -> dict[str, Any]:
    row = VectorStoreFile.objects.filter(vector_store=store, file=file_id).select_related("file").first()
    if row is None:
        raise Http404
    asked = request.GET.get("p", "1")
    number = max(1, int(asked)) if asked.isdecimal() and len(asked) < 7 else 1
    total = total_of(row.pk) if row.status == "completed" else 0
    last = max(1, -(-total // PASSAGES_PER_PAGE))
    number = min(number, last)
    readable = may_read(request) and total
    return {
        "store": store,
        "trail": [(page_of(VectorStore, store.pk), named_store(store))],
        "row": row,
        "file_link": link(File, row.file_id, row.file.filename),
        "state": badge(row.status),
        "error": error_in_words(row.last_error),
        "passages": passages_of(row.pk, (number - 1) * PASSAGES_PER_PAGE, PASSAGES_PER_PAGE) if readable else [],
        "total": total,
        "number": number,
        "last": last,
        "previous": number - 1,
        "next": number + 1 if number < last else 0,
    }


def search_context(request: HttpRequest, store: VectorStore) -> dict[str, Any]:
    """The form as it was filled in, and what it finds. Who may not read content asks nothing: answers tell of texts."""
    asked = {name: request.GET.get(name, "") for name in ("q", "filters", "limit", "threshold")}
    context: dict[str, Any] = {
        "store": store,
        "trail": [(page_of(VectorStore, store.pk), named_store(store))],
        "asked": {**asked, "limit": asked["limit"] or str(RESULTS), "threshold": asked["threshold"] or "0"},
        "searched": False,
        "NAME_WEIGHT": NAME_WEIGHT,
    }
    if not may_read(request) or not asked["q"].strip():
        return context
    try:
        wanted = wanted_of(asked)
        stores.refuse_expired(store)
    except (ApiError, ValidationError) as error:
        fault = from_validation(error) if isinstance(error, ValidationError) else error
        return {**context, "error": str(fault)}
    threshold = (wanted.get("ranking_options") or {}).get("score_threshold") or 0.0
    (query,) = wanted["query"]
    passages = search(
        [store.pk], query, limit=wanted.get("max_num_results") or RESULTS, condition=wanted.get("filters")
    )
    hits = [hit_of(rank, passage, threshold) for rank, passage in enumerate(passages, 1)]
    above = [hit for hit in hits if not hit.below]
    return {
        **context,
        "searched": True,
        "words": terms_of(query),
        "above": above,
        "below": hits[len(above) :],
        "threshold": threshold,
    }


def wanted_of(asked: dict[str, str]) -> dict[str, Any]:
    """The form as a request of the API, judged by the API's own serializer (contract 5.5)."""
    body: dict[str, Any] = {"query": asked["q"]}
    if asked["filters"].strip():
        try:
            body["filters"] = parse_value(asked["filters"].encode())
        except orjson.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise ApiError(f"The filters are not JSON: {error.msg} at {place}.") from None
    try:
        if asked["limit"].strip():
            body["max_num_results"] = int(asked["limit"])
        if asked["threshold"].strip():
            body["ranking_options"] = {"score_threshold": orjson.loads(asked["threshold"])}  # JSON has no NaN
    except ValueError:
        raise ApiError("The number of results and the threshold must be numbers.") from None
    return dict(SearchInput().run_validation(body))


def hit_of(rank: int, passage: Passage, threshold: float) -> Hit:
    page = passage.position // PASSAGES_PER_PAGE + 1
    address = reverse("admin:assistants_vectorstore_passages", args=[quote(passage.store_id), quote(passage.file_id)])
    return Hit(
        rank,
        replace(passage, text=masked(passage.text), attributes=masked(passage.attributes)),
        link(File, passage.file_id, passage.filename),
        f"{address}?p={page}#passage-{passage.position + 1}",
        count_tokens(passage.text),
        passage.score < threshold,
    )
