"""LangChain's assistants: a function call goes to its tools and back.

In the sync mode these are the classic ones, and in the async mode the community's, which build on them: the classic
`ainvoke` stumbles over the page of messages that it lists, whatever the server.
"""

from __future__ import annotations

from typing import Any

from langchain_classic.agents import AgentExecutor
from langchain_classic.agents.openai_assistant import OpenAIAssistantRunnable
from langchain_community.agents.openai_assistant import OpenAIAssistantV2Runnable
from langchain_core.tools import tool
from openai import AsyncOpenAI, OpenAI

from tests.contract.python.stage import BRIEF, FILE_SEARCH, WEATHER_QUESTION, Kumos, scenario

CHECK_EVERY_MS = 100.0


@tool  # type: ignore[untyped-decorator]  # LangChain is not here while types are checked
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"{city}: 20 degrees"


def runnable(kumos: Kumos, kind: Any = None, *, as_agent: bool = False, **assistant: Any) -> Any:
    """An assistant of that kind, else of the mode's."""
    kind = kind or (OpenAIAssistantRunnable if kumos.mode == "sync" else OpenAIAssistantV2Runnable)
    address: dict[str, Any] = {"base_url": kumos.url, "api_key": kumos.key}
    fields = {"name": "Weather frog", "instructions": BRIEF, "tools": [get_weather], "model": "scripted", **assistant}
    return kind.create_assistant(
        **fields,
        client=OpenAI(**address),
        async_client=AsyncOpenAI(**address),
        check_every_ms=CHECK_EVERY_MS,
        as_agent=as_agent,
    )


def invoked(kumos: Kumos, runnable: Any, given: dict[str, Any], **more: Any) -> Any:
    if kumos.mode == "sync":
        return runnable.invoke(given, **more)
    return kumos.loop.run_until_complete(runnable.ainvoke(given, **more))


@scenario
def a_call_answered_by_hand(kumos: Kumos) -> None:
    agent = runnable(kumos, as_agent=True)
    actions = invoked(kumos, agent, {"content": WEATHER_QUESTION})
    assert [(action.tool, action.tool_input) for action in actions] == [
        ("get_weather", {"city": "Paris"}),
        ("get_weather", {"city": "Rome"}),
    ]
    outputs = [
        {"tool_call_id": action.tool_call_id, "output": get_weather.invoke(action.tool_input)} for action in actions
    ]
    where = {"run_id": actions[0].run_id, "thread_id": actions[0].thread_id}
    finish = invoked(kumos, agent, {"tool_outputs": outputs, **where})
    output = finish.return_values["output"]
    assert "Paris: 20 degrees" in output
    assert "Rome: 20 degrees" in output
    assert kumos.client.beta.threads.runs.retrieve(**where).status == "completed"


@scenario
def a_call_answered_by_an_executor(kumos: Kumos) -> None:
    agent = runnable(kumos, as_agent=True)
    answer = invoked(kumos, AgentExecutor(agent=agent, tools=[get_weather]), {"content": WEATHER_QUESTION})
    assert "Paris: 20 degrees" in answer["output"]
    assert "Rome: 20 degrees" in answer["output"]


@scenario
def a_conversation(kumos: Kumos) -> None:
    assistant = runnable(kumos)
    (first,) = invoked(kumos, assistant, {"content": "!echo One", "thread_metadata": {"a": "1"}})
    thread = first.thread_id
    (second,) = invoked(kumos, assistant, {"content": "!echo Two", "thread_id": thread, "instructions": "Be kind."})
    assert [message.content[0].text.value for message in (first, second)] == ["One", "Two"]
    assert kumos.client.beta.threads.retrieve(thread).metadata == {"a": "1"}
    assert kumos.client.beta.threads.runs.retrieve(second.run_id, thread_id=thread).instructions == "Be kind."


@scenario
def an_attached_file_is_searched(kumos: Kumos) -> None:
    file = kumos.client.files.create(file=("newts.txt", b"Newts of Zanthia sleep in teapots."), purpose="assistants")
    assistant = runnable(kumos, OpenAIAssistantV2Runnable, tools=[FILE_SEARCH])
    attachments = [{"file_id": file.id, "tools": [FILE_SEARCH]}]
    question = {"content": "Where do the newts of Zanthia sleep?"}
    (answer,) = invoked(kumos, assistant, question, attachments=attachments)
    assert "teapots" in answer.content[0].text.value
    assert answer.content[0].text.annotations[0].file_citation.file_id == file.id
