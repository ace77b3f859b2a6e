"""Python functions that the server carries out in a run: how they are called, what models and clients see of them, and
that nothing they do, or leave undone, is the run's fault."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from django.core.exceptions import ImproperlyConfigured
from pydantic import Field
from pytest_django.fixtures import Settings

from assistants.models import Project
from runs.executor import Stop
from runs.models import Run
from runs.tools import CallContext, ToolError, function_tool, python
from runs.tools.function import CUT, OUTPUT_BYTES_MAX
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.loops import until
from tests.runs.conftest import GET_WEATHER, ask
from tests.runs.model import USAGE, Model, call
from tests.runs.observed import (
    ANSWERED,
    BEGINNING,
    DELTA,
    MESSAGE,
    OPENED,
    STEP_DELTA,
    Live,
    check,
    data_of,
    live,
    names,
    submit,
    worked,
)


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


@pytest.fixture(autouse=True)
def known() -> Iterator[None]:
    """What a test registers is gone after it."""
    before = dict(python.functions)
    yield
    python.functions.clear()
    python.functions.update(before)


def outputs(run: Run) -> list[Any]:
    return [
        made["function"]["output"]
        for step in run.steps.filter(type="tool_calls").order_by("created_at")
        for made in step.step_details["tool_calls"]
    ]


def output_of(alice: ApiClient, model: Model, writer: Writer, name: str, *arguments: str) -> str:
    """What the model is told when it calls the function `name`; its run completes."""
    model.will(call(name, *arguments), finish="tool_calls")
    model.will("I see.")
    _, run = ask(alice, "Hello", model="m", tools=[tool(name)])
    assert worked(run, writer).status == "completed"
    check(alice, run)
    (told,) = [one["content"] for one in model.requests[-1]["messages"] if one["role"] == "tool"]
    assert outputs(run) == [told]
    return str(told)


# Schemas --------------------------------------------------------------------------------------------------------------


def registered(function: Callable[..., Any]) -> python.PythonFunction:
    return python.functions[function.__name__]


def test_type_hints_are_the_schema_and_the_docstring_is_the_description() -> None:
    @function_tool
    def book(
        city: Annotated[str, Field(description="Where to.")],
        day: date,
        kind: Literal["train", "bus"] = "train",
        stops: list[str] = [],  # noqa: B006 (it is what people write)
        json: bool | None = None,  # a name that models of pydantic's mind
        *,
        context: CallContext,
    ) -> str:
        """Books a seat.

        Costs money.
        """
        return ""

    known = registered(book)
    assert (known.name, known.description, known.idempotent) == ("book", "Books a seat.\n\nCosts money.", False)
    assert known.parameters() == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Where to."},
            "day": {"type": "string", "format": "date"},
            "kind": {"type": "string", "enum": ["train", "bus"], "default": "train"},
            "stops": {"type": "array", "items": {"type": "string"}},
            "json": {"anyOf": [{"type": "boolean"}, {"type": "null"}], "default": None},
        },
        "required": ["city", "day"],
        "additionalProperties": False,
    }


def test_a_function_without_arguments_has_a_schema_too() -> None:
    @function_tool(name="now", idempotent=True, seconds=3)
    def what_time_is_it() -> str:
        return ""

    known = python.functions["now"]
    assert (known.idempotent, known.seconds) == (True, 3)
    assert known.parameters() == {"type": "object", "properties": {}, "additionalProperties": False}


def test_what_no_model_could_call_is_refused_at_the_start() -> None:
    def spread(*words: str) -> None: ...

    def bare(word) -> None: ...  # type: ignore[no-untyped-def]

    for function, told in ((spread, "by name"), (bare, "no type hint")):
        with pytest.raises(ImproperlyConfigured, match=told):
            function_tool(function)
    with pytest.raises(ImproperlyConfigured, match="a tool's name"):
        function_tool(name="no spaces")(lambda: "")


def test_hints_that_are_no_schema_are_told_at_the_start() -> None:
    @function_tool
    def odd(thing: Writer) -> str:
        return ""

    @function_tool
    def even(thing: int) -> str:
        return ""

    (told,) = python.faults()
    assert f"{__name__}." in told.msg
    assert "odd" in told.msg


def test_a_name_belongs_to_one_app(monkeypatch: pytest.MonkeyPatch) -> None:
    @function_tool
    def roar() -> str:
        return ""

    roar.__module__ = "zoo.tools"

    def other() -> str:
        return ""

    with pytest.raises(ImproperlyConfigured, match=r"zoo\.tools has a tool roar already"):
        function_tool(name="roar")(other)


# Calls ----------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Seat:
    city: str
    number: int


def test_a_call_is_an_ordinary_function_call_on_the_wire(alice: ApiClient, model: Model, writer: Writer) -> None:
    @function_tool
    def find_seat(city: str) -> Seat:
        """Finds a seat."""
        assert threading.current_thread() is not threading.main_thread()
        return Seat(city, Project.objects.count())

    model.will(call("find_seat", '{"city"', ': "Oslo"}', id="call_1"), finish="tool_calls")
    model.will("Seat one.")
    _, run = ask(alice, "Hello", model="m", tools=[tool("find_seat")])
    assert worked(run, writer).status == "completed"
    done = "thread.run.step.completed"
    assert names(run) == [*BEGINNING, *OPENED, STEP_DELTA, done, *MESSAGE, DELTA, *ANSWERED]
    entries = [entry for delta in data_of(run, STEP_DELTA) for entry in delta["delta"]["step_details"]["tool_calls"]]
    opening = {"name": "find_seat", "arguments": "", "output": None}
    assert entries[0] == {"index": 0, "id": "call_1", "type": "function", "function": opening}
    assert "".join(entry["function"]["arguments"] for entry in entries) == '{"city": "Oslo"}'
    step = data_of(run, done)[0]
    assert step["step_details"]["tool_calls"] == [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "find_seat", "arguments": '{"city": "Oslo"}', "output": '{"city":"Oslo","number":1}'},
        }
    ]
    assert step["usage"]["total_tokens"] == USAGE["total_tokens"]
    assert model.requests[1]["messages"][-1]["content"] == '{"city":"Oslo","number":1}'
    check(alice, run)
    assert run.steps.filter(begun__isnull=False).count() == 0


def test_an_assistant_may_name_a_function_and_nothing_more(alice: ApiClient, model: Model, writer: Writer) -> None:
    @function_tool
    async def add(a: int, b: int = 2) -> int:
        """Adds."""
        await asyncio.sleep(0)
        return a + b

    given = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}}
    model.will(call("add", '{"a": 1}'), finish="tool_calls")
    model.will(call("add", '{"a": "5"}'), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[tool("add"), tool("roar", parameters=given)])
    assert worked(run, writer).status == "completed"
    (mine, theirs) = model.requests[0]["tools"]
    assert mine["function"]["description"] == "Adds."
    assert mine["function"]["parameters"]["required"] == ["a"]
    assert theirs["function"] == {"name": "roar", "parameters": given}
    assert outputs(run) == ["3", "7"]


def test_functions_of_both_in_one_turn(alice: ApiClient, model: Model, writer: Writer) -> None:
    """The server's are carried out first; the client is asked for its own, and only for them."""

    @function_tool
    def roar() -> str:
        return "Roar!"

    model.will(call("get_weather", "{}", index=0), call("roar", "{}", index=1), finish="tool_calls")
    model.will("Done.")
    _, run = ask(alice, "Hello", model="m", tools=[GET_WEATHER, tool("roar")])
    waiting = worked(run, writer)
    assert waiting.status == "requires_action"
    assert waiting.required_action is not None
    pending = waiting.required_action["submit_tool_outputs"]["tool_calls"]
    assert [one["function"]["name"] for one in pending] == ["get_weather"]
    assert outputs(run) == [None, None], "outputs are told when the step ends"
    check(alice, run)
    submit(alice, run)
    assert worked(run, writer).status == "completed"
    check(alice, run)
    assert outputs(run) == ["rain", "Roar!"]
    assert [one["content"] for one in model.requests[1]["messages"] if one["role"] == "tool"] == ["rain", "Roar!"]


