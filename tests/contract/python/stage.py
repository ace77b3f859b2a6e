"""What every scenario has: a client, a listener, and Kumos at the other end.

A scenario is written once, in blocking Python, and is played twice: with `OpenAI`, and with `AsyncOpenAI` behind a
`Blocking` face that waits for whatever is awaitable.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, cast

import openai
from openai import AssistantEventHandler, AsyncAssistantEventHandler, AsyncOpenAI, OpenAI
from openai.types.beta.threads import Message, Run

MODES = ("sync", "async")
BRIEF = "Be brief."
"""Without instructions a run shows null, which the contract wants and the SDK's strict schema does not know."""
FILE_SEARCH: Any = {"type": "file_search"}
GET_WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
DRAGON = "Summarize 'Project Dragon' based on all available files"
"""What the documents of the demo project answer."""
WEATHER_QUESTION = "What is the weather in Paris and Rome?"
CALL_SECONDS = 60.0

Scenario = Callable[["Kumos"], None]
SCENARIOS: dict[str, Scenario] = {}


def scenario(play: Scenario) -> Scenario:
    """Registers a function of one `Kumos`: a test with each version of the SDK, in each mode."""
    name = play.__name__
    assert name not in SCENARIOS, name
    SCENARIOS[name] = play
    return play


class Blocking:
    """An asynchronous client, or a part or result of it. Its calls return what they would give when awaited."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        return self._faced(getattr(self._inner, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._faced(self._inner(*args, **kwargs))

    def __enter__(self) -> Any:
        return self._faced(self._inner.__aenter__())

    def __exit__(self, *exc: object) -> Any:
        return self._wait(self._inner.__aexit__(*exc))

    def __iter__(self) -> Iterator[Any]:
        items = self._inner.__aiter__()
        while True:
            try:
                yield self._wait(anext(items))
            except StopAsyncIteration:
                return

    def _wait(self, awaitable: Any) -> Any:
        async def awaited() -> Any:
            return await awaitable

        return self._loop.run_until_complete(awaited())

    def _faced(self, value: Any) -> Any:
        if inspect.isawaitable(value):
            value = self._wait(value)
        asynchronous = hasattr(value, "__aiter__") or hasattr(value, "__aenter__")
        part_of_client = type(value).__module__.startswith("openai.resources")
        return Blocking(value, self._loop) if asynchronous or part_of_client or inspect.isroutine(value) else value


class Heard:
    """Notes what an event handler is told; the handlers of both clients are made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        """Names of events and of the other callbacks, in order."""
        self.text = ""
        """All text deltas, joined by us."""
        self.snapshot: dict[str, Any] = {}
        """The text part as the SDK had accumulated it from the deltas, before the server sent the whole."""
        self.messages: list[Message] = []
        self.calls: list[Any] = []
        self.steps: list[Any] = []

    def on_event(self, event: Any) -> None:
        self.told.append(event.event)

    def on_message_created(self, message: Message) -> None:
        assert message.content == []
        self.told.append("message_created")

    def on_message_delta(self, delta: Any, snapshot: Message) -> None:
        self.told.append("message_delta")

    def on_message_done(self, message: Message) -> None:
        self.told.append("message_done")
        self.messages.append(message)

    def on_text_created(self, text: Any) -> None:
        self.told.append("text_created")
        self.text = ""

    def on_text_delta(self, delta: Any, snapshot: Any) -> None:
        self.told.append("text_delta")
        self.text += delta.value or ""
        self.snapshot = snapshot.to_dict()

    def on_text_done(self, text: Any) -> None:
        self.told.append("text_done")

    def on_run_step_created(self, run_step: Any) -> None:
        self.told.append("run_step_created")

    def on_run_step_delta(self, delta: Any, snapshot: Any) -> None:
        self.told.append("run_step_delta")

    def on_run_step_done(self, run_step: Any) -> None:
        self.told.append("run_step_done")
        self.steps.append(run_step)

    def on_tool_call_created(self, tool_call: Any) -> None:
        self.told.append(f"{tool_call.type}_created")

    def on_tool_call_delta(self, delta: Any, snapshot: Any) -> None:
        self.told.append(f"{delta.type}_delta")

    def on_tool_call_done(self, tool_call: Any) -> None:
        self.told.append(f"{tool_call.type}_done")
        self.calls.append(tool_call)

    def on_exception(self, exception: Exception) -> None:
        self.told.append(f"exception {exception!r}")

    def on_timeout(self) -> None:
        self.told.append("timeout")

    def on_end(self) -> None:
        self.told.append("end")

    def only(self, *names: str) -> list[str]:
        """Of what was told, these, each once for an uninterrupted series."""
        kept = [name for name in self.told if name in names]
        return [name for number, name in enumerate(kept) if number == 0 or kept[number - 1] != name]


