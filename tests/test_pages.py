"""Every list against a plain Python list: order, both cursors, limit, filter, has_more (contract 1.4, 10.11).

The lists are read from the URL patterns; one that is new here must say how it is filled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import Model
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assistants.models import (
    Assistant,
    File,
    FileBatch,
    FileStatus,
    Message,
    Share,
    Thread,
    VectorStore,
    VectorStoreFile,
)
from assistants.retrieval import conversations
from runs.models import Run, RunStatus, RunStep, StepStatus, StepType
from tests.conftest import ApiClient
from tests.routes import LISTS, ROUTES, Route
from tests.world import World, world_of

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "run_" + "a" * 24


@dataclass(frozen=True)
class Item:
    """What is put into a list: its second, and whether the list's filter lets it through."""

    second: int
    passes: bool

    @property
    def created_at(self) -> datetime:
        return MOMENT + timedelta(seconds=self.second)


def fill_assistants(world: World, items: list[Item]) -> list[Any]:
    Assistant.objects.all().delete()
    project = world.client.project
    return [Assistant.objects.create(project=project, model="m", created_at=item.created_at) for item in items]


def fill_threads(world: World, items: list[Item]) -> list[Any]:
    Thread.objects.all().delete()
    threads = []
    for item in items:
        metadata = {"title": "needle"} if item.passes else {}
        thread = Thread.objects.create(project=world.client.project, created_at=item.created_at, metadata=metadata)
        conversations.note_title(thread)
        threads.append(thread)
    return threads


def fill_messages(world: World, items: list[Item]) -> list[Any]:
    thread = Thread.objects.get(pk=world.ids["thread"])
    thread.messages.all().delete()
    return [
        Message.objects.create(
            thread=thread, role="user", created_at=item.created_at, run_id=RUN if item.passes else None
        )
        for item in items
    ]


def fill_runs(world: World, items: list[Item]) -> list[Any]:
    thread = Thread.objects.get(pk=world.ids["thread"])
    Run.objects.filter(thread=thread).delete()
    return [
        Run.objects.create(
            project=world.client.project,
            thread=thread,
            assistant_id="asst_x",
            status=RunStatus.COMPLETED,
            model="m",
            truncation_strategy={"type": "auto", "last_messages": None},
            created_at=item.created_at,
            expires_at=item.created_at,
        )
        for item in items
    ]


def fill_steps(world: World, items: list[Item]) -> list[Any]:
    run = Run.objects.get(pk=world.ids["run"])
    run.steps.all().delete()
    details = {"type": "message_creation", "message_creation": {"message_id": "msg_x"}}
    return [
        RunStep.objects.create(
            run=run,
            thread_id=run.thread_id,
            assistant_id=run.assistant_id,
            type=StepType.MESSAGE_CREATION,
            status=StepStatus.COMPLETED,
            step_details=details,
            created_at=item.created_at,
        )
        for item in items
    ]


def fill_shares(world: World, items: list[Item]) -> list[Any]:
    thread = Thread.objects.get(pk=world.ids["thread"])
    thread.shares.all().delete()
    return [
        Share.objects.create(thread=thread, digest=f"{number}", created_at=item.created_at)
        for number, item in enumerate(items)
    ]


def fill_files(world: World, items: list[Item]) -> list[Any]:
    File.objects.all().delete()
    return [
        File.objects.create(
            project=world.client.project,
            filename="a.txt",
            purpose="vision" if item.passes else "batch",
            created_at=item.created_at,
        )
        for item in items
    ]


def fill_stores(world: World, items: list[Item]) -> list[Any]:
    VectorStore.objects.filter(covers_project=False).delete()
    return [VectorStore.objects.create(project=world.client.project, created_at=item.created_at) for item in items]


def fill_store_files(world: World, items: list[Item]) -> list[Any]:
    store = VectorStore.objects.get(pk=world.ids["vector_store"])
    batch = FileBatch.objects.get(pk=world.ids["batch"])
    VectorStoreFile.objects.all().delete()
    made = [
        VectorStoreFile.objects.create(
            vector_store=store,
            file=file,
            status=FileStatus.FAILED if item.passes else FileStatus.COMPLETED,
            created_at=item.created_at,
        )
        for item, file in zip(items, fill_files(world, items), strict=True)
    ]
    batch.store_files.set(made)
    return made