def test_a_function_that_asks_is_told_for_whom_it_is_called(alice: ApiClient, model: Model, writer: Writer) -> None:
    seen: list[CallContext] = []

    @function_tool
    def remember(what: str, context: CallContext) -> None:
        seen.append(context)

    assert output_of(alice, model, writer, "remember", '{"what": "this"}') == "null"
    run = Run.objects.get()
    (made,) = run.steps.get(type="tool_calls").step_details["tool_calls"]
    assert seen == [CallContext(alice.project.pk, run.assistant_id, run.thread_id, run.pk, made["id"])]
    assert output_of(alice, model, writer, "remember", '{"what": "x", "context": {}}').startswith("Error: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ('{"a": 1', "Error: the arguments do not fit. Invalid JSON"),
        ("[1, 2]", "Error: the arguments do not fit. Input should be an object"),
        ('{"a": "one"}', "Error: the arguments do not fit. a: Input should be a valid integer"),
        ("", "Error: the arguments do not fit. a: Field required"),
        ('{"a": 1, "b": 2}', "Error: the arguments do not fit. b: Unexpected keyword argument"),
    ],
)
def test_arguments_that_do_not_fit_are_told_to_the_model(
    arguments: str, told: str, alice: ApiClient, model: Model, writer: Writer
) -> None:
    @function_tool
    def double(a: int) -> int:
        raise AssertionError("never called")

    assert output_of(alice, model, writer, "double", arguments).startswith(told)


