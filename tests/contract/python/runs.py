"""Runs without a stream: polled to their ends, called back with tool outputs, cancelled, listed."""

from __future__ import annotations

from typing import Any

import openai

from tests.contract.python.stage import (
    BRIEF,
    DRAGON,
    FILE_SEARCH,
    GET_WEATHER,
    WEATHER_QUESTION,
    Kumos,
    outputs_for,
    refusal,
    scenario,
    text_of,
    tool_calls_of,
)

RESULT_CONTENT: Any = "step_details.tool_calls[*].file_search.results[*].content"


@scenario
def create_and_poll(kumos: Kumos) -> None:
    run = kumos.client.beta.threads.runs.create_and_poll(**kumos.ask("!echo Hello there"))
    assert run.status == "completed"
    assert text_of(kumos.answer_of(run)) == "Hello there"


@scenario
def create_then_poll_then_label(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    asked = kumos.ask("unheard", model="scripted", temperature=0.5)
    created = runs.create(
        **asked,
        additional_instructions="Really.",
        additional_messages=[{"role": "user", "content": "!echo Hello"}],
        metadata={"a": "1"},
        temperature=0.25,
        max_completion_tokens=300,
        truncation_strategy={"type": "last_messages", "last_messages": 1},
    )
    assert created.status in ("queued", "in_progress")
    run = runs.poll(created.id, thread_id=created.thread_id)
    assert run.status == "completed"
    assert run.to_dict() == runs.retrieve(run.id, thread_id=run.thread_id).to_dict()
    assert (run.instructions, run.temperature, run.max_completion_tokens) == (f"{BRIEF} Really.", 0.25, 300)
    assert run.truncation_strategy is not None
    assert run.truncation_strategy.last_messages == 1
    assert text_of(kumos.answer_of(run)) == "Hello"
    assert runs.update(run.id, thread_id=run.thread_id, metadata={"b": "2"}).metadata == {"a": "1", "b": "2"}


@scenario
def create_and_run_poll(kumos: Kumos) -> None:
    run = kumos.client.beta.threads.create_and_run_poll(
        assistant_id=kumos.assistant(), thread={"messages": [{"role": "user", "content": "!echo Hello"}]}
    )
    assert run.status == "completed"
    assert text_of(kumos.answer_of(run)) == "Hello"


@scenario
def create_and_run_then_poll(kumos: Kumos) -> None:
    threads = kumos.client.beta.threads
    run = threads.create_and_run(
        assistant_id=kumos.assistant(), thread={"messages": [{"role": "user", "content": "!echo Hello"}]}
    )
    assert threads.runs.poll(run.id, thread_id=run.thread_id).status == "completed"
    assert text_of(kumos.answer_of(run)) == "Hello"


@scenario
def parallel_calls_submitted_and_polled(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    run = runs.create_and_poll(**kumos.ask(WEATHER_QUESTION, tools=[GET_WEATHER]))
    assert [call.function.name for call in tool_calls_of(run)] == ["get_weather"] * 2
    outputs = outputs_for(run)
    error = refusal(
        openai.BadRequestError, runs.submit_tool_outputs, run.id, thread_id=run.thread_id, tool_outputs=outputs[:1]
    )
    assert f"got ['{outputs[0]['tool_call_id']}']" in error.message
    run = runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs)
    assert run.status == "completed"
    answer = text_of(kumos.answer_of(run))
    assert "Paris: 20 degrees" in answer
    assert "Rome: 20 degrees" in answer
    assert run.usage is not None
    steps = runs.steps.list(run.id, thread_id=run.thread_id, order="asc").data
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)


@scenario
def outputs_submitted_then_polled(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    run = runs.create_and_poll(**kumos.ask(WEATHER_QUESTION, tools=[GET_WEATHER], model="scripted"))
    submitted = runs.submit_tool_outputs(run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run))
    assert submitted.required_action is None
    assert runs.poll(run.id, thread_id=run.thread_id).status == "completed"
    error = refusal(
        openai.BadRequestError,
        runs.submit_tool_outputs,
        run.id,
        thread_id=run.thread_id,
        tool_outputs=outputs_for(run),
    )
    assert 'Runs in status "completed" do not accept tool outputs.' in error.message


