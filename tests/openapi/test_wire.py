"""The guard of all other tests: what the document does not allow does not get past it (tests/wire.py)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from assistants.models import Thread
from tests.conftest import ApiClient
from tests.wire import OutsideTheDocument, check_answer, check_event

THREAD: dict[str, Any] = {
    "id": "thread_a",
    "object": "thread",
    "created_at": 1,
    "metadata": {},
    "tool_resources": {},
}
ERROR = {"error": {"message": "m", "type": "t", "param": None, "code": None}}
HEADERS = {
    "content-type": "application/json",
    "x-request-id": "req_" + "0" * 32,
    "openai-processing-ms": "3",
    "openai-version": "2020-10-01",
    "openai-organization": "kumos",
    "openai-project": "proj_a",
}


def see(
    body: Any, *, path: str = "/v1/threads/thread_a", status: int = 200, headers: dict[str, str] | None = None
) -> None:
    check_answer("GET", path, status, {**HEADERS, **(headers or {})}, orjson.dumps(body))


def test_what_is_described_passes() -> None:
    see(THREAD)
    see(ERROR, status=404)
    check_event("thread.created", orjson.dumps(THREAD).decode())
    check_event("done", "[DONE]")


@pytest.mark.parametrize(
    "change",
    [
        {"color": "red"},
        {"object": "run"},
        {"created_at": 1.5},
        {"created_at": None},
        {"metadata": {"n": 1}},
        {"tool_resources": {"file_search": {}}},
    ],
)
def test_an_extra_or_wrong_key_does_not(change: dict[str, Any]) -> None:
    with pytest.raises(OutsideTheDocument):
        see({**THREAD, **change})
    with pytest.raises(OutsideTheDocument):
        check_event("thread.created", orjson.dumps({**THREAD, **change}).decode())


@pytest.mark.parametrize("key", THREAD)
def test_a_missing_key_does_not(key: str) -> None:
    with pytest.raises(OutsideTheDocument):
        see({name: value for name, value in THREAD.items() if name != key})


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (ERROR, {"status": 409}),
        ({"message": "bare"}, {"status": 404}),
        (THREAD, {"headers": {"content-type": "text/html"}}),
        (THREAD, {"headers": {"x-request-id": "7"}}),
        (THREAD, {"path": "/v1/strings/a"}),
    ],
)
def test_a_status_a_header_or_an_address_that_is_not_described_does_not(body: Any, answer: dict[str, Any]) -> None:
    with pytest.raises(OutsideTheDocument):
        see(body, **answer)


def test_an_event_of_another_name_does_not() -> None:
    with pytest.raises(OutsideTheDocument):
        check_event("thread.knotted", "{}")


def test_the_clients_of_the_tests_ask_it(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    Thread.objects.filter(pk=thread).update(metadata={"n": 1})  # as no client can make it
    with pytest.raises(OutsideTheDocument):
        alice.get(f"/threads/{thread}")