def leave(code: int) -> None:
    sys.exit(code)


def quarrel(code: int) -> None:
    raise ValueError(f"no code {code}, password=hunter2")


def refuse(code: int) -> None:
    raise ToolError("we are closed")


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (leave, "Error: SystemExit: 7"),
        (quarrel, "Error: ValueError: no code 7, password=•••"),
        (refuse, "Error: we are closed"),
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_function_raises_is_told_to_the_model(
    function: Callable[[int], None], told: str, is_async: bool, alice: ApiClient, model: Model, writer: Writer
) -> None:
    async def on_loop(code: int) -> None:
        function(code)

    def in_thread(code: int) -> None:
        function(code)

    function_tool(name="fail")(on_loop if is_async else in_thread)
    assert output_of(alice, model, writer, "fail", '{"code": 7}') == told


def test_an_output_is_bounded_and_can_be_stored(alice: ApiClient, model: Model, writer: Writer) -> None:
    @function_tool
    def huge() -> str:
        return "ä" * OUTPUT_BYTES_MAX

    @function_tool
    def odd() -> str:
        return "a\0b\ud800"

    told = output_of(alice, model, writer, "huge")
    assert len(told.encode()) <= OUTPUT_BYTES_MAX
    assert told.endswith(CUT)
    assert output_of(alice, model, writer, "odd") == "a\N{REPLACEMENT CHARACTER}b?"


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_has_its_time(
    is_async: bool, alice: ApiClient, model: Model, writer: Writer, settings: Settings
) -> None:
    settings.KUMOS_TOOL_SECONDS = 0.05
    back = threading.Event()

    async def on_loop() -> None:
        await asyncio.Event().wait()

    def in_thread() -> None:
        back.wait(60)

    function_tool(name="stall")(on_loop if is_async else in_thread)
    told = output_of(alice, model, writer, "stall")
    back.set()
    assert told.startswith("Error: no output within 0.05 seconds.")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("reason", [Stop.CANCELLED, Stop.EXPIRED])
def test_a_run_that_ends_does_not_wait_for_a_tool(
    is_async: bool, reason: Stop, alice: ApiClient, model: Model, writer: Writer
) -> None:
    """Not even for one that does not want to stop."""
    begun, back = threading.Event(), threading.Event()

    async def on_loop() -> None:
        begun.set()
        while not back.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)

    def in_thread() -> None:
        begun.set()
        back.wait(60)

    function_tool(name="stall")(on_loop if is_async else in_thread)
    model.will(call("stall", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[tool("stall")])

    async def work(live: Live) -> None:
        task = await live.start()
        await until(begun.is_set)
        if reason is Stop.CANCELLED:
            await asyncio.to_thread(alice.make, f"/threads/{run.thread_id}/runs/{run.pk}/cancel")
        live.executor.stop(reason)
        await task
        assert not back.is_set()
        back.set()

    ended = live(run, writer, work)
    assert ended.status == reason.value
    (step,) = run.steps.all()
    assert (step.status, step.begun, outputs(run)) == (reason.value, None, [None])
    assert step.usage is not None
    assert step.usage["total_tokens"] == USAGE["total_tokens"]
    check(alice, run)
