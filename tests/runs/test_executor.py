"""One run from its claim to its end: which events, in which order, with what in them (contract 2.9, 3.4–3.9)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import File, FileStatus, Message, Project, Thread, VectorStore, VectorStoreFile
from assistants.retrieval import index
from runs import progress, queue, transitions
from runs.completers.openai_compatible import close_client
from runs.executor import Executor, Stop
from runs.models import Run
from runs.writer import Writer
from streaming import journal
from streaming.models import TERMINAL_RUN_EVENTS, Event
from tests.conftest import ApiClient
from tests.fold import fetched, fold
from tests.loops import run_async
from tests.runs.conftest import GET_WEATHER, Execute, ask
from tests.runs.model import USAGE, Model, call

pytestmark = pytest.mark.django_db(transaction=True)

BEGINNING = ["thread.run.created", "thread.run.queued", "thread.run.in_progress"]
OPENED = ["thread.run.step.created", "thread.run.step.in_progress"]
MESSAGE = [*OPENED, "thread.message.created", "thread.message.in_progress"]
DELTA = "thread.message.delta"
STEP_DELTA = "thread.run.step.delta"
ANSWERED = ["thread.message.completed", "thread.run.step.completed", "thread.run.completed"]


@pytest.fixture
def model(settings: Settings) -> Iterator[Model]:
    with Model() as model:
        settings.OPENAI_BASE_URL = model.base_url
        yield model


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
        look = lambda: Event.objects.filter(run_id=self.run_id, name=name).count()  # noqa: E731
        while await asyncio.to_thread(look) < count:
            await asyncio.sleep(0.01)


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


# Text -----------------------------------------------------------------------------------------------------------------


def test_a_text_run_is_told_in_the_contracts_order(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "!fast !echo Hello wide world")
    assert execute(run.pk).status == "completed"
    assert names(run) == [*BEGINNING, *MESSAGE, DELTA, *ANSWERED]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["content"][0]["text"]["value"] == "Hello wide world"
    (created,) = data_of(run, "thread.message.created")
    assert (created["status"], created["content"], created["completed_at"]) == ("in_progress", [], None)
    (step,) = data_of(run, "thread.run.step.created")
    assert (step["status"], step["usage"]) == ("in_progress", None)
    assert step["step_details"] == {"type": "message_creation", "message_creation": {"message_id": message["id"]}}
    assert objects[run.pk]["expires_at"] is None
    assert objects[run.pk]["usage"]["completion_tokens"] == 3


def test_an_answer_without_a_word_is_still_an_answer(alice: ApiClient, execute: Execute) -> None:
    """Clients that add up deltas need one: they have no content part otherwise."""
    _, run = ask(alice, "!echo")
    assert execute(run.pk).status == "completed"
    assert names(run) == [*BEGINNING, *MESSAGE, DELTA, *ANSWERED]
    check(alice, run)


def test_a_long_answer_arrives_whole(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "!fast !long 400")
    execute(run.pk)
    check(alice, run)
    text = Message.objects.get(run_id=run.pk).text
    assert [word for word in text.split() if word[0].isdigit()] == [f"{number}." for number in range(10, 401, 10)]


def test_model_text_of_any_kind_survives(alice: ApiClient, model: Model, writer: Writer) -> None:
    said = ["Line\nend\r\n", "\u2028\u0085", "𝄞 ", "【", "0:0†", "】", '"quoted" \\ ']
    model.will(*said)
    _, run = ask(alice, "Hello", model="m")
    assert worked(run, writer).status == "completed"
    check(alice, run)
    assert Message.objects.get(run_id=run.pk).text == "".join(said)
    assert all("\n" not in event.data and "\u2028" not in event.data for event in events_of(run))


# Functions ------------------------------------------------------------------------------------------------------------


def test_a_function_call_is_told_in_the_contracts_order(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", '{"city"', ': "Par', 'is"}', id="call_1"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    assert names(run) == [*BEGINNING, *OPENED, STEP_DELTA, "thread.run.requires_action"]
    assert data_of(run, "thread.run.step.created")[0]["step_details"] == {"type": "tool_calls", "tool_calls": []}
    entries = [entry for delta in data_of(run, STEP_DELTA) for entry in delta["delta"]["step_details"]["tool_calls"]]
    opening = {"name": "get_weather", "arguments": "", "output": None}
    assert entries[0] == {"index": 0, "id": "call_1", "type": "function", "function": opening}
    assert all(entry.keys() == {"index", "type", "function"} for entry in entries[1:])
    assert all(entry["function"].keys() == {"arguments"} for entry in entries[1:])
    arguments = '{"city": "Paris"}'
    assert "".join(entry["function"]["arguments"] for entry in entries) == arguments
    (required,) = data_of(run, "thread.run.requires_action")
    function = {"name": "get_weather", "arguments": arguments}
    assert required["required_action"]["submit_tool_outputs"]["tool_calls"] == [
        {"id": "call_1", "type": "function", "function": function}
    ]
    assert required["usage"] is None
    check(alice, run)


def submit(client: ApiClient, run: Run, output: str = "rain") -> None:
    path = f"/threads/{run.thread_id}/runs/{run.pk}"
    pending = client.get(path).json()["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = [{"tool_call_id": one["id"], "output": output} for one in pending]
    client.make(f"{path}/submit_tool_outputs", {"tool_outputs": outputs})


def test_after_the_outputs_the_run_goes_on(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    model.will(call("get_weather", "[]"), finish="tool_calls")
    model.will("It rains.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    first = worked(run, writer)
    submit(alice, run)
    assert worked(run, writer).status == "requires_action"
    submit(alice, run, "snow")
    last = worked(run, writer)
    assert last.status == "completed"
    called = [*OPENED, STEP_DELTA, "thread.run.requires_action"]
    again = ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names(run) == [*BEGINNING, *called, *again, *called, *again, *MESSAGE, DELTA, *ANSWERED]
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 3 * USAGE["total_tokens"]
    assert last.started_at is not None
    assert first.started_at is not None
    assert last.started_at > first.started_at
    told = model.requests[2]["messages"]
    assert [message["role"] for message in told] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [message["content"] for message in told if message["role"] == "tool"] == ["rain", "snow"]


def test_calls_of_one_turn_share_a_step(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(
        call("get_weather", '{"city":', '"Rome"}', id="call_r"),
        call("get_weather", '{"city":', '"Oslo"}', id="call_o", index=1),
        finish="tool_calls",
    )
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    assert names(run) == [*BEGINNING, *OPENED, STEP_DELTA, "thread.run.requires_action"]
    check(alice, run)
    seen: dict[int, dict[str, Any]] = {}
    for delta in data_of(run, STEP_DELTA):
        entries = delta["delta"]["step_details"]["tool_calls"]
        assert len({entry["index"] for entry in entries}) == len(entries)
        for entry in entries:
            assert entry["index"] <= len(seen), "introduced in order, without gaps"
            known = seen.setdefault(entry["index"], {"id": entry.get("id"), "arguments": ""})
            known["arguments"] += entry["function"]["arguments"]
    assert seen == {
        0: {"id": "call_r", "arguments": '{"city":"Rome"}'},
        1: {"id": "call_o", "arguments": '{"city":"Oslo"}'},
    }


def test_ids_that_are_no_ids_are_replaced(alice: ApiClient, model: Model, writer: Writer) -> None:
    strange = ["fine", "white space", "x" * 65]
    model.will(*[call("get_weather", "{}", id=id, index=n) for n, id in enumerate(strange)], finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    required = data_of(run, "thread.run.requires_action")[0]["required_action"]["submit_tool_outputs"]["tool_calls"]
    ids = [one["id"] for one in required]
    assert ids[0] == "fine"
    assert len(set(ids)) == 3
    assert all(id.startswith("call_") for id in ids[1:])
    check(alice, run)


def test_text_before_a_call_is_a_step_of_its_own(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will("Let me ", "look.", call("get_weather", "{}"), "ignored", finish="tool_calls")
    model.will("It rains.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER])
    worked(run, writer)
    spoken = [*MESSAGE, DELTA, "thread.message.completed", "thread.run.step.completed"]
    called = [*OPENED, STEP_DELTA, "thread.run.requires_action"]
    assert names(run) == [*BEGINNING, *spoken, *called]
    check(alice, run)
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]
    assert [message.text for message in Message.objects.filter(run_id=run.pk).order_by("created_at")] == [
        "Let me look.", "It rains."
    ]  # fmt: skip
    question, turn, output = model.requests[1]["messages"]
    assert (question["role"], turn["role"], turn["content"]) == ("user", "assistant", "Let me look.")
    assert (turn["tool_calls"][0]["id"], output["content"]) == (output["tool_call_id"], "rain")


def test_a_model_that_never_stops_calling_is_stopped(alice: ApiClient, execute: Execute, settings: Settings) -> None:
    settings.KUMOS_TURNS_MAX = 3
    _, run = ask(alice, '!fast !loop file_search {"query": "tide"}', tools=[{"type": "file_search"}])
    ended = execute(run.pk)
    assert ended.status == "failed"
    assert ended.last_error == {"code": "server_error", "message": "The run did not come to an end in 3 turns."}
    assert ended.steps.count() == 3
    check(alice, run)


# file_search ----------------------------------------------------------------------------------------------------------


def tides(project: Project) -> str:
    """The id of a store with one searchable file."""
    store = VectorStore.objects.create(project=project)
    file = File.objects.create(project=project, filename="tides.txt", purpose="assistants")
    held = VectorStoreFile.objects.create(vector_store=store, file=file, status=FileStatus.COMPLETED)
    index.add_passages(held.pk, 0, ["High tide comes twice a day.", "The harbour master keeps the tide tables."])
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


def test_a_search_is_told_in_the_contracts_order(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("file_search", '{"query":', '"high tide"}', id="call_s"), finish="tool_calls")
    model.will("Twice ", "a day【0", ":0†sou", "rce】", ", they say【0:1†source】【5:5†source】.")
    run = searching(alice)
    assert worked(run, writer).status == "completed"
    searched = [*OPENED, STEP_DELTA, "thread.run.step.completed"]
    assert names(run) == [*BEGINNING, *searched, *MESSAGE, DELTA, *ANSWERED]
    (opening,) = data_of(run, STEP_DELTA)
    ranking = {"ranker": "default_2024_08_21", "score_threshold": 0.0}
    entry = {"index": 0, "id": "call_s", "type": "file_search"}
    details = {"ranking_options": ranking, "results": []}
    assert opening["delta"]["step_details"]["tool_calls"] == [{**entry, "file_search": details}]
    step = data_of(run, "thread.run.step.completed")[0]
    (found,) = step["step_details"]["tool_calls"]
    assert found["file_search"]["ranking_options"] == ranking
    file_id = File.objects.get().pk
    results = found["file_search"]["results"]
    assert [(one["file_id"], one["file_name"]) for one in results] == [(file_id, "tides.txt")] * 2
    assert all(one.keys() == {"file_id", "file_name", "score", "attributes"} for one in results)
    objects = check(alice, run)
    assert objects[run.pk]["usage"]["total_tokens"] == 2 * USAGE["total_tokens"]

    (message,) = Message.objects.filter(run_id=run.pk)
    text = message.content[0]["text"]
    assert text["value"] == "Twice a day【0:0†source】, they say【0:1†source】【5:5†source】."
    assert [text["value"][one["start_index"] : one["end_index"]] for one in text["annotations"]] == [
        "【0:0†source】", "【0:1†source】"
    ]  # fmt: skip
    assert {one["file_citation"]["file_id"] for one in text["annotations"]} == {file_id}
    told = json.loads(model.requests[1]["messages"][-1]["content"])["results"]
    assert [one["marker"] for one in told] == ["【0:0†source】", "【0:1†source】"]
    assert "twice a day" in told[0]["text"]


@pytest.mark.parametrize("included", [True, False])
def test_passages_are_streamed_if_the_run_was_made_so(
    included: bool, alice: ApiClient, model: Model, writer: Writer
) -> None:
    model.will(call("file_search", '{"query": "tide"}'), finish="tool_calls")
    run = searching(alice)
    content = "step_details.tool_calls[*].file_search.results[*].content"
    Run.objects.filter(pk=run.pk).update(include=[content] if included else [])
    worked(run, writer)
    (call_,) = data_of(run, "thread.run.step.completed")[0]["step_details"]["tool_calls"]
    assert {"content" in result for result in call_["file_search"]["results"]} == {included}


def test_a_search_and_a_function_in_one_turn(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The search is done, then the client is asked for the rest; its answer completes the step."""
    model.will(
        call("file_search", '{"query": "tide"}', id="call_s"),
        call("get_weather", "{}", id="call_w", index=1),
        finish="tool_calls",
    )
    model.will("Done【0:0†source】.")
    run = searching(alice, tools=[{"type": "file_search"}, GET_WEATHER])
    assert worked(run, writer).status == "requires_action"
    required = data_of(run, "thread.run.requires_action")[0]["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert [one["id"] for one in required] == ["call_w"]
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    check(alice, run)
    told = model.requests[1]["messages"]
    assert [message.get("tool_call_id") for message in told] == [None, None, "call_s", "call_w"]
    assert json.loads(told[1]["tool_calls"][0]["function"]["arguments"]) == {"query": "tide"}
    assert len(Message.objects.get(run_id=run.pk).content[0]["text"]["annotations"]) == 1


# Early ends -----------------------------------------------------------------------------------------------------------

CUT_SHORT = {
    Stop.CANCELLED: ("cancelled", "run_cancelled", "thread.run.step.cancelled"),
    Stop.EXPIRED: ("expired", "run_expired", "thread.run.step.expired"),
}


def test_a_cancel_reaches_the_worker_by_bell(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", "upon ", hold)
    thread, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        live.executor.stop(Stop.CANCELLED)
        await task

    assert live(run, writer, work).status == "cancelled"
    hold.set()
    assert names(run) == [
        *BEGINNING, *MESSAGE, DELTA, "thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled",
        "thread.run.cancelled",
    ]  # fmt: skip
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert (message["status"], message["incomplete_details"]) == ("incomplete", {"reason": "run_cancelled"})
    assert message["content"][0]["text"]["value"] in ("Once ", "Once upon ")
    assert Thread.objects.get(pk=thread.pk).active_run_id is None


def test_a_cancel_reaches_the_worker_with_its_next_flush(alice: ApiClient, model: Model, writer: Writer) -> None:
    """No bell and no beat: the database alone says it."""
    more = threading.Event()
    model.will("Once ", more, *["upon "] * 50, threading.Event())
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        more.set()
        await task

    assert live(run, writer, work).status == "cancelled"
    assert Message.objects.get(run_id=run.pk).text == "Once "
    check(alice, run)


def test_a_cancel_while_the_last_words_are_written(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The executor waits for its text to be committed; stopped there, it must still end the run."""
    more, busy, go = threading.Event(), threading.Event(), threading.Event()
    model.will("Once ", more, "upon ")
    _, run = ask(alice, "Hello", model="m")

    def block() -> None:
        busy.set()
        go.wait(20)

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await live.writer.run(lambda: transitions.cancel_run(Run.objects.get(pk=run.pk)))
        blocked = asyncio.create_task(live.writer.run(block))
        await asyncio.to_thread(busy.wait, 20)
        more.set()
        while not (live.executor._turn and live.executor._turn.finish):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        live.executor.stop(Stop.CANCELLED)
        await asyncio.sleep(0)
        go.set()
        await asyncio.gather(blocked, task)

    assert live(run, writer, work).status == "cancelled"
    check(alice, run)


def test_a_run_expires_in_the_middle_of_an_answer(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", hold)
    _, run = ask(alice, "Hello", model="m")
    Run.objects.filter(pk=run.pk).update(expires_at=now() + timedelta(seconds=1.5))
    assert worked(run, writer).status == "expired"
    hold.set()
    assert names(run)[-3:] == ["thread.message.incomplete", "thread.run.step.expired", "thread.run.expired"]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["incomplete_details"] == {"reason": "run_expired"}
    assert objects[run.pk]["expires_at"] is not None


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "invalid_prompt"])
@pytest.mark.parametrize("words", [0, 3])
def test_a_failing_model_fails_the_run(code: str, words: int, alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, f"!fast !fail {code} after {words}")
    ended = execute(run.pk)
    error = {"code": code, "message": f"The scripted model was told to fail: {code}."}
    assert (ended.status, ended.last_error) == ("failed", error)
    tail = ["thread.message.incomplete", "thread.run.step.failed"] if words else []
    assert names(run)[-1 - len(tail) :] == [*tail, "thread.run.failed"]
    objects = check(alice, run)
    if words:
        (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
        assert message["incomplete_details"] == {"reason": "run_failed"}
        assert len(message["content"][0]["text"]["value"].split()) == 3


@pytest.mark.parametrize(
    ("directive", "reason", "of_message"),
    [("!length 5", "max_completion_tokens", "max_tokens"), ("!filter 5", "content_filter", "content_filter")],
)
def test_a_model_that_is_cut_short(
    directive: str, reason: str, of_message: str, alice: ApiClient, execute: Execute
) -> None:
    _, run = ask(alice, f"!fast {directive}")
    ended = execute(run.pk)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", reason)
    assert names(run)[-3:] == ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    objects = check(alice, run)
    (message,) = [one for one in objects.values() if one["object"] == "thread.message"]
    assert message["incomplete_details"] == {"reason": of_message}
    assert len(message["content"][0]["text"]["value"].split()) == 5, "all of the text"
    assert objects[run.pk]["completed_at"] is not None
    assert objects[run.pk]["usage"]["completion_tokens"] == 5


def test_the_budget_of_a_run_covers_all_its_turns(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER], max_completion_tokens=300)
    worked(run, writer)
    submit(alice, run)
    worked(run, writer)
    assert [request["max_completion_tokens"] for request in model.requests] == [300, 300 - USAGE["completion_tokens"]]


def test_a_run_without_budget_left_ends_without_asking(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("get_weather", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER], max_completion_tokens=300)
    worked(run, writer)
    submit(alice, run)
    Run.objects.filter(pk=run.pk).update(max_completion_tokens=USAGE["completion_tokens"])
    ended = worked(run, writer)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", "max_completion_tokens")
    assert len(model.requests) == 1
    check(alice, run)


def test_a_prompt_that_does_not_fit_ends_the_run(alice: ApiClient, execute: Execute) -> None:
    _, run = ask(alice, "word " * 600, max_prompt_tokens=256)
    ended = execute(run.pk)
    assert (ended.status, ended.incomplete_reason) == ("incomplete", "max_prompt_tokens")
    assert names(run) == [*BEGINNING, "thread.run.incomplete"]
    check(alice, run)


def test_an_expired_store_fails_the_run(alice: ApiClient, model: Model, writer: Writer) -> None:
    model.will(call("file_search", '{"query": "tide"}'), finish="tool_calls")
    run = searching(alice)
    VectorStore.objects.filter(covers_project=False).update(
        expires_after_days=1, last_active_at=now() - timedelta(days=2)
    )
    ended = worked(run, writer)
    assert ended.status == "failed"
    assert ended.last_error is not None
    assert "expired" in ended.last_error["message"]
    assert names(run)[-2:] == ["thread.run.step.failed", "thread.run.failed"]
    check(alice, run)


def test_a_thread_that_is_deleted_ends_its_run_without_a_word(
    alice: ApiClient, model: Model, writer: Writer, caplog: pytest.LogCaptureFixture
) -> None:
    more = threading.Event()
    model.will("Once ", more, *["upon "] * 30)
    thread, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await asyncio.to_thread(lambda: alice.delete(f"/threads/{thread.pk}"))
        more.set()
        await task

    async def on_loop() -> None:
        try:
            await work(Live(run.pk, writer))
        finally:
            await close_client()

    run_async(on_loop)
    assert not Run.objects.exists()
    assert not Event.objects.exists()
    assert not Message.objects.exists()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_run_that_is_handed_back_ends_nothing(alice: ApiClient, model: Model, writer: Writer) -> None:
    hold = threading.Event()
    model.will("Once ", hold)
    model.will("Twice.")
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        live.executor.stop(Stop.HANDED_BACK)
        await task

    left = live(run, writer, work)
    hold.set()
    assert (left.status, left.lease_until, left.worker_id) == ("in_progress", None, "")
    assert names(run)[-1] == DELTA
    ended = worked(run, writer)
    assert (ended.status, ended.crash_attempts) == ("completed", 0)
    check(alice, run)


def test_a_stop_before_the_start_is_a_stop(alice: ApiClient, writer: Writer) -> None:
    _, run = ask(alice, "!stall")

    async def work() -> None:
        mine = await writer.run(lambda: queue.claim_one(run, "worker_test"))
        assert mine is not None
        executor = Executor(mine, writer)
        executor.stop(Stop.HANDED_BACK)
        await executor.execute()

    run_async(work)
    assert Run.objects.get(pk=run.pk).lease_until is None


def test_a_run_that_was_lost_is_left_alone(alice: ApiClient, model: Model, writer: Writer) -> None:
    more = threading.Event()
    model.will("Once ", more, *["upon "] * 30)
    _, run = ask(alice, "Hello", model="m")

    async def work(live: Live) -> None:
        task = await live.start()
        await live.until(DELTA)
        await live.writer.run(partial(Run.objects.filter(pk=run.pk).update, epoch=7))
        seen = await asyncio.to_thread(journal.last_seqs, [run.thread_id])
        more.set()
        await task
        assert await asyncio.to_thread(journal.last_seqs, [run.thread_id]) == seen

    assert live(run, writer, work).status == "in_progress"


def test_a_fault_of_ours_ends_the_run_without_showing_it(
    alice: ApiClient, execute: Execute, caplog: pytest.LogCaptureFixture
) -> None:
    _, run = ask(alice, "!fast Hello", tools=[{"type": "file_search"}])
    Run.objects.filter(pk=run.pk).update(truncation_strategy=["not", "an", "object"])
    ended = execute(run.pk)
    assert ended.status == "failed"
    assert ended.last_error == {"code": "server_error", "message": "Sorry, something went wrong."}
    assert "AttributeError" in caplog.text
    with pytest.raises(progress.Fenced):
        progress.hold(ended)
