"""Assistants, threads and messages: made, read, changed, listed over several pages, deleted."""

from __future__ import annotations

from typing import Any

import openai

from tests.contract.python.stage import BRIEF, FILE_SEARCH, GET_WEATHER, Kumos, refusal, scenario, text_of

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5Erk"
    "Jggg=="
)


@scenario
def an_assistant_lives(kumos: Kumos) -> None:
    schema: Any = {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}}
    fields: dict[str, Any] = {
        "name": "Weather frog",
        "description": "Knows the weather.",
        "instructions": BRIEF,
        "metadata": {"team": "north"},
        "temperature": 0.5,
        "top_p": 0.25,
        "response_format": schema,
    }
    assistants = kumos.client.beta.assistants
    made = assistants.create(model="scripted", tools=[GET_WEATHER, FILE_SEARCH], **fields)
    shown = made.to_dict()
    assert {name: shown[name] for name in fields if name != "response_format"} == {
        name: value for name, value in fields.items() if name != "response_format"
    }
    assert made.response_format is not None
    assert not isinstance(made.response_format, str)
    assert made.response_format.type == "json_schema"
    assert [tool.type for tool in made.tools] == ["function", "file_search"]
    assert assistants.retrieve(made.id).to_dict() == shown

    changed = assistants.update(made.id, description=None, metadata={"floor": "2"}, tools=[], response_format="auto")
    assert (changed.name, changed.description, changed.tools) == ("Weather frog", None, [])
    assert changed.metadata == {"team": "north", "floor": "2"}
    assert changed.response_format == "auto"
    assert assistants.retrieve(made.id).to_dict() == changed.to_dict()

    gone = assistants.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "assistant.deleted", True)
    error = refusal(openai.NotFoundError, assistants.retrieve, made.id)
    assert f"No assistant found with id '{made.id}'." in error.message


@scenario
def assistants_of_one_second_page_both_ways(kumos: Kumos) -> None:
    """Others make assistants at the same time: what counts is that each of ours comes once, in its place."""
    assistants = kumos.client.beta.assistants
    made = [assistants.create(model="scripted", name=f"number {number}") for number in range(23)]
    assert len({assistant.created_at for assistant in made}) < len(made)
    ids = [assistant.id for assistant in made]
    for order, expected in (("asc", ids), ("desc", ids[::-1])):
        listed = [assistant.id for assistant in assistants.list(limit=5, order=order)]  # type: ignore[arg-type]
        assert [id for id in listed if id in ids] == expected
        assert len(set(listed)) == len(listed)
    newer = assistants.list(limit=100, order="desc", before=ids[10]).data
    assert [assistant.id for assistant in newer if assistant.id in ids] == ids[:10:-1]


@scenario
def a_thread_lives(kumos: Kumos) -> None:
    threads = kumos.client.beta.threads
    assert threads.create().metadata == {}
    made = threads.create(
        messages=[{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}], metadata={"a": "1"}
    )
    assert made.object == "thread"
    assert (made._request_id or "").startswith("req_")  # documented; the SDK takes it from the header
    read = threads.retrieve(made.id)
    assert (read.id, read.created_at, read.metadata) == (made.id, made.created_at, {"a": "1"})
    assert threads.update(made.id, metadata={"b": "2"}).metadata == {"a": "1", "b": "2"}
    listed = threads.messages.list(made.id, order="asc").data
    assert [(message.role, text_of(message)) for message in listed] == [("user", "one"), ("assistant", "two")]
    gone = threads.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "thread.deleted", True)
    refusal(openai.NotFoundError, threads.retrieve, made.id)


@scenario
def a_message_lives(kumos: Kumos) -> None:
    thread = kumos.client.beta.threads.create().id
    messages = kumos.client.beta.threads.messages
    made = messages.create(thread, role="user", content="Hello", metadata={"a": "1"})
    assert (made.thread_id, made.run_id, made.assistant_id, made.attachments) == (thread, None, None, [])
    assert text_of(made) == "Hello"
    assert messages.retrieve(made.id, thread_id=thread).to_dict() == made.to_dict()
    changed = messages.update(made.id, thread_id=thread, metadata={"b": "2"})
    assert changed.metadata == {"a": "1", "b": "2"}
    gone = messages.delete(made.id, thread_id=thread)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "thread.message.deleted", True)
    refusal(openai.NotFoundError, messages.retrieve, made.id, thread_id=thread)


@scenario
def a_message_of_parts(kumos: Kumos) -> None:
    thread = kumos.client.beta.threads.create().id
    made = kumos.client.beta.threads.messages.create(
        thread,
        role="user",
        content=[
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
        ],
    )
    words, image = made.content
    assert words.type == "text"
    assert (words.text.value, words.text.annotations) == ("What is this?", [])
    assert image.type == "image_url"
    assert (image.image_url.url, image.image_url.detail) == (PIXEL, "low")


@scenario
def messages_of_one_second_page_both_ways(kumos: Kumos) -> None:
    thread = kumos.client.beta.threads.create().id
    messages = kumos.client.beta.threads.messages
    texts = [f"message {number}" for number in range(23)]
    made = [messages.create(thread, role="user", content=text) for text in texts]
    assert len({message.created_at for message in made}) < len(made)
    assert [text_of(message) for message in messages.list(thread, limit=5, order="asc")] == texts
    assert [text_of(message) for message in messages.list(thread, limit=5)] == texts[::-1]
    between = messages.list(thread, order="asc", after=made[4].id, before=made[8].id).data
    assert [text_of(message) for message in between] == texts[5:8]
