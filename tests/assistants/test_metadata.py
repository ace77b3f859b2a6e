"""Metadata, of every object that has it: sixteen pairs, merged key by key, lost by nobody (contract 1.3, 4.3, 9.2)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from tests.conftest import ApiClient, assert_refused

KINDS = ["assistant", "thread", "message", "run", "vector store"]
QUESTION = {"role": "user", "content": "Hello"}


def make(client: ApiClient, kind: str, **fields: Any) -> str:
    """The path of a fresh object of this kind that can be modified."""
    if kind == "assistant":
        return f"/assistants/{client.make('/assistants', {'model': 'scripted', **fields})['id']}"
    if kind == "vector store":
        return f"/vector_stores/{client.make('/vector_stores', fields)['id']}"
    if kind == "thread":
        return f"/threads/{client.make('/threads', fields)['id']}"
    thread = f"/threads/{client.make('/threads', {'messages': [QUESTION]})['id']}"
    if kind == "message":
        return f"{thread}/messages/{client.make(f'{thread}/messages', {**QUESTION, **fields})['id']}"
    assistant = client.make("/assistants", {"model": "scripted"})["id"]
    run = client.make(f"{thread}/runs", {"assistant_id": assistant, **fields})["id"]
    client.make(f"{thread}/runs/{run}/cancel")
    return f"{thread}/runs/{run}"


def pairs(first: int, last: int) -> dict[str, str]:
    return {f"k{number}": str(number) for number in range(first, last + 1)}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("fields", [{}, {"metadata": None}, {"metadata": {}}])
def test_none_at_all_is_an_empty_map(alice: ApiClient, kind: str, fields: dict[str, Any]) -> None:
    assert alice.get(make(alice, kind, **fields)).json()["metadata"] == {}


def test_a_modification_merges(alice: ApiClient, kind: str) -> None:
    path = make(alice, kind, metadata={"a": "1", "b": "2"})
    assert alice.make(path, {"metadata": {"b": "", "c": "4"}})["metadata"] == {"a": "1", "b": "", "c": "4"}
    assert alice.make(path, {"metadata": {}})["metadata"] == {"a": "1", "b": "", "c": "4"}
    assert alice.make(path, {})["metadata"] == {"a": "1", "b": "", "c": "4"}
    assert alice.make(path)["metadata"] == {"a": "1", "b": "", "c": "4"}
    assert alice.get(path).json()["metadata"] == {"a": "1", "b": "", "c": "4"}
    assert alice.make(path, {"metadata": None})["metadata"] == {}
    assert alice.get(path).json()["metadata"] == {}


def test_sixteen_pairs_are_all(alice: ApiClient, kind: str) -> None:
    path = make(alice, kind, metadata=pairs(1, 15))
    assert alice.make(path, {"metadata": pairs(15, 16)})["metadata"] == pairs(1, 16)
    answer = alice.post(path, {"metadata": pairs(17, 18)})
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "Invalid 'metadata': too many properties. Expected an object with at most 16 properties,"
        " but got an object with 18 properties instead.",
        "type": "invalid_request_error",
        "param": "metadata",
        "code": "object_above_max_properties",
    }
    assert alice.get(path).json()["metadata"] == pairs(1, 16)


@pytest.mark.parametrize(
    ("metadata", "message", "param", "code"),
    [
        (
            pairs(1, 17),
            "Invalid 'metadata': too many properties. Expected an object with at most 16 properties,"
            " but got an object with 17 properties instead.",
            "metadata",
            "object_above_max_properties",
        ),
        (
            {"k" * 65: "v"},
            f"Invalid property name in 'metadata': '{'k' * 65}' is too long. Expected a string with maximum length 64,"
            " but got a string with length 65 instead.",
            "metadata." + "k" * 65,
            "property_name_above_max_length",
        ),
        (
            {"k": "v" * 600},
            "Invalid 'metadata.k': string too long. Expected a string with maximum length 512,"
            " but got a string with length 600 instead.",
            "metadata.k",
            "string_above_max_length",
        ),
        (
            {"k": 1},
            "Invalid type for 'metadata.k': expected a string, but got an integer instead.",
            "metadata.k",
            "invalid_type",
        ),
        (
            {"k": None},
            "Invalid type for 'metadata.k': expected a string, but got null instead.",
            "metadata.k",
            "invalid_type",
        ),
        (
            [],
            "Invalid type for 'metadata': expected an object, but got an array instead.",
            "metadata",
            "invalid_type",
        ),
    ],
)
def test_what_is_refused(alice: ApiClient, kind: str, metadata: Any, message: str, param: str, code: str) -> None:
    path = make(alice, kind, metadata={"a": "1"})
    answer = alice.post(path, {"metadata": metadata})
    assert_refused(answer, message, param, code)
    assert alice.get(path).json()["metadata"] == {"a": "1"}


def test_the_inner_ones_are_named_by_their_path(alice: ApiClient) -> None:
    long = {"metadata": {"k" * 65: "v"}}
    assistant = alice.make("/assistants", {"model": "scripted"})["id"]
    for path, body, place in (
        ("/threads", {"messages": [{**QUESTION, **long}]}, "messages[0]"),
        ("/threads/runs", {"assistant_id": assistant, "thread": long}, "thread"),
        (
            "/threads",
            {"tool_resources": {"file_search": {"vector_stores": [long]}}},
            "tool_resources.file_search.vector_stores[0]",
        ),
    ):
        error = alice.post(path, body).json()["error"]
        assert error["param"] == f"{place}.metadata.{'k' * 65}"
        assert error["message"].startswith(f"Invalid property name in '{place}.metadata': '{'k' * 65}' is too long.")


@pytest.mark.django_db(transaction=True)
def test_many_at_once_lose_nothing(transactional_db: None, alice: ApiClient, kind: str) -> None:
    path = make(alice, kind)

    def add(number: int) -> int:
        try:
            return int(alice.post(path, {"metadata": pairs(number, number)}).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(add, range(1, 17))) == {200}
    assert alice.get(path).json()["metadata"] == pairs(1, 16)
