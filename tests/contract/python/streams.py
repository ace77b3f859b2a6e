"""Runs that are streamed: what each callback hears, and that what was heard is what GET shows."""

from __future__ import annotations

import json
from typing import Any

import openai
from openai.types.beta import AssistantStreamEvent
from openai.types.beta.threads import Message, Run

from tests.contract.python.runs import RESULT_CONTENT
from tests.contract.python.stage import (
    DRAGON,
    FILE_SEARCH,
    GET_WEATHER,
    WEATHER_QUESTION,
    Blocking,
    Heard,
    Kumos,
    annotations_of,
    outputs_for,
    refusal,
    scenario,
    text_of,
    tool_calls_of,
)

TEXT_RUN = [
    *("thread.run.created", "thread.run.queued", "thread.run.in_progress"),
    *("thread.run.step.created", "thread.run.step.in_progress"),
    *("thread.message.created", "thread.message.in_progress", "thread.message.delta", "thread.message.completed"),
    *("thread.run.step.completed", "thread.run.completed"),
]
TOLD_OF_TEXT = [
    *("run_step_created", "message_created", "text_created", "text_delta", "text_done", "message_done"),
    *("run_step_done", "end"),
]


def streamed(kumos: Kumos, heard: Any, **run: Any) -> tuple[Run, list[Message]]:
    """The final run and messages of a stream that `heard` listens to."""
    with kumos.client.beta.threads.runs.stream(**run, event_handler=heard) as stream:
        stream.until_done()
        run_at_end = stream.get_final_run()
        messages = stream.get_final_messages() if heard.messages else []
    return run_at_end, messages


def as_read(run: Run) -> dict[str, Any]:
    """Empty tool resources are written out in streams, and left out elsewhere (contract 10.4)."""
    return {name: value for name, value in run.to_dict().items() if name != "tool_resources"}


def assert_heard_is_kept(kumos: Kumos, heard: Heard, run: Run) -> Message:
    """The deltas, as the SDK put them together, are the message that GET shows, and so is the run."""
    kept = kumos.answer_of(run)
    assert heard.text == heard.snapshot["value"] == text_of(kept)
    # Deltas number the annotations, and quote nothing; the whole has neither.
    collected = [
        {name: value for name, value in note.items() if name != "index"}
        for note in heard.snapshot.get("annotations") or []
    ]
    for note in collected:
        note.get("file_citation", {}).pop("quote", None)
    assert collected == annotations_of(kept)
    assert [message.id for message in heard.messages] == [kept.id]
    assert annotations_of(heard.messages[0]) == annotations_of(kept)
    assert as_read(kumos.client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)) == as_read(run)
    return kept


@scenario
def a_handler_hears_a_text(kumos: Kumos) -> None:
    heard = kumos.listener()
    run, (final,) = streamed(kumos, heard, **kumos.ask("!long 12"))
    assert run.status == "completed"
    assert heard.only(*TEXT_RUN) == TEXT_RUN
    assert heard.only(*TOLD_OF_TEXT) == TOLD_OF_TEXT
    assert heard.told.count("text_delta") == heard.told.count("thread.message.delta") > 1
    assert set(heard.told) - set(TEXT_RUN) - set(TOLD_OF_TEXT) <= {"message_delta"}
    assert len(heard.text.split()) == 12
    assert text_of(final) == text_of(assert_heard_is_kept(kumos, heard, run))


@scenario
def silence_filled_with_heartbeats_breaks_no_stream(kumos: Kumos) -> None:
    """Four words at five a second: heartbeats come before, between and after events with ids."""
    heard = kumos.listener()
    run, _ = streamed(kumos, heard, **kumos.ask("!slow 5 !long 4"))
    assert heard.told.count("thread.message.delta") > 1  # a slow machine sends two words in one
    assert_heard_is_kept(kumos, heard, run)


@scenario
def a_handler_hears_the_search_and_the_cited_answer(kumos: Kumos) -> None:
    kumos = kumos.in_the_demo()
    heard = kumos.listener()
    run, (final,) = streamed(kumos, heard, **kumos.ask(DRAGON, tools=[FILE_SEARCH]))
    assert run.status == "completed"
    wanted = ["thread.run.created", "file_search_created", "text_created", "text_done", "thread.run.completed", "end"]
    assert heard.only(*wanted) == wanted
    assert [step.type for step in heard.steps] == ["tool_calls", "message_creation"]
    assert {call.type for call in heard.calls} == {"file_search"}  # more than once: the SDK says it with each step
    kept = assert_heard_is_kept(kumos, heard, run)
    assert len(annotations_of(kept)) > 1
    assert annotations_of(final) == annotations_of(kept)
    for note in annotations_of(kept):
        assert text_of(kept)[note["start_index"] : note["end_index"]] == note["text"]