FILL: dict[str, Callable[[World, list[Item]], list[Any]]] = {
    "/assistants": fill_assistants,
    "/threads": fill_threads,
    "/threads/{thread_id}/messages": fill_messages,
    "/threads/{thread_id}/runs": fill_runs,
    "/threads/{thread_id}/runs/{run_id}/steps": fill_steps,
    "/threads/{thread_id}/shares": fill_shares,
    "/files": fill_files,
    "/vector_stores": fill_stores,
    "/vector_stores/{vector_store_id}/files": fill_store_files,
    "/vector_stores/{vector_store_id}/file_batches/{batch_id}/files": fill_store_files,
}
FILTER = {"run_id": RUN, "query": "needle", "purpose": "vision", "filter": "failed"}
"""The value of each filter that lets through what `passes`."""


def wire_id(item: Model) -> str:
    return item.file_id if isinstance(item, VectorStoreFile) else str(item.pk)


@pytest.fixture
def world(alice: ApiClient) -> World:
    return world_of(alice)


items = st.lists(st.builds(Item, st.integers(0, 2), st.booleans()), max_size=8)
picks = st.none() | st.integers(0, 7)


@pytest.mark.parametrize("route", LISTS, ids=str)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=items,
    descending=st.booleans(),
    limit=st.integers(1, 9),
    picked=st.tuples(picks, picks),
    filtered=st.booleans(),
)
def test_a_page_is_that_of_a_plain_list(
    world: World,
    route: Route,
    items: list[Item],
    descending: bool,
    limit: int,
    picked: tuple[int | None, int | None],
    filtered: bool,
) -> None:
    made = FILL[route.path](world, items)
    passes = {wire_id(one): item.passes for one, item in zip(made, items, strict=True)}
    ordered = [wire_id(one) for one in sorted(made, key=lambda one: (one.created_at, one.pk), reverse=descending)]
    query: dict[str, Any] = {"limit": limit, "order": "desc" if descending else "asc"}
    start, end = 0, len(ordered)
    after, before = (None if pick is None or not ordered else pick % len(ordered) for pick in picked)
    if after is not None:
        query["after"], start = ordered[after], after + 1
    if before is not None:
        query["before"], end = ordered[before], before
    for name in FILTER.keys() & set(route.query_names) if filtered else ():
        query[name] = FILTER[name]
        passing = [id for id in ordered[start:end] if passes[id]]
        break
    else:
        passing = ordered[start:end]
    expected = passing[-limit:] if before is not None and after is None else passing[:limit]

    found = world.client.get(route.at(world.ids), query).json()
    assert [item["id"] for item in found["data"]] == expected
    assert found == {
        "object": "list",
        "data": found["data"],
        "first_id": expected[0] if expected else None,
        "last_id": expected[-1] if expected else None,
        "has_more": len(passing) > limit,
    }


@pytest.mark.parametrize("route", LISTS, ids=str)
@pytest.mark.parametrize("descending", [True, False])
def test_walking_meets_each_once(world: World, route: Route, descending: bool) -> None:
    """Of one second all, from page to page by the last id, as the SDKs do it."""
    made = FILL[route.path](world, [Item(0, True)] * 7)
    ordered = [wire_id(one) for one in sorted(made, key=lambda one: one.pk, reverse=descending)]
    query: dict[str, Any] = {"limit": 2, "order": "desc" if descending else "asc"}
    walked: list[str] = []
    while True:
        found = world.client.get(route.at(world.ids), query).json()
        walked += [item["id"] for item in found["data"]]
        if not found["has_more"]:
            break
        query["after"] = found["last_id"]
    assert walked == ordered


DELETABLE = [
    route for route in LISTS if any(r.method == "DELETE" and r.path.rpartition("/")[0] == route.path for r in ROUTES)
]


@pytest.mark.parametrize("route", DELETABLE, ids=str)
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_walking_on_from_what_was_deleted(world: World, charlie: ApiClient, route: Route, order: str) -> None:
    """As a client does that deletes each object a list gives it, or some of them."""
    made = FILL[route.path](world, [Item(0, True)] * 6)
    ordered = [wire_id(one) for one in sorted(made, key=lambda one: one.pk, reverse=order == "desc")]
    path = route.at(world.ids)
    query: dict[str, Any] = {"limit": 2, "order": order}
    walked: list[str] = []
    while True:
        found = world.client.get(path, query).json()
        walked += [item["id"] for item in found["data"]]
        assert world.client.delete(f"{path}/{found['last_id']}").status_code == 200
        if not found["has_more"]:
            break
        query["after"] = found["last_id"]
    assert walked == ordered
    back = world.client.get(path, {"limit": 1, "order": order, "before": ordered[-1]}).json()
    assert [item["id"] for item in back["data"]] == [ordered[-2]]
    if route.path.count("/") == 1:
        assert charlie.get(path, query).status_code == 400, "another project knows nothing of it"


