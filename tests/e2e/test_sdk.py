"""The official Python SDK with another base_url and key, and nothing else. Heartbeats fall between its events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from typing import Any

import openai
import pytest
from openai import AssistantEventHandler, AsyncOpenAI, OpenAI
from openai.types.beta import AssistantStreamEvent
from openai.types.beta.threads import Message, Run, Text, TextDelta
from openai.types.beta.threads.runs import RunStep, ToolCall

from tests.process import KEY, KumosProcess

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.filterwarnings("ignore:(deprecated$|The Assistants API is deprecated):DeprecationWarning"),
]

QUESTION = "Summarize 'Project Dragon' based on all available files"
BRIEF = "Be brief."
"""Without instructions a run shows null, which the contract wants and the SDK's strict schema does not know."""
GET_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
FILE_SEARCH: Any = {"type": "file_search"}


@pytest.fixture(scope="module")
def beating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("sdk"), KUMOS_HEARTBEAT_SECONDS="0.2") as process:
        yield process


@pytest.fixture
def client(beating: KumosProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{beating.url}/v1", api_key=KEY, _strict_response_validation=True) as client:
        yield client


class Listener(AssistantEventHandler):
    """Notes what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.text = ""
        self.annotations: list[Any] = []
        self.messages: list[Message] = []
        self.calls: list[ToolCall] = []
        self.steps: list[RunStep] = []

    def on_event(self, event: AssistantStreamEvent) -> None:
        self.told.append(event.event)

    def on_text_created(self, text: Text) -> None:
        self.told.append("text_created")

    def on_text_delta(self, delta: TextDelta, snapshot: Text) -> None:
        self.text += delta.value or ""
        self.annotations += delta.annotations or []
        assert snapshot.value == self.text

    def on_text_done(self, text: Text) -> None:
        self.told.append("text_done")

    def on_message_done(self, message: Message) -> None:
        self.messages.append(message)

    def on_tool_call_created(self, tool_call: ToolCall) -> None:
        self.told.append(f"{tool_call.type}_created")

    def on_tool_call_done(self, tool_call: ToolCall) -> None:
        self.calls.append(tool_call)

    def on_run_step_done(self, run_step: RunStep) -> None:
        self.steps.append(run_step)

    def on_exception(self, exception: Exception) -> None:
        self.told.append(f"exception {exception}")

    def on_end(self) -> None:
        self.told.append("end")


def text_of(message: Message) -> str:
    part = message.content[0]
    assert part.type == "text"
    return part.text.value


def outputs_for(run: Run) -> Iterable[Any]:
    assert run.required_action is not None
    for call in run.required_action.submit_tool_outputs.tool_calls:
        city = json.loads(call.function.arguments)["city"]
        yield {"tool_call_id": call.id, "output": f"{city}: 20 degrees"}


def ask(client: OpenAI, content: str, tools: Iterable[Any] = ()) -> tuple[str, str]:
    """Ids of a new thread and assistant."""
    assistant = client.beta.assistants.create(model="scripted", instructions=BRIEF, tools=list(tools))
    return client.beta.threads.create(messages=[{"role": "user", "content": content}]).id, assistant.id


def test_a_handler_hears_the_search_and_the_cited_answer(client: OpenAI) -> None:
    thread, assistant = ask(client, QUESTION, [FILE_SEARCH])
    heard = Listener()
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant, event_handler=heard) as stream:
        stream.until_done()
        (final,) = stream.get_final_messages()
        run = stream.get_final_run()
        steps = stream.get_final_run_steps()

    assert run.status == "completed"
    wanted = ["thread.run.created", "file_search_created", "text_created", "text_done", "thread.run.completed", "end"]
    assert [told for told in heard.told if told in wanted] == wanted
    assert [step.type for step in steps] == ["tool_calls", "message_creation"]
    assert {call.type for call in heard.calls} == {"file_search"}  # more than once: the SDK says it with each step
    part = final.content[0]
    assert part.type == "text"
    assert heard.text == part.text.value
    assert part.text.annotations
    assert [note.text for note in heard.annotations] == [note.text for note in part.text.annotations]
    kept = client.beta.threads.messages.retrieve(final.id, thread_id=thread).content[0]
    assert kept.type == "text"
    assert kept.text.value == heard.text
    assert [note.to_dict() for note in kept.text.annotations] == [
        {name: value for name, value in note.to_dict().items() if name != "index"} for note in heard.annotations
    ]


def test_silence_filled_with_heartbeats_breaks_no_stream(client: OpenAI) -> None:
    """Three words at two a second: heartbeats come before, between and after events with ids."""
    thread, assistant = ask(client, "!slow 2 !long 4")
    heard = Listener()
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant, event_handler=heard) as stream:
        stream.until_done()
    assert heard.told[-1] == "end"
    assert heard.told.count("thread.message.delta") > 1
    assert heard.text == text_of(heard.messages[0])


def test_create_and_poll(client: OpenAI) -> None:
    thread, assistant = ask(client, "!fast !echo Hello")
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "completed"
    (answer,) = [message for message in client.beta.threads.messages.list(thread) if message.role == "assistant"]
    assert text_of(answer) == "Hello"


def test_create_and_run_in_one_call(client: OpenAI) -> None:
    assistant = client.beta.assistants.create(model="scripted", instructions=BRIEF).id
    thread: Any = {"messages": [{"role": "user", "content": "!fast !echo Hello"}]}
    heard = Listener()
    with client.beta.threads.create_and_run_stream(
        assistant_id=assistant, thread=thread, event_handler=heard
    ) as stream:
        stream.until_done()
    assert heard.told[0] == "thread.created"
    assert heard.text == "Hello"
    assert client.beta.threads.create_and_run_poll(assistant_id=assistant, thread=thread).status == "completed"


def test_parallel_calls_and_the_stream_of_their_outputs(client: OpenAI) -> None:
    thread, assistant = ask(client, "What is the weather in Paris and Rome?", [GET_WEATHER])
    calling, telling = Listener(), Listener()
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant, event_handler=calling) as stream:
        stream.until_done()
        run = stream.get_final_run()
    assert run.status == "requires_action"
    assert run.required_action is not None
    asked = run.required_action.submit_tool_outputs.tool_calls
    assert [json.loads(call.function.arguments)["city"] for call in asked] == ["Paris", "Rome"]
    streamed = [call.function.arguments for call in calling.calls if call.type == "function"]
    assert streamed == [call.function.arguments for call in asked]
    assert [told for told in calling.told if told == "function_created"] == ["function_created"] * 2

    with client.beta.threads.runs.submit_tool_outputs_stream(
        thread_id=thread, run_id=run.id, tool_outputs=outputs_for(run), event_handler=telling
    ) as stream:
        stream.until_done()
        assert stream.get_final_run().status == "completed"
    assert telling.told[0] == "thread.run.step.completed"
    assert "Paris: 20 degrees" in telling.text
    assert "Rome: 20 degrees" in telling.text
    assert telling.text == text_of(telling.messages[0])


def test_outputs_submitted_and_polled(client: OpenAI) -> None:
    thread, assistant = ask(client, "What is the weather in Paris and Rome?", [GET_WEATHER])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread, assistant_id=assistant)
    assert run.status == "requires_action"
    run = client.beta.threads.runs.submit_tool_outputs_and_poll(
        thread_id=thread, run_id=run.id, tool_outputs=outputs_for(run)
    )
    assert run.status == "completed"
    assert run.usage is not None
    steps = client.beta.threads.runs.steps.list(run.id, thread_id=thread, order="asc").data
    assert run.usage.total_tokens == sum(step.usage.total_tokens for step in steps if step.usage)


def test_the_async_client_streams(beating: KumosProcess, client: OpenAI) -> None:
    thread, assistant = ask(client, "!slow 8 !long 6")

    async def listen() -> tuple[str, Message, str]:
        said = ""
        async with (
            AsyncOpenAI(base_url=f"{beating.url}/v1", api_key=KEY) as remote,
            remote.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream,
        ):
            async for piece in stream.text_deltas:
                said += piece
            return said, (await stream.get_final_messages())[0], (await stream.get_final_run()).status

    said, final, status = asyncio.run(listen())
    assert status == "completed"
    assert said == text_of(final)


def test_a_raw_stream_of_events(client: OpenAI) -> None:
    thread, assistant = ask(client, "!fast !echo Hello")
    with client.beta.threads.runs.create(thread_id=thread, assistant_id=assistant, stream=True) as events:
        told = [event.event for event in events]
    assert told[0] == "thread.run.created"
    assert told[-1] == "thread.run.completed"


def test_a_store_of_own_files_is_searched(client: OpenAI) -> None:
    file = client.files.create(
        file=("owls.md", b"# Owls\n\nOwls of Zanthia hunt by starlight only."), purpose="assistants"
    )
    store = client.vector_stores.create(name="Birds")
    attached = client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
    assert attached.status == "completed"
    assert client.vector_stores.retrieve(store.id).file_counts.completed == 1
    assistant = client.beta.assistants.create(
        model="scripted",
        instructions=BRIEF,
        tools=[FILE_SEARCH],
        tool_resources={"file_search": {"vector_store_ids": [store.id]}},
    )
    thread = client.beta.threads.create(messages=[{"role": "user", "content": "How do the owls of Zanthia hunt?"}])
    run = client.beta.threads.runs.create_and_poll(thread_id=thread.id, assistant_id=assistant.id)
    assert run.status == "completed"
    answer = client.beta.threads.messages.list(thread.id, run_id=run.id).data[0].content[0]
    assert answer.type == "text"
    assert "starlight" in answer.text.value
    cited = [note.file_citation.file_id for note in answer.text.annotations if note.type == "file_citation"]
    assert set(cited) == {file.id}


def test_cancel(client: OpenAI) -> None:
    thread, assistant = ask(client, "!stall")
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant) as stream:
        for event in stream:
            if event.event == "thread.message.delta":
                run = client.beta.threads.runs.list(thread).data[0]
                assert client.beta.threads.runs.cancel(run.id, thread_id=thread).status in ("cancelling", "cancelled")
        assert stream.get_final_run().status == "cancelled"
    assert client.beta.threads.runs.poll(run.id, thread_id=thread).status == "cancelled"


def test_lists_page_by_themselves(client: OpenAI) -> None:
    thread = client.beta.threads.create().id
    for number in range(23):
        client.beta.threads.messages.create(thread, role="user", content=f"message {number}")
    listed = [text_of(message) for message in client.beta.threads.messages.list(thread, limit=5, order="asc")]
    assert listed == [f"message {number}" for number in range(23)]


def test_errors_are_the_classes_of_the_sdk(beating: KumosProcess, client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.beta.threads.retrieve("thread_missing")
    assert missing.value.request_id
    assert "thread_missing" in missing.value.message
    thread, assistant = ask(client, "!stall")
    with pytest.raises(openai.BadRequestError) as bad:
        client.beta.assistants.create(model="scripted", temperature=3)
    assert (bad.value.code, bad.value.param) == ("decimal_above_max_value", "temperature")
    with pytest.raises(openai.BadRequestError) as refused:
        client.beta.threads.runs.create(thread, assistant_id=assistant, model="")
    assert refused.value.param == "model"

    run = client.beta.threads.runs.create(thread, assistant_id=assistant)
    with pytest.raises(openai.BadRequestError, match=f"already has an active run {run.id}") as locked:
        client.beta.threads.runs.create(thread, assistant_id=assistant, stream=True)
    assert locked.value.type == "invalid_request_error"
    client.beta.threads.runs.cancel(run.id, thread_id=thread)

    with (
        OpenAI(base_url=f"{beating.url}/v1", api_key="sk-wrong") as stranger,
        pytest.raises(openai.AuthenticationError) as wrong,
    ):
        stranger.beta.assistants.list()
    assert wrong.value.code == "invalid_api_key"


def test_a_failed_run_is_an_event_and_no_exception(client: OpenAI) -> None:
    thread, assistant = ask(client, "!fail rate_limit_exceeded after 2")
    heard = Listener()
    with client.beta.threads.runs.stream(thread_id=thread, assistant_id=assistant, event_handler=heard) as stream:
        stream.until_done()
        run = stream.get_final_run()
    assert run.status == "failed"
    assert run.last_error is not None
    assert run.last_error.code == "rate_limit_exceeded"
    assert heard.told[-1] == "end"