@scenario
def a_search_streams_its_results_to_who_asks(kumos: Kumos) -> None:
    kumos = kumos.in_the_demo()
    heard = kumos.listener()
    streamed(kumos, heard, **kumos.ask(f"!fast {DRAGON}", tools=[FILE_SEARCH]), include=[RESULT_CONTENT])
    (call,) = heard.steps[0].step_details.tool_calls
    assert call.file_search.results
    assert all(result.content[0].text for result in call.file_search.results)


@scenario
def create_and_run_stream(kumos: Kumos) -> None:
    heard = kumos.listener()
    thread: Any = {"messages": [{"role": "user", "content": "!echo Hello there"}], "metadata": {"a": "1"}}
    with kumos.client.beta.threads.create_and_run_stream(
        assistant_id=kumos.assistant(), thread=thread, event_handler=heard
    ) as stream:
        stream.until_done()
        run = stream.get_final_run()
    assert heard.told[0] == "thread.created"
    assert heard.only(*TEXT_RUN) == TEXT_RUN
    assert text_of(assert_heard_is_kept(kumos, heard, run)) == "Hello there"
    assert kumos.client.beta.threads.retrieve(run.thread_id).metadata == {"a": "1"}


@scenario
def parallel_calls_and_the_stream_of_their_outputs(kumos: Kumos) -> None:
    calling, telling = kumos.listener(), kumos.listener()
    run, _ = streamed(kumos, calling, **kumos.ask(WEATHER_QUESTION, tools=[GET_WEATHER]))
    asked = tool_calls_of(run)
    assert [json.loads(call.function.arguments)["city"] for call in asked] == ["Paris", "Rome"]
    streamed_calls = [(call.id, call.function.name, call.function.arguments) for call in calling.calls]
    assert streamed_calls == [(call.id, call.function.name, call.function.arguments) for call in asked]
    assert calling.told.count("function_created") == calling.told.count("function_done") == 2
    assert calling.only("function_delta", "thread.run.requires_action", "end") == [
        *("function_delta", "thread.run.requires_action", "end"),
    ]

    with kumos.client.beta.threads.runs.submit_tool_outputs_stream(
        thread_id=run.thread_id, run_id=run.id, tool_outputs=outputs_for(run), event_handler=telling
    ) as stream:
        stream.until_done()
        ended = stream.get_final_run()
    assert ended.status == "completed"
    assert telling.told[0] == "thread.run.step.completed"
    assert telling.only("thread.run.step.completed", *TEXT_RUN[1:]) == ["thread.run.step.completed", *TEXT_RUN[1:]]
    assert "Paris: 20 degrees" in telling.text
    assert "Rome: 20 degrees" in telling.text
    assert_heard_is_kept(kumos, telling, ended)
    (step, _) = kumos.client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
    assert step.step_details.type == "tool_calls"
    assert [call.function.output for call in step.step_details.tool_calls if call.type == "function"] == [
        output["output"] for output in outputs_for(run)
    ]


@scenario
def a_stream_without_a_handler(kumos: Kumos) -> None:
    with kumos.client.beta.threads.runs.stream(**kumos.ask("!long 6")) as stream:
        said = "".join(stream.text_deltas)
        (final,) = stream.get_final_messages()
        run = stream.get_final_run()
        (step,) = stream.get_final_run_steps()
    assert run.status == "completed"
    assert step.type == "message_creation"
    assert said == text_of(final) == text_of(kumos.answer_of(run))


@scenario
def raw_events(kumos: Kumos) -> None:
    with kumos.client.beta.threads.runs.create(**kumos.ask("!long 6"), stream=True) as events:
        heard = list(events)
    told = [event.event for event in heard]
    assert [name for number, name in enumerate(told) if number == 0 or told[number - 1] != name] == TEXT_RUN
    with kumos.client.beta.threads.create_and_run(
        assistant_id=kumos.assistant(), thread={"messages": [{"role": "user", "content": "!echo Hi"}]}, stream=True
    ) as events:
        told = [event.event for event in events]
    assert (told[0], told[-1]) == ("thread.created", "thread.run.completed")


@scenario
def times_of_events_that_were_asked_for_break_no_stream(kumos: Kumos) -> None:
    """No helper of the SDK asks for them (docs/extensions.md): before each event stands a comment line."""
    run = kumos.client.beta.threads.runs.create_and_poll(**kumos.ask("!long 6"))
    path = f"/threads/{run.thread_id}/runs/{run.id}/stream?include_created_at=true"
    streams: Any = openai.AsyncStream if isinstance(kumos.client, Blocking) else openai.Stream
    kind = streams[AssistantStreamEvent]
    with kumos.client.get(path, cast_to=kind, stream=True, stream_cls=kind) as events:
        told = [event.event for event in events]
    assert [name for number, name in enumerate(told) if number == 0 or told[number - 1] != name] == TEXT_RUN


