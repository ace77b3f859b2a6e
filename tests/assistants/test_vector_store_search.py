"""POST /vector_stores/{id}/search: what it answers, filters, options, refusals, and whose it is (contract 5.5)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from assistants.clock import now
from assistants.models import File, FileStatus, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from tests.conftest import ApiClient, assert_refused

LINES = ["High tide comes twice a day.\n\n", "The harbour master keeps the tide tables.\n\n", "Soup of the day."]


def put(
    client: ApiClient, store_id: str, name: str, lines: Sequence[str], attributes: dict[str, Any] | None = None
) -> str:
    """The id of a file that is in the store and searchable."""
    file = File.objects.create(project=client.project, filename=name, purpose="assistants")
    held = VectorStoreFile.objects.create(
        vector_store_id=store_id, file=file, status=FileStatus.COMPLETED, attributes=attributes or {}
    )
    index.add_passages(held.pk, 0, map(Slice, lines))
    return file.pk


@pytest.fixture
def store(alice: ApiClient) -> str:
    return str(alice.make("/vector_stores")["id"])


def test_the_answer(alice: ApiClient, store: str) -> None:
    file_id = put(alice, store, "tides.txt", LINES, {"team": "north"})
    answer = alice.make(f"/vector_stores/{store}/search", {"query": "Who keeps the tide tables?"})
    first, second = answer.pop("data")
    assert answer == {
        "object": "vector_store.search_results.page",
        "search_query": ["Who keeps the tide tables?"],
        "has_more": False,
        "next_page": None,
    }
    assert 0 < second["score"] < first["score"] <= 1
    assert first == {
        "file_id": file_id,
        "filename": "tides.txt",
        "score": first["score"],
        "attributes": {"team": "north"},
        "content": [{"type": "text", "text": LINES[1].strip()}],
    }


def test_several_queries_are_one_search(alice: ApiClient, store: str) -> None:
    put(alice, store, "tides.txt", LINES)
    answer = alice.make(f"/vector_stores/{store}/search", {"query": ["tide tables", "soup", "tide"]})
    assert answer["search_query"] == ["tide tables", "soup", "tide"]
    texts = [result["content"][0]["text"] for result in answer["data"]]
    assert sorted(texts) == sorted(line.strip() for line in LINES)
    scores = [result["score"] for result in answer["data"]]
    assert scores == sorted(scores, reverse=True)


def test_options(alice: ApiClient, store: str) -> None:
    put(alice, store, "days.txt", [f"Day number {number} of the voyage." for number in range(60)])
    path = f"/vector_stores/{store}/search"
    assert len(alice.make(path, {"query": "voyage"})["data"]) == 10
    assert len(alice.make(path, {"query": ["voyage", "day"], "max_num_results": 1})["data"]) == 1
    assert len(alice.make(path, {"query": "voyage", "max_num_results": 50})["data"]) == 50
    strict = {"ranker": "default-2024-11-15", "score_threshold": 0.9}
    found = alice.make(path, {"query": "voyage day 33", "max_num_results": 50, "ranking_options": strict})["data"]
    assert [result["content"][0]["text"] for result in found] == ["Day number 33 of the voyage."]
    for ranker in ("none", "auto"):
        assert alice.make(path, {"query": "voyage", "ranking_options": {"ranker": ranker}})["data"]


def test_a_rewritten_query_is_shown(alice: ApiClient, store: str) -> None:
    put(alice, store, "tides.txt", LINES)
    body = {"query": "Could you tell me who keeps the tide tables?", "rewrite_query": True}
    answer = alice.make(f"/vector_stores/{store}/search", body)
    assert answer["search_query"] == ["keeps tide tables"]
    assert answer["data"][0]["content"][0]["text"] == LINES[1].strip()
    assert alice.make(f"/vector_stores/{store}/search", {"query": "?", "rewrite_query": True})["search_query"] == ["?"]


FILES: dict[str, dict[str, Any]] = {
    "a": {"team": "north", "year": 2023, "open": True},
    "b": {"team": "north", "year": 2024.5, "open": False},
    "c": {"team": "south", "year": 2025, "open": True},
    "d": {},
    "e": {"team": 1, "year": "2025", "open": "yes"},
}


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (None, "abcde"),
        ({"type": "eq", "key": "team", "value": "north"}, "ab"),
        ({"type": "eq", "key": "year", "value": 2025.0}, "c"),
        ({"type": "eq", "key": "open", "value": True}, "ac"),
        ({"type": "eq", "key": "open", "value": 1}, ""),
        ({"type": "eq", "key": "team", "value": 1}, "e"),
        ({"type": "ne", "key": "team", "value": "north"}, "cde"),
        ({"type": "gt", "key": "year", "value": 2023}, "bc"),
        ({"type": "gte", "key": "year", "value": 2023}, "abc"),
        ({"type": "lt", "key": "year", "value": 2024.5}, "a"),
        ({"type": "lte", "key": "year", "value": 2024.5}, "ab"),
        ({"type": "gt", "key": "year", "value": "2024"}, "e"),
        ({"type": "lt", "key": "team", "value": "p"}, "ab"),
        ({"type": "in", "key": "team", "value": ["south", 1]}, "ce"),
        ({"type": "in", "key": "team", "value": []}, ""),
        ({"type": "nin", "key": "team", "value": ["south", 1]}, "abd"),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "eq", "key": "open", "value": True},
                    {
                        "type": "or",
                        "filters": [
                            {"type": "eq", "key": "team", "value": "south"},
                            {"type": "lt", "key": "year", "value": 2020},
                        ],
                    },
                ],
            },
            "c",
        ),
        ({"type": "or", "filters": [{"type": "eq", "key": "nobody's", "value": "x"}]}, ""),
    ],
)
def test_filters(alice: ApiClient, store: str, filters: dict[str, Any] | None, expected: str) -> None:
    for name, attributes in FILES.items():
        put(alice, store, f"{name}.txt", ["The tide."], attributes)
    found = alice.make(f"/vector_stores/{store}/search", {"query": "tide", "filters": filters})["data"]
    assert "".join(sorted(result["filename"][0] for result in found)) == expected


def test_a_filter_also_holds_for_files_found_by_name(alice: ApiClient, store: str) -> None:
    put(alice, store, "tides.txt", ["Nothing of it."], {"team": "south"})
    filters = {"type": "eq", "key": "team", "value": "north"}
    assert alice.make(f"/vector_stores/{store}/search", {"query": "tides", "filters": filters})["data"] == []
    assert alice.make(f"/vector_stores/{store}/search", {"query": "tides"})["data"] != []


def test_few_files_are_found_among_many_better_ones(alice: ApiClient, store: str) -> None:
    put(alice, store, "many.txt", ["tide " * 5] * 300)
    wanted = put(alice, store, "one.txt", ["A long and rather dull line in which some tide is said to come."], {"x": 1})
    filters = {"type": "eq", "key": "x", "value": 1}
    found = alice.make(f"/vector_stores/{store}/search", {"query": "tide", "filters": filters})["data"]
    assert [result["file_id"] for result in found] == [wanted]


def nested(depth: int) -> dict[str, Any]:
    filter: dict[str, Any] = {"type": "eq", "key": "k", "value": "v"}
    for _ in range(depth - 1):
        filter = {"type": "and", "filters": [filter]}
    return filter


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        ({}, "Missing required parameter: 'query'.", "query", "missing_required_parameter"),
        (
            {"query": 1},
            "Invalid type for 'query': expected one of a string or array of strings, but got an integer instead.",
            "query",
            "invalid_type",
        ),
        (
            {"query": ["a", None]},
            "Invalid type for 'query[1]': expected a string, but got null instead.",
            "query[1]",
            "invalid_type",
        ),
        (
            {"query": []},
            "Invalid 'query': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "query",
            "empty_array",
        ),
        (
            {"query": ""},
            "Invalid 'query': empty string. Expected a string with minimum length 1, but got an empty string instead.",
            "query",
            "empty_string",
        ),
        (
            {"query": "q", "max_num_results": 51},
            "Invalid 'max_num_results': integer above maximum value. Expected a value <= 50, but got 51 instead.",
            "max_num_results",
            "integer_above_max_value",
        ),
        (
            {"query": "q", "ranking_options": {"ranker": "best"}},
            "Invalid value: 'best'. Supported values are: 'none', 'auto', and 'default-2024-11-15'.",
            "ranking_options.ranker",
            "invalid_value",
        ),
        (
            {"query": "q", "filters": {"type": "like", "key": "k", "value": "v"}},
            "Invalid value: 'like'. Supported values are: 'eq', 'ne', 'gt', 'gte', 'lt', 'lte', 'in', 'nin', 'and',"
            " and 'or'.",
            "filters.type",
            "invalid_value",
        ),
        (
            {"query": "q", "filters": {"type": "eq", "value": "v"}},
            "Missing required parameter: 'filters.key'.",
            "filters.key",
            "missing_required_parameter",
        ),
        (
            {"query": "q", "filters": {"type": "eq", "key": "k", "value": ["v"]}},
            "Invalid type for 'filters.value': expected one of a string, decimal, or boolean, but got an array"
            " instead.",
            "filters.value",
            "invalid_type",
        ),
        (
            {"query": "q", "filters": {"type": "and", "filters": [{"type": "gt", "key": "k", "value": True}]}},
            "Invalid type for 'filters.filters[0].value': expected one of a string or decimal, but got a boolean"
            " instead.",
            "filters.filters[0].value",
            "invalid_type",
        ),
        (
            {"query": "q", "filters": {"type": "in", "key": "k", "value": "v"}},
            "Invalid type for 'filters.value': expected an array of strings, decimals, or booleans, but got a string"
            " instead.",
            "filters.value",
            "invalid_type",
        ),
        (
            {"query": "q", "filters": {"type": "or", "filters": []}},
            "Invalid 'filters.filters': empty array. Expected an array with minimum length 1, but got an empty array"
            " instead.",
            "filters.filters",
            "empty_array",
        ),
        (
            {"query": "q", "filters": nested(11)},
            "Invalid 'filters': nested too deeply. Expected at most 10 levels of filters.",
            "filters",
            "invalid_value",
        ),
        (
            {"query": "q", "filters": {"type": "or", "filters": [{"type": "eq", "key": "k", "value": 1}] * 512}},
            "Invalid 'filters': too many comparisons. Expected at most 512 filters and values, but got 513 instead.",
            "filters",
            "invalid_value",
        ),
        (
            {"query": "q", "filters": {"type": "in", "key": "k", "value": ["v"] * 512}},
            "Invalid 'filters': too many comparisons. Expected at most 512 filters and values, but got 513 instead.",
            "filters",
            "invalid_value",
        ),
        ({"query": "q", "limit": 1}, "Unknown parameter: 'limit'.", "limit", "unknown_parameter"),
    ],
)
def test_refused(alice: ApiClient, store: str, body: dict[str, Any], message: str, param: str, code: str) -> None:
    answer = alice.post(f"/vector_stores/{store}/search", body)
    assert_refused(answer, message, param, code)


def test_null_options_are_absent_ones(alice: ApiClient, store: str) -> None:
    options = ("max_num_results", "rewrite_query", "filters", "ranking_options")
    assert alice.make(f"/vector_stores/{store}/search", {"query": "q", **dict.fromkeys(options)})["data"] == []
    ranking = {"ranker": None, "score_threshold": None}
    assert alice.make(f"/vector_stores/{store}/search", {"query": "q", "ranking_options": ranking})["data"] == []


def test_ten_levels_are_fine(alice: ApiClient, store: str) -> None:
    assert alice.make(f"/vector_stores/{store}/search", {"query": "q", "filters": nested(10)})["data"] == []


def test_a_search_is_a_use_of_the_store(alice: ApiClient, store: str) -> None:
    held = VectorStore.objects.filter(pk=store)
    held.update(expires_after_days=7, last_active_at=now() - timedelta(days=6))
    alice.make(f"/vector_stores/{store}/search", {"query": "tide"})
    assert held.get().last_active_at > now() - timedelta(minutes=1)
    held.update(last_active_at=now() - timedelta(days=8))
    answer = alice.post(f"/vector_stores/{store}/search", {"query": "tide"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"Vector store {store} has expired."


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient, store: str) -> None:
    put(alice, store, "tides.txt", LINES)
    body = {"query": "tide"}
    assert len(bob.make(f"/vector_stores/{store}/search", body)["data"]) == 2
    answer = charlie.post(f"/vector_stores/{store}/search", body)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No vector store found with id '{store}'."
    mine = charlie.make("/vector_stores")["id"]
    assert charlie.make(f"/vector_stores/{mine}/search", body)["data"] == []
