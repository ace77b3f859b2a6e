"""Runs under observation: executed beside the test, and everything that they told and left behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from assistants.models import File, FileStatus, Project, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from runs import queue
from runs.completers.openai_compatible import close_client
from runs.executor import Executor
from runs.models import Run
from runs.writer import Writer
from streaming.models import TERMINAL_RUN_EVENTS, Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.loops import run_async, until

BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
OPENED = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*OPENED, "thread.message.created", "thread.message.in_progress"]
DELTA = "thread.message.delta"
STEP_DELTA = "thread.run.step.delta"
ANSWERED = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]


def events_of(run: Run) -> list[Event]:
    return list(Event.objects.filter(run_id=run.pk).order_by("seq"))


def names(run: Run) -> list[str]:
    """The names of a run's events; deltas that follow each other count as one, since they merge under load."""
    told = [event.name for event in events_of(run)]
    return [name for before, name in pairwise(["", *told]) if not (before == name and name in (DELTA, STEP_DELTA))]


def data_of(run: Run, name: str) -> list[dict[str, Any]]:
    return [json.loads(event.data) for event in events_of(run) if event.name == name]


def deltas(run: Run, message_id: str) -> dict[str, Any]:
    """What a client that adds up the deltas of a message has."""
    value, annotations = "", []
    for number, delta in enumerate(d for d in data_of(run, DELTA) if d["id"] == message_id):
        (part,) = delta["delta"]["content"]
        assert (part["index"], part["type"], delta["object"]) == (0, "text", "thread.message.delta")
        assert ("annotations" in part["text"]) or number > 0
        value += part["text"]["value"]
        annotations += part["text"].get("annotations", [])
    assert [annotation.pop("index") for annotation in annotations] == list(range(len(annotations)))
    return {"value": value, "annotations": annotations}


def check(client: ApiClient, run: Run) -> dict[str, dict[str, Any]]:
    """What holds for every run that is over or waits: story and state agree, deltas add up, usage is a sum."""
    events = events_of(run)
    objects = fetched(client, run.thread_id, run.pk)
    assert fold(events) == objects
    shown = objects[run.pk]
    terminal = [event for event in events if event.name in TERMINAL_RUN_EVENTS]
    assert len(terminal) == (shown["status"] != "requires_action")
    steps = [one for one in objects.values() if one["object"] == "thread.run.step"]
    if shown["usage"] is not None:
        for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
            assert shown["usage"][name] == sum(step["usage"][name] for step in steps if step["usage"])
    for message in objects.values():
        if message["object"] == "thread.message":
            (part,) = message["content"]
            assert part["text"] == deltas(run, message["id"])
    return objects


class Live:
    """A run that is executed while the test looks at it and does things to it."""

    def __init__(self, run_id: str, writer: Writer) -> None:
        self.run_id = run_id
        self.writer = writer
        self.executor: Executor

    async def start(self) -> asyncio.Task[None]:
        run = await self.writer.run(lambda: queue.claim_one(Run.objects.get(pk=self.run_id), "worker_test"))
        assert run is not None
        self.executor = Executor(run, self.writer)
        return asyncio.create_task(self.executor.execute())

    async def until(self, name: str, count: int = 1) -> None:
        """Until `count` events of that name are in the log."""
        await until(lambda: Event.objects.filter(run_id=self.run_id, name=name).count() >= count)


def live(run: Run, writer: Writer, work: Callable[[Live], Any]) -> Run:
    """Runs `work(live)` on a loop; the run as it is afterwards."""

    async def on_loop() -> None:
        try:
            await work(Live(run.pk, writer))
        finally:
            await close_client()

    run_async(on_loop)
    return Run.objects.get(pk=run.pk)


def worked(run: Run, writer: Writer) -> Run:
    """As `execute`, for runs that ask a model over HTTP."""

    async def work(live: Live) -> None:
        await (await live.start())

    return live(run, writer, work)


def submit(client: ApiClient, run: Run, output: str = "rain") -> None:
    path = f"/threads/{run.thread_id}/runs/{run.pk}"
    pending = client.get(path).json()["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": one["id"], "output": output} for one in pending]
    client.make(f"{path}/submit_tool_outputs", {"tool_outputs": outputs})


def tides(project: Project) -> str:
    """The id of a store with one searchable file."""
    store = VectorStore.objects.create(project=project)
    file = File.objects.create(project=project, filename="tides.txt", purpose="assistants")
    held = VectorStoreFile.objects.create(vector_store=store, file=file, status=FileStatus.COMPLETED)
    lines = ["High tide comes twice a day.", "The harbour master keeps the tide tables."]
    index.add_passages(held.pk, 0, map(Slice, lines))
    return store.pk


def searching(client: ApiClient, **fields: Any) -> Run:
    resources = {"file_search": {"vector_store_ids": [tides(client.project)]}}
    assistant = client.make(
        "/assistants", {"model": "m", "tools": [{"type": "file_search"}], "tool_resources": resources}
    )
    thread = client.make("/threads", {"messages": [{"role": "user", "content": "When is high tide?"}]})
    return Run.objects.get(
        pk=client.make(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **fields})["id"]
    )