def error_of(world: World, route: Route, **query: str) -> dict[str, Any]:
    answer = world.client.get(route.at(world.ids), query)
    assert answer.status_code == 400, answer.content
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize("route", LISTS, ids=str)
def test_what_a_list_refuses(world: World, route: Route) -> None:
    maximum = 10_000 if route.path == "/files" else 100
    assert world.client.get(route.at(world.ids), {"limit": maximum}).status_code == 200
    for limit, text, code in (
        (
            str(maximum + 1),
            f"integer above maximum value. Expected a value <= {maximum}, but got {maximum + 1} instead.",
            "integer_above_max_value",
        ),
        (
            "9" * 30,
            f"integer above maximum value. Expected a value <= {maximum}, but got {'9' * 30} instead.",
            "integer_above_max_value",
        ),
        ("0", "integer below minimum value. Expected a value >= 1, but got 0 instead.", "integer_below_min_value"),
    ):
        error = error_of(world, route, limit=limit)
        assert (error["message"], error["param"], error["code"]) == (f"Invalid 'limit': {text}", "limit", code)
    for limit in ("ten", "1.5", "1e2", "true", "٣", " 5", "0x10"):
        error = error_of(world, route, limit=limit)
        assert error["message"] == "Invalid type for 'limit': expected an integer, but got a string instead."
        assert (error["param"], error["code"]) == ("limit", "invalid_type")
    error = error_of(world, route, order="sideways")
    assert error["message"] == "Invalid value: 'sideways'. Supported values are: 'asc' and 'desc'."
    assert (error["param"], error["code"]) == ("order", "invalid_value")
    for name in ("after", "before"):
        error = error_of(world, route, **{name: "nothing_x"})
        assert error["message"] == f"Invalid '{name}': no object of this list has the ID 'nothing_x'."
        assert (error["param"], error["code"]) == (name, "invalid_value")
    if "filter" in route.query_names:
        error = error_of(world, route, filter="new")
        assert error["message"] == (
            "Invalid value: 'new'. Supported values are: 'in_progress', 'completed', 'cancelled', and 'failed'."
        )
        assert (error["param"], error["code"]) == ("filter", "invalid_value")


@pytest.mark.parametrize("route", LISTS, ids=str)
def test_an_empty_parameter_is_an_absent_one(world: World, route: Route) -> None:
    path = route.at(world.ids)
    assert world.client.get(path, {"limit": "", "order": "", "after": "", "before": ""}).json() == (
        world.client.get(path).json()
    )


@pytest.mark.parametrize("route", [route for route in LISTS if route.path != "/files"], ids=str)
def test_twenty_and_the_newest_first(world: World, route: Route) -> None:
    made = FILL[route.path](world, [Item(second, True) for second in range(25)])
    found = world.client.get(route.at(world.ids)).json()
    assert [item["id"] for item in found["data"]] == [wire_id(one) for one in made[:4:-1]]
    assert found["has_more"] is True


def test_files_come_all_at_once(world: World) -> None:
    made = fill_files(world, [Item(second, True) for second in range(150)])
    found = world.client.get("/files").json()
    assert [item["id"] for item in found["data"]] == [wire_id(one) for one in made[::-1]]
    assert found["has_more"] is False


def test_what_is_made_meanwhile_moves_nothing(alice: ApiClient) -> None:
    made = [alice.make("/assistants", {"model": "m"})["id"] for _ in range(4)]
    first = alice.get("/assistants", {"limit": 2}).json()
    alice.make("/assistants", {"model": "m"})
    second = alice.get("/assistants", {"limit": 2, "after": first["last_id"]}).json()
    assert [item["id"] for page in (first, second) for item in page["data"]] == made[::-1]


def test_another_threads_message_is_no_cursor(alice: ApiClient) -> None:
    message = {"role": "user", "content": "x"}
    threads = [alice.make("/threads", {"messages": [message]})["id"] for _ in range(2)]
    foreign = alice.get(f"/threads/{threads[0]}/messages").json()["first_id"]
    assert alice.get(f"/threads/{threads[1]}/messages", {"after": foreign}).status_code == 400
