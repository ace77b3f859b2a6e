"""openai_compatible.py against a real server that misbehaves: every mode ends in the right events or error."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest
from asgiref.sync import async_to_sync
from pytest_django.fixtures import Settings

from runs.completers import (
    CompleterError,
    CompleterEvent,
    CompletionRequest,
    Finish,
    TextDelta,
    ToolCallDelta,
    Usage,
    openai_compatible,
)
from runs.completers.openai_compatible import (
    RETRY_AFTER_SECONDS_MAX,
    OpenAICompatibleCompleter,
    close_client,
    pause_before,
    refused_field,
    retry_after,
    without,
)
from tests.upstream import Upstream, expected_text, words

KEY = "sk-outer-secret-key"
PROMPT = "Tell me about clouds."
BOUND_SECONDS = 60.0
SILENT_SECONDS = 1.5
"""The idle limit of tests that wait for it to pass; nobody who speaks may be taken for silent on a slow machine."""


@pytest.fixture(autouse=True)
def limits(settings: Settings) -> None:
    settings.KUMOS_UPSTREAM_IDLE_SECONDS = settings.KUMOS_UPSTREAM_CONNECT_SECONDS = BOUND_SECONDS
    settings.KUMOS_UPSTREAM_ATTEMPTS = 2


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports come again, and what the last test's server refused is not this one's."""
    monkeypatch.setattr(openai_compatible, "_refused", {})


@pytest.fixture
def up() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def asked(model: str, **fields: Any) -> CompletionRequest:
    return CompletionRequest(
        model=model, messages=fields.pop("messages", [{"role": "user", "content": PROMPT}]), **fields
    )


@async_to_sync
async def events_of(base_url: str, request: CompletionRequest, key: str = KEY, **more: Any) -> list[CompleterEvent]:
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            return [event async for event in OpenAICompatibleCompleter(base_url, key, **more).stream(request)]
    finally:
        await close_client()


def error_of(up: Upstream, model: str, **fields: Any) -> CompleterError:
    with pytest.raises(CompleterError) as caught:
        events_of(up.base_url, asked(model, **fields))
    return caught.value


