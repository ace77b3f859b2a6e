"""Versions of an assistant: one for each save that changes something, each of them there to go back to."""

from __future__ import annotations

from typing import Any

import pytest

from assistants import versions
from assistants.errors import ApiError
from assistants.models import Assistant, AssistantVersion, Project
from tests.conftest import ApiClient

FUNCTION = {"type": "function", "function": {"name": "f"}}

pytestmark = pytest.mark.django_db


def kept(id: str) -> list[tuple[int, str, str]]:
    """(number, author, note) of every version, oldest first."""
    return list(
        AssistantVersion.objects.filter(assistant=id).order_by("number").values_list("number", "author", "note")
    )


def test_each_save_through_the_api_is_a_version(alice: ApiClient) -> None:
    id = alice.make("/assistants", {"model": "scripted", "name": "Searcher"})["id"]
    alice.make(f"/assistants/{id}", {"instructions": "Be kind."})
    numbers = [number for number, *_ in kept(id)]
    assert numbers == [1, 2]
    assert all(author.startswith("key “") for _, author, _ in kept(id))
    bodies = AssistantVersion.objects.filter(assistant=id).order_by("number").values_list("body", flat=True)
    assert [(body["name"], body["instructions"]) for body in bodies] == [("Searcher", None), ("Searcher", "Be kind.")]
    assert Assistant.objects.get(pk=id).version == 2


@pytest.mark.parametrize(
    "body",
    [{}, {"name": "Searcher"}, {"temperature": None}, {"tools": []}, {"tool_resources": {"file_search": None}}],
)
def test_a_save_that_changes_nothing_is_none(alice: ApiClient, body: dict[str, object]) -> None:
    id = alice.make("/assistants", {"model": "scripted", "name": "Searcher"})["id"]
    alice.make(f"/assistants/{id}", body)
    assert len(kept(id)) == 1


def test_a_refused_save_is_none(alice: ApiClient) -> None:
    id = alice.make("/assistants", {"model": "scripted"})["id"]
    assert alice.post(f"/assistants/{id}", {"temperature": 3}).status_code == 400
    assert len(kept(id)) == 1


def test_an_empty_list_of_files_is_none() -> None:
    with_tool: dict[str, Any] = {"tool_resources": {"code_interpreter": {"file_ids": []}}}
    assert versions.same(with_tool, {"tool_resources": {}})
    assert not versions.same({"tool_resources": {"code_interpreter": {"file_ids": ["file-1"]}}}, with_tool)


def test_a_run_keeps_the_version_it_used(alice: ApiClient) -> None:
    from runs.models import Run

    id = alice.make("/assistants", {"model": "scripted"})["id"]
    alice.make(f"/assistants/{id}", {"instructions": "Be kind."})
    thread = alice.make("/threads", {})["id"]
    run = alice.make(f"/threads/{thread}/runs", {"assistant_id": id})["id"]
    alice.make(f"/assistants/{id}", {"instructions": "Be brief."})
    assert Run.objects.get(pk=run).assistant_version == 2


def test_rolled_back_it_is_what_it_was(alice: ApiClient) -> None:
    file = alice.make_file()
    store = alice.make("/vector_stores", {})["id"]
    whole = {
        "model": "scripted",
        "name": "Searcher",
        "description": "Of files",
        "instructions": "Two\nlines",
        "tools": [
            {"type": "file_search"},
            {"type": "code_interpreter"},
            {"type": "function", "function": {"name": "f"}},
        ],
        "tool_resources": {
            "file_search": {"vector_store_ids": [store]},
            "code_interpreter": {"file_ids": [file]},
        },
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.1,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
    }
    id = alice.make("/assistants", whole)["id"]
    was = alice.get(f"/assistants/{id}").json()
    emptied = {name: None for name in whole if name != "model"}
    alice.make(f"/assistants/{id}", {**emptied, "model": "other"})
    assert alice.get(f"/assistants/{id}").json() != was
    version = versions.roll_back(Assistant.objects.get(pk=id), 1, "root")
    assert version is not None
    assert alice.get(f"/assistants/{id}").json() == was
    assert kept(id)[-1] == (3, "root", "Back to version 1")
    assert list(Assistant.objects.get(pk=id).named_files.values_list("pk", flat=True)) == [file]


def test_nothing_to_roll_back_to_what_it_is(alice: ApiClient) -> None:
    id = alice.make("/assistants", {"model": "scripted"})["id"]
    assert versions.roll_back(Assistant.objects.get(pk=id), 1, "root") is None
    assert len(kept(id)) == 1


@pytest.mark.parametrize("kind", ["file", "store"])
def test_what_is_gone_meanwhile_is_named(alice: ApiClient, kind: str) -> None:
    if kind == "file":
        gone = alice.make_file()
        resources = {"code_interpreter": {"file_ids": [gone]}}
    else:
        gone = alice.make("/vector_stores", {})["id"]
        resources = {"file_search": {"vector_store_ids": [gone]}}
    id = alice.make("/assistants", {"model": "scripted", "tool_resources": resources})["id"]
    alice.make(f"/assistants/{id}", {"tool_resources": None, "instructions": "New."})
    assert alice.delete(f"/{'files' if kind == 'file' else 'vector_stores'}/{gone}").status_code == 200
    with pytest.raises(ApiError, match=gone):
        versions.roll_back(Assistant.objects.get(pk=id), 1, "root")
    assert Assistant.objects.get(pk=id).instructions == "New."
    assert len(kept(id)) == 2


def test_a_store_of_another_project_is_never_reached(alice: ApiClient) -> None:
    """Even where a version names one, as a restored or edited database may."""
    from assistants.models import VectorStore

    id = alice.make("/assistants", {"model": "scripted"})["id"]
    foreign = VectorStore.objects.create(project=Project.objects.create(name="Elves"))
    body = {"model": "scripted", "tool_resources": {"file_search": {"vector_store_ids": [foreign.pk]}}}
    AssistantVersion.objects.create(assistant_id=id, number=2, body=body)
    with pytest.raises(ApiError, match="No vector store found"):
        versions.roll_back(Assistant.objects.get(pk=id), 2, "root")


def test_a_trial_of_an_unsaved_form_has_no_versions(alice: ApiClient, django_user_model: type) -> None:
    id = alice.make("/assistants", {"model": "scripted"})["id"]
    Assistant.objects.filter(pk=id).update(scratch_of=django_user_model.objects.create(username="one"))  # type: ignore[attr-defined]
    alice.make(f"/assistants/{id}", {"instructions": "Tried."})
    assert len(kept(id)) == 1


def test_versions_go_with_their_assistant(alice: ApiClient) -> None:
    id = alice.make("/assistants", {"model": "scripted"})["id"]
    alice.delete(f"/assistants/{id}")
    assert not AssistantVersion.objects.exists()
