"""A run per misbehaviour of a model server (tests/upstream.py): each ends with its reason, and the thread goes on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.events import DONE, Desk, Frame, as_streamed, ends_of, frames, names, text_of
from tests.ports import free_port
from tests.process import ROOT, START_SECONDS, KumosProcess
from tests.runs import grammar
from tests.upstream import Upstream, expected_text, words

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

KEY = "sk-up-secret-000"
IDLE_SECONDS = 3.0
"""Long for a server that speaks, on the slowest machine; short for those who wait for it to pass."""
BOUND_SECONDS = 60.0
"""All attempts with their pauses, silent ones included, on a busy machine."""
PROMPT = "Tell me about clouds."
GET_WEATHER = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}

COMPLETED = [
    *("ok", "slow-first:0.3", "503-then-ok", "429:1:0", "refuses:stream_options", "empty-once", "no-done", "no-usage"),
    *("finish-hangs", "done-hangs", "json-not-sse"),
]
FAILED = {
    "429": "rate_limit_exceeded",
    "error-chunk:rate_limit_exceeded": "rate_limit_exceeded",
    "400-context": "invalid_prompt",
    "error-chunk:content_filter": "invalid_prompt",
    **dict.fromkeys(
        [
            *("400", "401", "404", "408", "500", "redirect", "drop", "cut", "rst", "garbage", "html", "huge-line"),
            *("huge-text", "many-calls", "keepalive-forever", "no-finish", "error-chunk", "stall", "slow-first:30"),
            "tool-loop:file_search:{}",
        ],
        "server_error",
    ),
}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def connected(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """A Kumos whose models all come from `up`, except its own."""
    settings = {
        "OPENAI_BASE_URL": up.base_url,
        "OPENAI_API_KEY": KEY,
        "KUMOS_DEFAULT_MODEL": "gpt-x",
        "KUMOS_UPSTREAM_IDLE_SECONDS": str(IDLE_SECONDS),
        "KUMOS_UPSTREAM_ATTEMPTS": "2",
        "KUMOS_TURNS_MAX": "5",
    }
    with KumosProcess(tmp_path_factory.mktemp("upstream"), **settings) as process:
        yield process


@pytest.fixture
def desk(connected: KumosProcess, up: Upstream) -> Iterator[Desk]:
    with Desk(connected) as desk:
        yield desk
    up.wait_until_idle()


def streamed(desk: Desk, model: str, **assistant: object) -> list[Frame]:
    """The whole story of a run of that model, from POST …/runs with `stream`."""
    body = {"assistant_id": desk.assistant(model=model, **assistant), "stream": True}
    return desk.watch(f"/threads/{desk.thread(PROMPT)}/runs", post=body).end(BOUND_SECONDS)


def assert_whole(desk: Desk, story: list[Frame]) -> str:
    """A story with one end, which is told again in the same words, and its thread takes the next run. Its path."""
    assert story[-1] == DONE
    assert len(ends_of(story)) == 1
    grammar.read((frame.name, frame.object) for frame in story[:-1])
    run = story[0].object
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    assert frames(desk.read(f"{path}/stream")) == story
    assert as_streamed(desk.get(path)) == story[-2].object
    again = desk.ask("!fast !echo Still here", thread=run["thread_id"], model="scripted")
    assert desk.ended(again)["status"] == "completed"
    return path


@pytest.mark.parametrize("mode", COMPLETED)
def test_what_is_odd_but_whole_completes(desk: Desk, mode: str) -> None:
    story = streamed(desk, mode)
    assert story[-2].name == "thread.run.completed", story[-2].data
    assert text_of(story) == expected_text(PROMPT)
    (message,) = [frame.object for frame in story if frame.name == "thread.message.completed"]
    assert message["content"][0]["text"]["value"] == text_of(story)
    assert_whole(desk, story)


@pytest.mark.parametrize("mode", FAILED)
def test_what_is_broken_fails_with_its_reason(desk: Desk, mode: str) -> None:
    """What was said before the fault is kept in a message that is incomplete; a step that was open failed."""
    story = streamed(desk, mode, tools=[{"type": "file_search"}] if mode.startswith("tool-loop") else [])
    assert story[-2].name == "thread.run.failed"
    run = story[-2].object
    assert run["last_error"]["code"] == FAILED[mode]
    for secret in (KEY, "sk-inner-secret", "hunter2", "Bearer"):
        assert secret not in str([frame.data for frame in story])
    told = names(story)
    if "thread.message.created" in told:
        assert told[-4:] == ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"]
        message = story[-4].object
        assert message["incomplete_details"] == {"reason": "run_failed"}
        assert message["content"][0]["text"]["value"] == text_of(story)
    assert_whole(desk, story)


def test_the_words_before_a_cut_are_kept(desk: Desk) -> None:
    assert text_of(streamed(desk, "cut")) == "Half a "


def test_every_word_is_passed_on_before_the_next_one_is_said(desk: Desk, up: Upstream) -> None:
    """The model server says a word only after the last one was seen at the far end: nothing in between holds it."""
    body = {"assistant_id": desk.assistant(model="gated:6"), "stream": True}
    watcher = desk.watch(f"/threads/{desk.thread(PROMPT)}/runs", post=body)
    for number in range(1, 7):
        up.release()
        assert text_of(watcher.wait_for("thread.message.delta", number)) == words(number)
    assert watcher.end()[-2].name == "thread.run.completed"


def test_a_cancel_hangs_up_on_an_endless_model(desk: Desk, up: Upstream) -> None:
    hung_up = up.aborted
    path = desk.ask(PROMPT, assistant=desk.assistant(model="endless"))
    watcher = desk.watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta", 5)
    desk.make(f"{path}/cancel")
    up.wait_for_aborted(hung_up + 1)
    story = watcher.end()
    told = names(story)
    assert told[-4:] == ["thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled", "done"]
    assert "thread.run.cancelling" in told
    message = story[-4].object
    assert message["incomplete_details"] == {"reason": "run_cancelled"}
    assert message["content"][0]["text"]["value"] == text_of(story)
    assert text_of(story).startswith("more more more")
    assert_whole(desk, story)


def test_a_cancel_before_the_first_word(desk: Desk, up: Upstream) -> None:
    calls, hung_up = len(up.calls), up.aborted
    path = desk.ask(PROMPT, assistant=desk.assistant(model="gated:1"))
    up.wait_for_calls(calls + 1)
    desk.make(f"{path}/cancel")
    up.wait_for_aborted(hung_up + 1)
    story = frames(desk.read(f"{path}/stream"))
    assert names(story)[-3:] == ["thread.run.cancelling", "thread.run.cancelled", "done"]
    assert len(up.calls) == calls + 1, "the cancel hung up, not the limit on silence"
    assert_whole(desk, story)


def test_the_request_says_what_the_run_says(desk: Desk, up: Upstream) -> None:
    assistant = desk.assistant(
        model="default",
        instructions="Be brief.",
        tools=[GET_WEATHER],
        temperature=0.5,
        response_format={"type": "text"},
    )
    path = desk.ask(PROMPT, assistant=assistant, max_completion_tokens=300, additional_instructions="Really.")
    assert desk.ended(path)["status"] == "completed"
    call = up.calls[-1]
    assert call.headers["authorization"] == f"Bearer {KEY}"
    assert (call.body["model"], call.body["stream"]) == ("gpt-x", True)
    assert call.body["messages"] == [
        {"role": "system", "content": "Be brief. Really."},
        {"role": "user", "content": PROMPT},
    ]
    assert [tool["function"]["name"] for tool in call.body["tools"]] == ["get_weather"]
    assert (call.body["temperature"], call.body["max_tokens"]) == (0.5, 300)


def test_a_function_call_goes_to_the_client_and_back(desk: Desk, up: Upstream) -> None:
    mode = 'tool:get_weather:{"city": "Oslo"}'
    story = streamed(desk, mode, tools=[GET_WEATHER])
    assert names(story)[-2:] == ["thread.run.requires_action", "done"]
    run = story[-2].object
    (asked,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
    assert asked["function"] == {"name": "get_weather", "arguments": '{"city": "Oslo"}'}
    path = f"/threads/{run['thread_id']}/runs/{run['id']}"
    outputs = {"tool_outputs": [{"tool_call_id": asked["id"], "output": "rain"}], "stream": True}
    rest = desk.watch(f"{path}/submit_tool_outputs", post=outputs).end()
    assert rest[-2].name == "thread.run.completed"
    assert text_of(rest) == expected_text("rain")
    *_, calling, output = up.calls[-1].body["messages"]
    assert calling["tool_calls"][0]["id"] == output["tool_call_id"]
    assert (output["role"], output["content"]) == ("tool", "rain")
    assert_whole(desk, story[:-1] + rest)


def test_the_length_limit_of_the_model_makes_the_run_incomplete(desk: Desk) -> None:
    """Also for the model in the box, which stays in the box beside a model server."""
    thread = desk.thread("!fast !long 400")
    body = {"assistant_id": desk.assistant(), "max_completion_tokens": 256, "stream": True}
    story = desk.watch(f"/threads/{thread}/runs", post=body).end()
    assert story[-2].object["incomplete_details"] == {"reason": "max_completion_tokens"}
    assert len(text_of(story).split()) == 256
    assert names(story)[-4:-1] == ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete"]
    assert_whole(desk, story)


def test_the_model_in_the_box_asks_nobody(desk: Desk, up: Upstream) -> None:
    calls = len(up.calls)
    assert desk.ended(desk.ask("!fast !echo Hello"))["status"] == "completed"
    assert len(up.calls) == calls


def test_forty_runs_of_all_kinds_at_once(desk: Desk) -> None:
    """A model that misbehaves is nobody else's trouble."""
    kinds = ["ok", "stall", "cut", "500", "garbage", "many-calls", "ok:50:100", "keepalive-forever"] * 5
    assistants = {kind: desk.assistant(model=kind) for kind in set(kinds)}
    started = time.monotonic()
    paths = [desk.ask(PROMPT, assistant=assistants[kind]) for kind in kinds]
    ends = {path: desk.ended(path)["status"] for path in paths}
    assert [ends[path] == "completed" for path in paths] == [kind.startswith("ok") for kind in kinds]
    assert time.monotonic() - started < BOUND_SECONDS


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "OLLAMA_BASE_URL"])
def test_a_base_url_that_points_at_kumos_itself_is_refused(tmp_path: Path, name: str) -> None:
    port = free_port()
    settings = {"KUMOS_DATA_DIR": str(tmp_path), "PORT": str(port), name: f"http://localhost:{port}/v1"}
    done = subprocess.run(
        [sys.executable, "manage.py", "serve"],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
    )
    assert done.returncode != 0
    (line,) = done.stderr.strip().splitlines()
    assert name in line
    assert "this Kumos itself" in line
