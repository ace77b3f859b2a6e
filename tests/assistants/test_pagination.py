"""Pages of every list: nothing repeats, nothing vanishes, whatever was made within one moment (contract 1.4)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistants.models import Assistant
from tests.conftest import ApiClient

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)

ages = st.lists(st.integers(0, 3), max_size=12)
"""Seconds of objects that mostly share them."""


def fill(alice: ApiClient, seconds: list[int]) -> list[str]:
    """Assistants of these ages only; their ids, oldest first."""
    Assistant.objects.all().delete()
    made = [
        Assistant(project=alice.project, model="m", created_at=MOMENT + timedelta(seconds=second)) for second in seconds
    ]
    Assistant.objects.bulk_create(made)
    return [item.id for item in sorted(made, key=lambda item: (item.created_at, item.id))]


def page(alice: ApiClient, **query: Any) -> dict[str, Any]:
    answer = alice.get("/assistants", query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    ids = [item["id"] for item in found["data"]]
    assert (found["first_id"], found["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))
    return {"ids": ids, "has_more": found["has_more"]}


@pytest.mark.parametrize("order", ["asc", "desc"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=ages, limit=st.integers(1, 5))
def test_walking_forwards_meets_each_once(alice: ApiClient, order: str, seconds: list[int], limit: int) -> None:
    expected = fill(alice, seconds)
    walked: list[str] = []
    query: dict[str, Any] = {"limit": limit, "order": order}
    for _ in range(len(expected) + 1):
        found = page(alice, **query)
        walked += found["ids"]
        assert found["has_more"] == (len(walked) < len(expected))
        if not found["has_more"]:
            break
        query["after"] = walked[-1]
    assert walked == (expected if order == "asc" else expected[::-1])


@pytest.mark.parametrize("order", ["asc", "desc"])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=ages.filter(bool), limit=st.integers(1, 5))
def test_walking_backwards_meets_each_once(alice: ApiClient, order: str, seconds: list[int], limit: int) -> None:
    expected = fill(alice, seconds)
    if order == "desc":
        expected.reverse()
    walked = [expected[-1]]
    for _ in expected:
        found = page(alice, limit=limit, order=order, before=walked[0])
        walked = found["ids"] + walked
        assert found["has_more"] == (len(walked) < len(expected))
        if not found["has_more"]:
            break
    assert walked == expected


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=ages.filter(bool), picks=st.tuples(st.integers(0, 11), st.integers(0, 11)))
def test_between_two_cursors(alice: ApiClient, seconds: list[int], picks: tuple[int, int]) -> None:
    expected = fill(alice, seconds)
    first, last = (pick % len(expected) for pick in picks)
    found = page(alice, order="asc", after=expected[first], before=expected[last])
    assert found == {"ids": expected[first + 1 : last], "has_more": False}


def test_what_is_made_meanwhile_moves_nothing(alice: ApiClient) -> None:
    expected = fill(alice, [0, 1, 2, 3])[::-1]
    first = page(alice, limit=2)
    alice.make("/assistants", {"model": "m"})
    second = page(alice, limit=2, after=first["ids"][-1])
    assert first["ids"] + second["ids"] == expected


def test_default_is_twenty_newest_first(alice: ApiClient) -> None:
    expected = fill(alice, list(range(25)))
    assert page(alice) == {"ids": expected[:4:-1], "has_more": True}
    assert page(alice, limit="", order="", after="") == page(alice), "an empty parameter is an absent one"


@pytest.mark.parametrize(
    ("query", "message", "code"),
    [
        (
            {"limit": "101"},
            "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
            "integer_above_max_value",
        ),
        (
            {"limit": "9" * 30},
            "Invalid 'limit': integer above maximum value. Expected a value <= 100,"
            " but got 999999999999999999999999999999 instead.",
            "integer_above_max_value",
        ),
        (
            {"limit": "0"},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got 0 instead.",
            "integer_below_min_value",
        ),
        (
            {"limit": "-5"},
            "Invalid 'limit': integer below minimum value. Expected a value >= 1, but got -5 instead.",
            "integer_below_min_value",
        ),
        (
            {"order": "sideways"},
            "Invalid value: 'sideways'. Supported values are: 'asc' and 'desc'.",
            "invalid_value",
        ),
    ],
)
def test_refused(alice: ApiClient, query: dict[str, str], message: str, code: str) -> None:
    for path in ("/assistants", "/threads", "/vector_stores"):
        answer = alice.get(path, query)
        assert answer.status_code == 400
        (param,) = query
        assert answer.json()["error"] == {
            "message": message,
            "type": "invalid_request_error",
            "param": param,
            "code": code,
        }


@pytest.mark.parametrize("limit", ["ten", "1.5", "1e2", "٣", " 5", "0x10"])
def test_a_limit_that_is_no_integer(alice: ApiClient, limit: str) -> None:
    answer = alice.get("/assistants", {"limit": limit})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_type"


@pytest.mark.parametrize("name", ["after", "before"])
def test_a_foreign_cursor_is_an_unknown_one(alice: ApiClient, charlie: ApiClient, name: str) -> None:
    foreign = alice.make("/assistants", {"model": "m"})["id"]
    answers = [charlie.get("/assistants", {name: cursor}) for cursor in (foreign, "asst_x", "\0")]
    assert [answer.status_code for answer in answers] == [400] * 3
    messages = {answer.json()["error"]["message"].replace(foreign, "asst_x") for answer in answers[:2]}
    assert messages == {f"Invalid '{name}': no object of this list has the ID 'asst_x'."}


def test_another_threads_message_is_no_cursor(alice: ApiClient) -> None:
    message = {"role": "user", "content": "x"}
    threads = [alice.make("/threads", {"messages": [message]})["id"] for _ in range(2)]
    foreign = alice.get(f"/threads/{threads[0]}/messages").json()["first_id"]
    assert alice.get(f"/threads/{threads[1]}/messages", {"after": foreign}).status_code == 400
