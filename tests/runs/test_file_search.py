"""file_search as a tool: where it looks, with which options, and what it tells the model (contract 2.3, 5.2, 5.6)."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants import stores
from assistants.clock import now
from assistants.models import File, FileStatus, Project, Thread, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from assistants.tokens import count_tokens
from runs.completers import CompleterError
from runs.models import Run
from runs.tools import tools_of
from runs.tools.file_search import FileSearch, awaited_of, query_of, stores_of
from tests.conftest import ApiClient
from tests.loops import run_async
from tests.runs.conftest import ask

pytestmark = pytest.mark.django_db(transaction=True)

LINES = ["High tide comes twice a day.", "Low tide comes twice a day.", "The tide tables hang in the harbour."]


def put(store: VectorStore, *texts: str, name: str = "tides.txt", status: str = "completed") -> VectorStoreFile:
    """A file with these passages in `store`."""
    file = File.objects.create(project=store.project, filename=name, purpose="assistants")
    held = VectorStoreFile.objects.create(vector_store=store, file=file, status=status, attributes={"team": "north"})
    index.add_passages(held.pk, 0, map(Slice, texts))
    return held


def new_store(project: Project) -> VectorStore:
    return VectorStore.objects.create(project=project)


def asking(client: ApiClient, *searched: VectorStore, tool: dict[str, Any] | None = None) -> Run:
    _, run = ask(client, "Hello", tools=[tool or {"type": "file_search"}])
    run.tool_resources = {"file_search": {"vector_store_ids": [store.pk for store in searched]}} if searched else {}
    run.save()
    return run


def found(run: Run, query: str = "tide") -> list[dict[str, Any]]:
    details = run_async(lambda: FileSearch().execute(run, json.dumps({"query": query}), lambda _: None))
    return list(details["results"])


def test_a_result_has_what_steps_and_citations_need(alice: ApiClient) -> None:
    store = new_store(alice.project)
    held = put(store, LINES[2])
    (result,) = found(asking(alice, store))
    assert 0 < result.pop("score") <= 1
    assert result == {
        "file_id": held.file_id,
        "file_name": "tides.txt",
        "attributes": {"team": "north"},
        "content": [{"type": "text", "text": LINES[2]}],
    }


def test_the_options_of_the_tool_limit_the_results(alice: ApiClient) -> None:
    store = new_store(alice.project)
    put(store, *LINES, "Nothing of it.")
    assert len(found(asking(alice, store))) == 3
    two = {"type": "file_search", "file_search": {"max_num_results": 2}}
    assert len(found(asking(alice, store, tool=two))) == 2
    ranking = {"ranker": "auto", "score_threshold": 0.9}
    strict = {"type": "file_search", "file_search": {"ranking_options": ranking}}
    kept = found(asking(alice, store, tool=strict), "tide tables harbour")
    assert [result["content"][0]["text"] for result in kept] == [LINES[2]]
    shown = FileSearch().opening(asking(alice, store, tool=strict))["ranking_options"]
    assert shown == {"ranker": "default_2024_08_21", "score_threshold": 0.9}


def test_the_stores_of_assistant_and_thread_are_searched_together(alice: ApiClient) -> None:
    one, two, other = (new_store(alice.project) for _ in range(3))
    for store, name in ((one, "one.txt"), (two, "two.txt"), (other, "other.txt")):
        put(store, LINES[0], name=name)
    assert {result["file_name"] for result in found(asking(alice, one, two))} == {"one.txt", "two.txt"}


def test_stores_of_another_project_are_never_searched(alice: ApiClient, charlie: ApiClient) -> None:
    foreign = new_store(charlie.project)
    put(foreign, LINES[0])
    put(stores.covering_store(charlie.project), LINES[1])
    assert found(asking(alice, foreign)) == []
    assert found(asking(alice)) == []


def test_without_a_store_all_files_of_the_project_are_searched(alice: ApiClient, settings: Settings) -> None:
    put(stores.covering_store(alice.project), LINES[0])
    put(new_store(alice.project), LINES[1], name="elsewhere.txt")
    assert [result["file_name"] for result in found(asking(alice))] == ["tides.txt"]
    settings.KUMOS_SEARCH_ALL_FILES = False
    assert found(asking(alice)) == []


def test_a_search_keeps_its_stores_alive(alice: ApiClient) -> None:
    store = new_store(alice.project)
    VectorStore.objects.filter(pk=store.pk).update(expires_after_days=7, last_active_at=now() - timedelta(days=6))
    assert stores_of(asking(alice, store)) == [store.pk]
    store.refresh_from_db()
    assert store.last_active_at > now() - timedelta(minutes=1)


def test_an_expired_store_is_refused(alice: ApiClient) -> None:
    store = new_store(alice.project)
    VectorStore.objects.filter(pk=store.pk).update(expires_after_days=7, last_active_at=now() - timedelta(days=8))
    with pytest.raises(CompleterError, match="expired"):
        stores_of(asking(alice, store))


def give_to_thread(run: Run, store: VectorStore) -> None:
    Thread.objects.filter(pk=run.thread_id).update(
        tool_resources={"file_search": {"vector_store_ids": [store.pk]}},
    )


def test_a_search_waits_for_files_of_the_thread_that_are_being_read(alice: ApiClient) -> None:
    store = new_store(alice.project)
    held = put(store, LINES[0], status="in_progress")
    run = asking(alice, store)
    give_to_thread(run, store)

    async def work() -> dict[str, Any]:
        search = asyncio.create_task(FileSearch().execute(run, '{"query": "tide"}', lambda _: None))
        finish = VectorStoreFile.objects.filter(pk=held.pk).update
        done, _ = await asyncio.wait([search], timeout=0.5)
        assert not done
        await asyncio.to_thread(lambda: finish(status=FileStatus.COMPLETED))
        return await search

    assert len(run_async(work)["results"]) == 1


def test_the_store_of_all_files_is_waited_for_too(alice: ApiClient) -> None:
    run = asking(alice)
    covering = stores.covering_store(alice.project)
    assert awaited_of(run, [covering.pk]) == [covering.pk]


def test_a_search_does_not_wait_for_the_assistants_store(alice: ApiClient) -> None:
    mine, theirs = new_store(alice.project), new_store(alice.project)
    put(mine, LINES[0], status="in_progress")
    put(theirs, LINES[1])
    run = asking(alice, mine, theirs)
    give_to_thread(run, theirs)
    assert awaited_of(run, [mine.pk, theirs.pk]) == [theirs.pk]
    assert len(found(run)) == 1


def test_passages_beyond_the_budget_are_left_out(alice: ApiClient) -> None:
    store = new_store(alice.project)
    put(store, *(f"Number {number}: " + "tide " * 1_500 for number in range(20)))
    results = found(asking(alice, store))
    sizes = [count_tokens(result["content"][0]["text"]) for result in results]
    assert len(sizes) == 10
    assert sum(sizes) <= 16_000 < sum(sizes) + sizes[0]


def test_how_many_results_the_model_gets_by_default(alice: ApiClient) -> None:
    store = new_store(alice.project)
    put(store, *(f"Tide number {number}." for number in range(30)))
    run = asking(alice, store)
    assert len(found(run)) == 20
    run.model = "gpt-3.5-turbo-0125"
    assert len(found(run)) == 5


def test_a_search_does_not_wait_for_files_that_come_later(alice: ApiClient) -> None:
    store = new_store(alice.project)
    put(store, LINES[0])
    late = put(store, LINES[1], status="in_progress")
    VectorStoreFile.objects.filter(pk=late.pk).update(created_at=now() + timedelta(hours=1))
    run = asking(alice, store)
    give_to_thread(run, store)

    async def work() -> dict[str, Any]:
        async with asyncio.timeout(30):
            return await FileSearch().execute(run, '{"query": "tide"}', lambda _: None)

    assert run_async(work)["results"]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ('{"query": "high tide"}', "high tide"),
        ('{"query": ""}', '{"query": ""}'),
        ('{"other": 1}', '{"other": 1}'),
        ("high tide", "high tide"),
        ('"high tide"', "high tide"),
        ("[1, 2]", "[1, 2]"),
        ("", ""),
        ('{"query": "cut', '{"query": "cut'),
    ],
)
def test_whatever_a_model_writes_is_a_query(arguments: str, query: str) -> None:
    assert query_of(arguments) == query


def test_a_search_for_nothing_finds_nothing(alice: ApiClient) -> None:
    store = new_store(alice.project)
    put(store, LINES[0])
    assert found(asking(alice, store), "") == []
    assert found(asking(alice, store), "'\" * OR NEAR(") == []


def test_a_run_without_the_tool_does_not_have_it(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[{"type": "code_interpreter"}])
    assert tools_of(run) == {}
    assert list(tools_of(asking(alice))) == ["file_search"]