@scenario
def raw_events_of_a_call(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    with runs.create(**kumos.ask(WEATHER_QUESTION, tools=[GET_WEATHER]), stream=True) as events:
        last = list(events)[-1]
    assert last.event == "thread.run.requires_action"
    run = last.data
    with runs.submit_tool_outputs(
        run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run), stream=True
    ) as events:
        told = [event.event for event in events]
    assert (told[0], told[-1]) == ("thread.run.step.completed", "thread.run.completed")


@scenario
def cancelled_in_mid_stream(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    heard = kumos.listener()
    asked = kumos.ask("!stall")
    with runs.stream(**asked, event_handler=heard) as stream:
        for event in stream:
            if event.event == "thread.message.delta":
                run = runs.list(asked["thread_id"]).data[0]
                assert runs.cancel(run.id, thread_id=run.thread_id).status in ("cancelling", "cancelled")
        final = stream.get_final_run()
    assert final.status == "cancelled"
    assert as_read(final) == as_read(runs.poll(run.id, thread_id=run.thread_id))
    ends = ["thread.run.cancelling", "thread.message.incomplete", "thread.run.step.cancelled", "thread.run.cancelled"]
    assert heard.only(*ends, "end") == [*ends, "end"]
    message = kumos.answer_of(run)
    assert text_of(message) == heard.text
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_cancelled"


@scenario
def a_failed_run_is_an_event_and_no_exception(kumos: Kumos) -> None:
    heard = kumos.listener()
    run, _ = streamed(kumos, heard, **kumos.ask("!fail rate_limit_exceeded after 2"))
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.last_error.code == "rate_limit_exceeded"
    assert heard.told[-2:] == ["thread.run.failed", "end"]
    assert text_of(kumos.answer_of(run)) == heard.text
    assert not [told for told in heard.told if told.startswith("exception")]


@scenario
def a_run_that_fails_before_its_first_word(kumos: Kumos) -> None:
    heard = kumos.listener()
    run, _ = streamed(kumos, heard, **kumos.ask("!fail server_error"))
    assert (run.status, heard.text) == ("failed", "")
    assert heard.told[-2:] == ["thread.run.failed", "end"]


def assert_incomplete(kumos: Kumos, run_reason: str, message_reason: str, question: str, **options: Any) -> str:
    """What the run said until then."""
    heard: Heard = kumos.listener()
    run, _ = streamed(kumos, heard, **kumos.ask(question), **options)
    assert run.status == "incomplete"
    assert run.to_dict()["incomplete_details"] == {"reason": run_reason}
    ends = ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete", "end"]
    assert heard.only(*ends) == ends
    message = kumos.answer_of(run)
    assert message.status == "incomplete"
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == message_reason
    assert text_of(message) == heard.text
    return heard.text


@scenario
def a_run_that_used_up_its_tokens(kumos: Kumos) -> None:
    said = assert_incomplete(kumos, "max_completion_tokens", "max_tokens", "!fast !long 400", max_completion_tokens=256)
    assert len(said.split()) == 256


@scenario
def a_run_that_the_model_cut_short(kumos: Kumos) -> None:
    assert_incomplete(kumos, "max_completion_tokens", "max_tokens", "!length 4")


@scenario
def two_runs_of_a_thread_in_two_streams(kumos: Kumos) -> None:
    asked = kumos.ask("!echo Hello")
    texts = []
    for _ in range(2):
        heard = kumos.listener()
        run, _messages = streamed(kumos, heard, **asked)
        texts.append(text_of(assert_heard_is_kept(kumos, heard, run)))
    assert texts == ["Hello", "Hello"]


@scenario
def a_stream_that_is_refused(kumos: Kumos) -> None:
    """Before its first event, with the status that the request would have had without a stream."""
    runs = kumos.client.beta.threads.runs
    asked = kumos.ask("!stall")
    run = runs.create(**asked)
    error = refusal(openai.BadRequestError, lambda: streamed(kumos, kumos.listener(), **asked))
    assert f"Thread {run.thread_id} already has an active run {run.id}." in error.message
    refusal(openai.BadRequestError, runs.create, **asked, stream=True)
    runs.cancel(run.id, thread_id=run.thread_id)
    assert runs.poll(run.id, thread_id=run.thread_id).status == "cancelled"