def text_of(events: list[CompleterEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# What works -----------------------------------------------------------------------------------------------------------


def test_text_comes_in_pieces_then_usage_then_finish(up: Upstream) -> None:
    *deltas, usage, finish = events_of(up.base_url, asked("ok"))
    assert text_of(deltas) == expected_text(PROMPT)
    assert len(deltas) == len(expected_text(PROMPT).split())
    assert usage == Usage(prompt_tokens=4, completion_tokens=len(deltas))
    assert finish == Finish("stop")
    assert up.aborted == 0


def test_each_word_is_given_when_it_comes(up: Upstream) -> None:
    """The server sends the next word only after the last one was seen: buffering anywhere would hang."""

    @async_to_sync
    async def stepwise() -> list[CompleterEvent]:
        seen: list[CompleterEvent] = []
        async with asyncio.timeout(BOUND_SECONDS), aclosing(stream_of(up, "gated:5")) as events:
            up.release()
            async for event in events:
                seen.append(event)
                if isinstance(event, TextDelta):
                    up.release()
        await close_client()
        return seen

    assert text_of(stepwise()) == words(5)


def stream_of(up: Upstream, model: str) -> Any:
    return OpenAICompatibleCompleter(up.base_url, KEY).stream(asked(model))


def test_request_holds_only_what_differs_from_the_defaults(up: Upstream) -> None:
    events_of(up.base_url, asked("ok"))
    body = up.calls[0].body
    assert body.keys() == {"model", "messages", "stream", "stream_options"}
    assert up.calls[0].headers["authorization"] == f"Bearer {KEY}"
    tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
    fields: dict[str, Any] = {
        "tool_choice": "required",
        "temperature": 0.2,
        "top_p": 0.5,
        "response_format": {"type": "json_object"},
        "max_completion_tokens": 9,
        "parallel_tool_calls": False,
        "reasoning_effort": "low",
    }
    events_of(up.base_url, asked("ok", tools=[tool], **fields), key="")
    sent = up.calls[1].body
    assert {name: sent[name] for name in fields} == fields
    assert sent["tools"] == [tool]
    assert "authorization" not in up.calls[1].headers


def test_a_field_that_the_server_refuses_is_left_out(up: Upstream) -> None:
    events = events_of(up.base_url, asked("refuses:stream_options"))
    assert text_of(events) == expected_text(PROMPT)
    events = events_of(up.base_url, asked("refuses:max_completion_tokens", max_completion_tokens=7))
    assert events[-1] == Finish("stop")
    assert up.calls[-1].body["max_tokens"] == 7
    assert "max_completion_tokens" not in up.calls[-1].body


@pytest.mark.parametrize(
    ("field", "wanted", "instead"),
    [
        ("max_tokens", {"max_completion_tokens": 7}, {"max_completion_tokens": 7}),
        ("temperature", {"temperature": 0.5, "top_p": 0.5}, {"top_p": 0.5}),
        ("reasoning_effort", {"reasoning_effort": "low"}, {}),
    ],
)
def test_what_a_model_refused_is_not_sent_to_it_again(
    field: str, wanted: dict[str, Any], instead: dict[str, Any], up: Upstream
) -> None:
    for _ in range(2):
        events = events_of(up.base_url, asked(f"refuses:{field}", **wanted), limit_field="max_tokens")
        assert events[-1] == Finish("stop")
    assert [field in call.body for call in up.calls] == [True, False, False]
    always = {"model", "messages", "stream", "stream_options"}
    assert all({k: v for k, v in call.body.items() if k not in always} == instead for call in up.calls[1:])


def test_a_limit_that_is_refused_under_both_names_is_an_error() -> None:
    body = {"max_tokens": 7}
    other = without(body, "max_tokens")
    assert other == {"max_completion_tokens": 7}
    assert without(other, "max_completion_tokens") == body


def test_strict_is_left_out_of_every_function() -> None:
    tools = [{"type": "function", "function": {"name": name, "strict": True}} for name in "ab"]
    said = "'tools[0].function.strict' is not permitted"
    assert refused_field({"tools": tools}, said) == "strict"
    left = without({"tools": tools}, "strict")["tools"]
    assert [tool["function"] for tool in left] == [{"name": "a"}, {"name": "b"}]
    assert refused_field({"tools": left}, said) == ""


def test_a_value_out_of_range_is_no_field_to_leave_out(up: Upstream) -> None:
    assert refused_field({"temperature": 1.5}, "temperature must be <= 1") == ""


def test_limit_field_of_older_servers(up: Upstream) -> None:
    events_of(up.base_url, asked("ok", max_completion_tokens=7), limit_field="max_tokens")
    assert up.calls[0].body["max_tokens"] == 7


def test_tool_call_streams_its_arguments(up: Upstream) -> None:
    events = events_of(up.base_url, asked('tool:get_weather:{"city": "Oslo"}'))
    first, *rest = [event for event in events if isinstance(event, ToolCallDelta)]
    assert (first.index, first.name, first.id.startswith("call_")) == (0, "get_weather", True)
    assert {(piece.id, piece.name) for piece in rest} == {("", "")}
    assert first.arguments + "".join(piece.arguments for piece in rest) == '{"city": "Oslo"}'
    assert events[-1] == Finish("tool_calls")


@pytest.mark.parametrize("mode", ["json-not-sse", "no-done", "finish-hangs", "done-hangs"])
def test_odd_but_whole_answers_are_answers(up: Upstream, mode: str) -> None:
    events = events_of(up.base_url, asked(mode))
    assert text_of(events) == expected_text(PROMPT)
    assert events[-1] == Finish("stop")


def test_without_usage_none_is_reported(up: Upstream) -> None:
    events = events_of(up.base_url, asked("no-usage"))
    assert not [event for event in events if isinstance(event, Usage)]
    assert events[-1] == Finish("stop")


@pytest.mark.parametrize("mode", ["503-then-ok", "429:1", "empty-once"])
def test_fault_before_the_first_event_is_tried_again(up: Upstream, mode: str) -> None:
    events = events_of(up.base_url, asked(mode))
    assert text_of(events) == expected_text(PROMPT)
    assert len(up.calls) == 2


def test_more_than_a_hundred_streams_at_once(up: Upstream) -> None:
    """httpx's own cap would let 100 through and starve the rest."""

    @async_to_sync
    async def together() -> list[str]:
        async def one() -> str:
            return "".join([e.text async for e in stream_of(up, "gated:1") if isinstance(e, TextDelta)])

        tasks = [asyncio.create_task(one()) for _ in range(120)]
        await asyncio.to_thread(up.wait_for_calls, 120)
        up.release(120)
        async with asyncio.timeout(BOUND_SECONDS):
            texts = await asyncio.gather(*tasks)
        await close_client()
        return texts

    assert together() == [words(1)] * 120


# What fails -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "code", "calls", "said"),
    [
        ("429", "rate_limit_exceeded", 2, "Rate limit reached"),
        ("500", "server_error", 2, "500"),
        ("408", "server_error", 2, "408"),
        ("drop", "server_error", 2, "broke"),
        ("error-chunk", "server_error", 2, "The engine broke."),
        ("error-chunk:rate_limit_exceeded", "rate_limit_exceeded", 2, "The engine broke."),
        ("error-chunk:content_filter", "invalid_prompt", 1, "The engine broke."),
        ("slow-first:30", "server_error", 2, "silent"),
        ("keepalive-forever", "server_error", 2, "silent"),
        ("400", "server_error", 1, "Unknown parameter"),
        ("400-context", "invalid_prompt", 1, "maximum context length"),
        ("401", "server_error", 1, "OPENAI_API_KEY"),
        ("404", "server_error", 1, "does not exist"),
        ("redirect", "server_error", 1, "redirects"),
        ("html", "server_error", 1, "web page"),
        ("huge-line", "server_error", 1, "1 MB"),
        # Behind the first event, nothing is tried again.
        ("stall", "server_error", 1, "silent"),
        ("cut", "server_error", 1, "broke"),
        ("rst", "server_error", 1, "broke"),
        ("garbage", "server_error", 1, "not a JSON object"),
        ("no-finish", "server_error", 1, "cut"),
        ("huge-text", "server_error", 1, "10 MB"),
        ("many-calls", "server_error", 1, "128"),
    ],
)
def test_fault_has_its_code_and_its_reason(
    up: Upstream, mode: str, code: str, calls: int, said: str, settings: Settings
) -> None:
    if said == "silent":
        settings.KUMOS_UPSTREAM_IDLE_SECONDS = SILENT_SECONDS
    error = error_of(up, mode)
    assert error.code == code
    assert said in error.message
    assert len(up.calls) == calls
    up.wait_until_idle()


def test_text_before_a_cut_is_given(up: Upstream) -> None:
    @async_to_sync
    async def until_the_cut() -> str:
        seen = ""
        try:
            async for event in stream_of(up, "cut"):
                assert isinstance(event, TextDelta)
                seen += event.text
        except CompleterError:
            await close_client()
        return seen

    assert until_the_cut() == "Half a "


@pytest.mark.parametrize("mode", ["401", "500", "404"])
def test_no_secret_and_no_address_in_an_error(up: Upstream, mode: str) -> None:
    """The server echoes keys and inner addresses with credentials, as real ones do."""
    up.queue("401" if mode == "401" else mode)
    base = up.base_url.replace("127.0.0.1", "admin:pa55word@127.0.0.1")
    with pytest.raises(CompleterError) as caught:
        events_of(base, asked(mode))
    told = repr(caught.value) + repr(caught.value.__context__)
    for secret in (KEY, "sk-inner-secret", "hunter2", "pa55word", str(up.port)):
        assert secret not in told


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # so that nobody else listens there either
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(CompleterError, match="cannot be reached") as caught:
            events_of(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", asked("ok"))
    assert caught.value.code == "server_error"


def test_key_that_no_header_can_hold(up: Upstream) -> None:
    with pytest.raises(CompleterError) as caught:
        events_of(up.base_url, asked("ok"), key="sk-with\nnewline")
    assert caught.value.code == "server_error"
    assert "newline" not in caught.value.message
    assert up.calls == []


# Leaving --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["endless", "stall", "gated:2"])
def test_closing_the_iterator_hangs_up_at_once(up: Upstream, mode: str) -> None:
    @async_to_sync
    async def leave() -> None:
        up.release()
        async with asyncio.timeout(BOUND_SECONDS), aclosing(stream_of(up, mode)) as events:
            await anext(events)
        await asyncio.to_thread(up.wait_for_aborted)
        await close_client()

    leave()
    up.wait_until_idle()


@pytest.mark.parametrize("mode", ["stall:0", "slow-first:30"])
def test_cancelling_a_waiting_task_hangs_up_at_once(up: Upstream, mode: str) -> None:
    @async_to_sync
    async def cancel() -> None:
        async def read_all() -> list[CompleterEvent]:
            events: AsyncIterator[CompleterEvent] = stream_of(up, mode)
            return [event async for event in events]

        task = asyncio.create_task(read_all())
        await asyncio.to_thread(up.wait_for_calls, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(up.wait_for_aborted)
        await close_client()

    cancel()


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("first", ["error", "cancel"])
def test_two_stops_that_meet_hang_up_all_the_same(up: Upstream, first: str, turns: int) -> None:
    """A worker may learn of a cancel by its flush and by a bell: the second stop comes while it is hanging up."""

    async def read_all() -> None:
        task = asyncio.current_task()
        assert task is not None
        async with aclosing(stream_of(up, "gated:2")) as events:
            async for _ in events:
                stopping = asyncio.create_task(stop_again(task))
                if first == "error":
                    raise RuntimeError("the first stop")
                task.cancel()
        await stopping

    async def stop_again(task: asyncio.Task[None]) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()

    @async_to_sync
    async def stop_twice() -> None:
        up.release()
        with pytest.raises((RuntimeError, asyncio.CancelledError)):
            await asyncio.create_task(read_all())
        await asyncio.to_thread(up.wait_for_aborted, 1, 3)
        await close_client()

    stop_twice()


def test_a_slow_reader_is_not_taken_for_a_silent_server(up: Upstream, settings: Settings) -> None:
    """The reader takes longer than the idle limit over each event, and only then the server says the next word."""
    settings.KUMOS_UPSTREAM_IDLE_SECONDS = 1.0

    @async_to_sync
    async def slowly() -> list[CompleterEvent]:
        seen = []
        up.release()
        async for event in stream_of(up, "gated:2"):
            seen.append(event)
            await asyncio.sleep(1.1)
            up.release()
        await close_client()
        return seen

    assert text_of(slowly()) == words(2)


# Pauses ---------------------------------------------------------------------------------------------------------------


def test_retry_after_is_waited_for(up: Upstream) -> None:
    started = time.monotonic()
    events_of(up.base_url, asked("429:1:0.6"))
    assert time.monotonic() - started >= 0.6


def test_pauses_are_bounded_and_spread() -> None:
    assert pause_before(1, 100_000.0) <= RETRY_AFTER_SECONDS_MAX * 1.1
    assert pause_before(40, None) <= 8
    assert len({pause_before(3, None) for _ in range(10)}) > 1
    assert max(pause_before(1, None) for _ in range(50)) < min(pause_before(4, None) for _ in range(50))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "Mon, 01 Jan 2001 00:00:00 GMT"}, 0.0),
        ({}, None),
    ],
)
def test_retry_after_forms(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(httpx.Headers(headers)) == seconds


def test_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=20)
    seconds = retry_after(httpx.Headers({"retry-after": format_datetime(later)}))
    assert seconds is not None
    assert 15 < seconds <= 20
