"""/assistants: the object, its defaults, what a modification leaves, and whose it is (contract 2.2–2.5)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.conftest import ApiClient

DEFAULT_RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}


def test_the_smallest_assistant_has_every_field(alice: ApiClient) -> None:
    before = int(time.time())
    assistant = alice.make("/assistants", {"model": "scripted"})
    assert assistant.pop("id").startswith("asst_")
    assert before <= assistant.pop("created_at") <= time.time()
    assert assistant == {
        "object": "assistant",
        "name": None,
        "description": None,
        "model": "scripted",
        "instructions": None,
        "tools": [],
        "tool_resources": {},
        "metadata": {},
        "temperature": 1.0,
        "top_p": 1.0,
        "response_format": "auto",
        "reasoning_effort": None,
    }


def test_everything_given_comes_back(alice: ApiClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}}
    given = {
        "model": "gpt-4o",
        "name": "Ünïcode ☂",
        "description": "d",
        "instructions": "Be brief.",
        "metadata": {"team": "north"},
        "temperature": 0.5,
        "top_p": 0,
        "response_format": schema,
        "reasoning_effort": "low",
    }
    made = alice.make("/assistants", given)
    read = alice.get(f"/assistants/{made['id']}").json()
    assert read == made
    assert {name: read[name] for name in given} == given


@pytest.mark.parametrize(
    ("tool", "echo", "resources"),
    [
        (
            {"type": "file_search"},
            {"type": "file_search", "file_search": {"ranking_options": DEFAULT_RANKING}},
            {"file_search": {"vector_store_ids": []}},
        ),
        (
            {"type": "file_search", "file_search": {"max_num_results": 5, "ranking_options": {"score_threshold": 0.5}}},
            {
                "type": "file_search",
                "file_search": {
                    "max_num_results": 5,
                    "ranking_options": {**DEFAULT_RANKING, "score_threshold": 0.5},
                },
            },
            {"file_search": {"vector_store_ids": []}},
        ),
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}, {"code_interpreter": {"file_ids": []}}),
        (
            {"type": "function", "function": {"name": "now"}},
            {
                "type": "function",
                "function": {"name": "now", "parameters": {"type": "object", "properties": {}}, "strict": False},
            },
            {},
        ),
    ],
)
def test_tools_are_echoed_with_their_defaults(alice: ApiClient, tool: Any, echo: Any, resources: Any) -> None:
    assistant = alice.make("/assistants", {"model": "m", "tools": [tool]})
    assert assistant["tools"] == [echo]
    assert assistant["tool_resources"] == resources
    again = alice.make("/assistants", {"model": "m", "tools": assistant["tools"]})
    assert again["tools"] == [echo], "an echoed tool is a valid tool"


def test_modify_keeps_what_is_omitted_and_clears_what_is_null(alice: ApiClient) -> None:
    assistant = alice.make(
        "/assistants",
        {
            "model": "m",
            "name": "N",
            "instructions": "I",
            "temperature": 0.2,
            "tools": [{"type": "code_interpreter"}],
            "metadata": {"a": "1", "b": "2"},
        },
    )
    path = f"/assistants/{assistant['id']}"
    changed = alice.make(path, {"name": None, "temperature": None, "metadata": {"b": "3", "c": "4"}, "tools": []})
    assert changed == {
        **assistant,
        "name": None,
        "temperature": 1.0,
        "tools": [],
        "tool_resources": {},
        "metadata": {"a": "1", "b": "3", "c": "4"},
    }
    assert alice.get(path).json() == changed
    assert alice.make(path, {"metadata": None})["metadata"] == {}
    assert alice.make(path) == alice.get(path).json(), "an empty body changes nothing"


def test_merged_metadata_keeps_to_its_limit(alice: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "m", "metadata": {f"k{i}": "v" for i in range(16)}})
    answer = alice.post(f"/assistants/{assistant['id']}", {"metadata": {"one": "more"}})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "object_above_max_properties"


def test_vector_store_helper_makes_a_store_on_creation_only(alice: ApiClient) -> None:
    file_id = alice.make_file()
    wanted = {"file_search": {"vector_stores": [{"file_ids": [file_id], "metadata": {"for": "dragon"}}]}}
    assistant = alice.make("/assistants", {"model": "m", "tools": [{"type": "file_search"}], "tool_resources": wanted})
    (store_id,) = assistant["tool_resources"]["file_search"]["vector_store_ids"]
    store = alice.get(f"/vector_stores/{store_id}").json()
    assert store["file_counts"]["in_progress"] == 1
    assert store["metadata"] == {"for": "dragon"}
    assert store["expires_after"] is None
    answer = alice.post(f"/assistants/{assistant['id']}", {"tool_resources": wanted})
    assert answer.json()["error"]["message"] == "Unknown parameter: 'tool_resources.file_search.vector_stores'."


def test_deleted_is_gone(alice: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "m"})
    path = f"/assistants/{assistant['id']}"
    assert alice.delete(path).json() == {"id": assistant["id"], "object": "assistant.deleted", "deleted": True}
    for answer in (alice.get(path), alice.post(path, {}), alice.delete(path)):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No assistant found with id '{assistant['id']}'."


def test_a_malformed_id_is_a_missing_one(alice: ApiClient) -> None:
    answer = alice.get("/assistants/invalid-assistant-id")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "No assistant found with id 'invalid-assistant-id'."


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "m"})
    path = f"/assistants/{assistant['id']}"
    assert bob.get(path).json() == assistant
    assert [item["id"] for item in bob.get("/assistants").json()["data"]] == [assistant["id"]]
    assert charlie.get("/assistants").json()["data"] == []
    for answer in (charlie.get(path), charlie.post(path, {"name": "mine"}), charlie.delete(path)):
        assert answer.status_code == 404
    assert alice.get(path).json() == assistant


def test_foreign_resources_cannot_be_used(alice: ApiClient, charlie: ApiClient) -> None:
    store = alice.make("/vector_stores", {})
    file_id = alice.make_file()
    for resources in (
        {"file_search": {"vector_store_ids": [store["id"]]}},
        {"code_interpreter": {"file_ids": [file_id]}},
        {"file_search": {"vector_stores": [{"file_ids": [file_id]}]}},
    ):
        body = {"model": "m", "tool_resources": resources}
        assert charlie.post("/assistants", body).status_code == 404
        assert alice.post("/assistants", body).status_code == 200
    assert charlie.get("/vector_stores").json()["data"] == [], "nothing is left of a refused creation"
