"""Conversations that nobody wrote: whatever models say, call and break off, and whoever interferes, the streams keep to
the grammar. And the grammar itself: no frame of a story can be left out, doubled, moved or changed unnoticed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from runs.executor import Stop
from runs.models import Run
from streaming.models import Event
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER
from tests.runs.grammar import read
from tests.runs.interpreter import Interpreter
from tests.runs.model import Model, call
from tests.runs.observed import tides
from tests.runs.witness import Conversation, question

pytestmark = pytest.mark.django_db(transaction=True)

TOOLS = [{"type": "file_search"}, {"type": "code_interpreter"}, GET_WEATHER]
PIECES = st.sampled_from(["word ", "𝄞", "\n", "【0:0†source】", "【0:", "1†source】", "【", "】", '"\\', "é "])
CALLS = st.sampled_from(
    [
        ("get_weather", '{"city": "Paris"}'), ("get_weather", ""), ("file_search", '{"query": "tide"}'),
        ("file_search", "tide"), ("code_interpreter", '{"code": "print 1\\nplot file-a\\nprint \\u00fc"}'),
        ("code_interpreter", '{"code": ""}'), ("code_interpreter", '{"code": "print 1\\nfail"}'), ("unheard_of", "{}"),
    ]
)  # fmt: skip
FINISHES = st.sampled_from(["stop", "stop", "stop", "length", "content_filter", None])


@dataclass(frozen=True, slots=True)
class Turn:
    """What the model says and calls, and how it ends. `cut`: into how many pieces the arguments fall."""

    words: list[str]
    calls: list[tuple[str, str]]
    finish: str | None
    cut: int

    def said(self) -> list[Any]:
        pieces: list[Any] = list(self.words)
        for index, (name, arguments) in enumerate(self.calls):
            size = max(len(arguments) // self.cut, 1)
            fragments = [arguments[place : place + size] for place in range(0, len(arguments), size)]
            pieces += call(name, *fragments, index=index)
        return pieces


TURNS = st.builds(
    Turn, st.lists(PIECES, max_size=6), st.lists(CALLS, max_size=3), FINISHES, st.integers(min_value=1, max_value=6)
)
INTERRUPTIONS = st.lists(st.tuples(st.sampled_from(["cancel", "crash"]), st.integers(3, 25)), max_size=2)


async def interfered(talk: Conversation, asked: tuple[str, dict[str, Any]], plan: list[tuple[str, int]]) -> None:
    """A run to its end, through the interruptions of `plan`: each when so many events are told, if it comes to that."""
    reading = await talk.start(*asked)
    while True:
        working = await talk.claim()
        kind, count = plan.pop(0) if plan else ("", 0)
        while kind and not working.done() and await Event.objects.filter(run_id=talk.run_id).acount() < count:
            await asyncio.sleep(0.005)
        if kind == "cancel" and not working.done():
            await asyncio.to_thread(talk.client.post, f"/threads/{talk.thread_id}/runs/{talk.run_id}/cancel")
            talk.executor.stop(Stop.CANCELLED)
        if kind == "crash" and not working.done():
            talk.executor.stop(Stop.LOST)
        await working
        run = await Run.objects.aget(pk=talk.run_id)
        if run.status == "in_progress":
            await talk.lease_runs_out()
            continue
        await reading
        if run.status != "requires_action":
            return
        reading = await talk.submit()


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@example(turns=[Turn([], [("unheard_of", "{}"), ("get_weather", "{}")], "stop", 1)], plan=[])
@given(turns=st.lists(TURNS, max_size=4), plan=INTERRUPTIONS)
def test_any_conversation_keeps_to_the_grammar(
    turns: list[Turn],
    plan: list[tuple[str, int]],
    alice: ApiClient,
    model: Model,
    interpreter: Interpreter,
) -> None:
    model.turns.clear()
    for turn in turns:
        model.will(*turn.said(), finish=turn.finish)
    resources = {"file_search": {"vector_store_ids": [tides(alice.project)]}}
    asked = question(alice, assistant={"tools": TOOLS, "tool_resources": resources})
    with Conversation(alice) as talk:
        talk.play(lambda: interfered(talk, asked, plan))
    assert talk.grammar.run["status"] in ("completed", "failed", "cancelled", "incomplete")


# The grammar itself ---------------------------------------------------------------------------------------------------

Story = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def story(alice: ApiClient, model: Model, talk: Conversation, interpreter: Interpreter) -> Story:
    """A run in which nearly everything happens."""
    model.will("Let ", "me see. ", call("code_interpreter", '{"code": "print 1', '\\nprint 2"}'), finish="tool_calls")
    model.will(
        call("get_weather", '{"city', '": 1}'), call("file_search", '{"query": "tide"}', index=1), finish="tool_calls"
    )
    model.will("High tide【0:0†source】 and ", "rain【2:0†source】.")
    resources = {"file_search": {"vector_store_ids": [tides(alice.project)]}}
    talk.tell(*question(alice, assistant={"tools": TOOLS, "tool_resources": resources}))
    return [(frame.name, frame.object) for frame in talk.posted[talk.run_id] if frame.name != "done"]


def is_right(story: Story) -> bool:
    try:
        read(json.loads(json.dumps(story)))
    except (AssertionError, KeyError, IndexError, TypeError):
        return False
    return True


def are_of_two_calls(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> bool:
    """Deltas of a step that say more of different calls may come in either order. On a slow machine there are such."""
    touched: list[set[int]] = []
    for name, frame in (one, other):
        if name != "thread.run.step.delta":
            return False
        touched.append({entry["index"] for entry in frame["delta"]["step_details"]["tool_calls"]})
    return touched[0].isdisjoint(touched[1])


def test_a_frame_cannot_be_left_out_doubled_or_moved(story: Story) -> None:
    assert is_right(story)
    for place in range(len(story)):
        assert not is_right(story[:place] + story[place + 1 :]), f"without {story[place]}"
        assert not is_right(story[: place + 1] + story[place:]), f"twice {story[place]}"
        if place and story[place] != story[place - 1] and not are_of_two_calls(story[place - 1], story[place]):
            moved = [*story[: place - 1], story[place], story[place - 1], *story[place + 1 :]]
            assert not is_right(moved), f"{story[place]} too early"
    assert not any(is_right(story[:place]) for place in range(len(story)) if "requires" not in story[place - 1][0])


def set_in(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        data[key] = value

    return change


CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("thread.run.created", lambda run: run.pop("top_p")),
    ("thread.run.created", set_in("started_at", 1)),
    ("thread.run.queued", set_in("model", "other")),
    ("thread.run.in_progress", set_in("started_at", None)),
    ("thread.run.in_progress", set_in("usage", {})),
    ("thread.run.requires_action", lambda run: run["required_action"]["submit_tool_outputs"]["tool_calls"].pop()),
    ("thread.run.completed", set_in("completed_at", 1.5)),
    ("thread.run.completed", set_in("expires_at", 1)),
    ("thread.run.completed", lambda run: run["usage"].update(total_tokens=1)),
    ("thread.run.step.created", set_in("usage", {})),
    ("thread.run.step.completed", set_in("run_id", "run_x")),
    ("thread.run.step.completed", set_in("usage", None)),
    ("thread.message.created", set_in("content", [{}])),
    ("thread.message.created", set_in("role", "user")),
    ("thread.message.completed", lambda message: message["content"].clear()),
    ("thread.message.completed", lambda message: message["content"][0]["text"].update(value="Other.")),
    ("thread.message.delta", lambda delta: delta["delta"]["content"][0].pop("index")),
    ("thread.message.delta", lambda delta: delta["delta"]["content"][0]["text"].pop("annotations")),
    ("thread.message.delta", lambda delta: delta["delta"].update(role="assistant")),
    ("thread.run.step.delta", lambda delta: delta["delta"]["step_details"]["tool_calls"][0].pop("id")),
    ("thread.run.step.delta", lambda delta: delta["delta"]["step_details"]["tool_calls"][0].update(index=1)),
    ("thread.run.step.delta", lambda delta: delta["delta"]["step_details"]["tool_calls"].append({})),
    ("thread.run.step.delta", set_in("id", "step_x")),
]


def test_no_value_can_be_changed(story: Story) -> None:
    for name, change in CHANGES:
        changed: Story = json.loads(json.dumps(story))
        change(next(data for told, data in changed if told == name))
        assert not is_right(changed), (name, change)