def told_later(callback: Callable[..., None]) -> Callable[..., Coroutine[Any, Any, None]]:
    async def tell(self: Heard, *args: Any) -> None:
        callback(self, *args)

    return tell


class Listener(Heard, AssistantEventHandler):
    pass


AsyncListener = cast(
    "type[Heard]",
    type(
        "AsyncListener",
        (Heard, AsyncAssistantEventHandler),
        {name: told_later(callback) for name, callback in vars(Heard).items() if name.startswith("on_")},
    ),
)


class Kumos:
    """The served Kumos as one mode of the SDK sees it. Its addresses and keys are environment variables."""

    def __init__(self, mode: str, key: str) -> None:
        self.mode = mode
        self.loop = asyncio.new_event_loop()
        self.url = os.environ["CONTRACT_URL"]
        self.key = key
        self.client = self.connect()

    def in_the_demo(self) -> Kumos:
        """The same in the demo's project, whose documents a search without a vector store covers."""
        return Kumos(self.mode, os.environ["CONTRACT_DEMO_KEY"])

    def connect(self, *, strict: bool = True, **options: Any) -> OpenAI:
        """A client whose answers must fit the SDK's own schemas to the letter, unless not `strict`."""
        given = {"base_url": self.url, "api_key": self.key, "timeout": CALL_SECONDS, **options}
        if self.mode == "sync":
            return OpenAI(**given, _strict_response_validation=strict)
        return cast(
            OpenAI,
            Blocking(AsyncOpenAI(**given, _strict_response_validation=strict), self.loop),
        )

    def connect_counting(self, seen: Callable[[int], None], **options: Any) -> OpenAI:
        """A client that tells the status of each answer, repeated requests included."""

        def told(response: Any) -> None:
            seen(response.status_code)

        async def told_async(response: Any) -> None:
            told(response)

        if self.mode == "sync":
            return self.connect(http_client=openai.DefaultHttpxClient(event_hooks={"response": [told]}), **options)
        return self.connect(
            http_client=openai.DefaultAsyncHttpxClient(event_hooks={"response": [told_async]}), **options
        )

    def listener(self) -> Any:
        return Listener() if self.mode == "sync" else AsyncListener()

    def assistant(self, **fields: Any) -> str:
        return self.client.beta.assistants.create(**{"model": "scripted", "instructions": BRIEF, **fields}).id

    def ask(self, content: str, **assistant: Any) -> Any:
        """A thread with the question and an assistant: the arguments of a run."""
        thread = self.client.beta.threads.create(messages=[{"role": "user", "content": content}])
        return {"thread_id": thread.id, "assistant_id": self.assistant(**assistant)}

    def answer_of(self, run: Run) -> Message:
        """The one message of the run, as GET shows it."""
        (message,) = self.client.beta.threads.messages.list(run.thread_id, run_id=run.id).data
        return message


def refusal[E: openai.APIStatusError](kind: type[E], call: Callable[..., Any], *args: Any, **kwargs: Any) -> E:
    """The error of that class that the call raises."""
    try:
        result = call(*args, **kwargs)
    except kind as error:
        return error
    raise AssertionError(f"not refused: {result!r}")


def text_of(message: Message) -> str:
    (part,) = message.content
    assert part.type == "text"
    return part.text.value


def annotations_of(message: Message) -> list[dict[str, Any]]:
    (part,) = message.content
    assert part.type == "text"
    return [note.to_dict() for note in part.text.annotations]


def tool_calls_of(run: Run) -> list[Any]:
    assert run.status == "requires_action"
    assert run.required_action is not None
    return list(run.required_action.submit_tool_outputs.tool_calls)


def outputs_for(run: Run) -> Any:
    """What a client would submit for the calls of get_weather."""
    return [
        {"tool_call_id": call.id, "output": f"{json.loads(call.function.arguments)['city']}: 20 degrees"}
        for call in tool_calls_of(run)
    ]