@scenario
def rounds_of_calls_until_cancelled(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    run = runs.create_and_poll(**kumos.ask('!loop get_weather {"city": "Oslo"}', tools=[GET_WEATHER]))
    seen = {call.id for call in tool_calls_of(run)}
    for _ in range(2):
        run = runs.submit_tool_outputs_and_poll(run_id=run.id, thread_id=run.thread_id, tool_outputs=outputs_for(run))
        seen |= {call.id for call in tool_calls_of(run)}
    assert len(seen) == 3
    assert runs.cancel(run.id, thread_id=run.thread_id).status in ("cancelling", "cancelled")
    assert runs.poll(run.id, thread_id=run.thread_id).status == "cancelled"
    error = refusal(openai.BadRequestError, runs.cancel, run.id, thread_id=run.thread_id)
    assert "Cannot cancel run with status 'cancelled'." in error.message


@scenario
def a_forced_function(kumos: Kumos) -> None:
    choice: Any = {"type": "function", "function": {"name": "get_weather"}}
    run = kumos.client.beta.threads.runs.create_and_poll(
        **kumos.ask("Hello", tools=[GET_WEATHER]), tool_choice=choice, parallel_tool_calls=False
    )
    assert [call.function.name for call in tool_calls_of(run)] == ["get_weather"]
    kumos.client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)


@scenario
def an_answer_in_json(kumos: Kumos) -> None:
    run = kumos.client.beta.threads.runs.create_and_poll(
        **kumos.ask("Who are you?"), response_format={"type": "json_object"}
    )
    assert text_of(kumos.answer_of(run)).startswith('{"')


@scenario
def a_run_that_failed(kumos: Kumos) -> None:
    run = kumos.client.beta.threads.runs.create_and_poll(**kumos.ask("!fail rate_limit_exceeded after 2"))
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.last_error.code == "rate_limit_exceeded"
    (step,) = kumos.client.beta.threads.runs.steps.list(run.id, thread_id=run.thread_id).data
    assert step.status == "failed"
    message = kumos.answer_of(run)
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "run_failed"


@scenario
def a_run_that_a_filter_cut_short(kumos: Kumos) -> None:
    """The SDK's strict schema knows that reason for messages only (contract 9.5)."""
    run = kumos.connect(strict=False).beta.threads.runs.create_and_poll(**kumos.ask("!filter 4"))
    assert run.to_dict()["incomplete_details"] == {"reason": "content_filter"}
    message = kumos.answer_of(run)
    assert message.incomplete_details is not None
    assert message.incomplete_details.reason == "content_filter"


@scenario
def runs_and_steps_are_listed(kumos: Kumos) -> None:
    runs = kumos.client.beta.threads.runs
    asked = kumos.ask("!fast !echo Hello")
    made = [runs.create_and_poll(**asked).id for _ in range(3)]
    assert [run.id for run in runs.list(asked["thread_id"], limit=2)] == made[::-1]
    assert [run.id for run in runs.list(asked["thread_id"], limit=2, order="asc")] == made
    (step,) = runs.steps.list(made[0], thread_id=asked["thread_id"]).data
    read = runs.steps.retrieve(step.id, thread_id=asked["thread_id"], run_id=made[0])
    assert read.to_dict() == step.to_dict()
    assert read.step_details.type == "message_creation"


@scenario
def a_search_shows_its_results_to_who_asks(kumos: Kumos) -> None:
    kumos = kumos.in_the_demo()
    run = kumos.client.beta.threads.runs.create_and_poll(**kumos.ask(f"!fast {DRAGON}", tools=[FILE_SEARCH]))
    steps = kumos.client.beta.threads.runs.steps
    bare = steps.list(run.id, thread_id=run.thread_id, order="asc").data[0].step_details
    full = steps.list(run.id, thread_id=run.thread_id, order="asc", include=[RESULT_CONTENT]).data[0].step_details
    assert bare.type == full.type == "tool_calls"
    (short,), (long,) = bare.tool_calls, full.tool_calls
    assert short.type == long.type == "file_search"
    assert short.file_search.results
    assert long.file_search.results
    assert [result.file_id for result in short.file_search.results] == [
        result.file_id for result in long.file_search.results
    ]
    assert not any(result.content for result in short.file_search.results)
    assert all(result.content and result.content[0].text for result in long.file_search.results)
