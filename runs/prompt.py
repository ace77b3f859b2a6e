"""What the model is told: instructions, the thread's messages, and what this run did so far, as chat messages.

It is made from the database at every turn, so a run that changes hands goes on from the same place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from assistants.models import Message, Role
from assistants.tokens import count_tokens
from runs.citations import without_markers
from runs.completers import ChatMessage, CompletionRequest
from runs.images import tokens_of
from runs.models import Run, RunStep, StepStatus, StepType
from runs.tools import ServerFunction, functions_of, tools_of

UNKNOWN_OUTCOME = "The call was interrupted; its outcome is unknown."


class PromptTooLong(Exception):
    """Not even the newest message fits `max_prompt_tokens`."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A turn's request, and what its citations may point at."""

    request: CompletionRequest
    sources: Mapping[tuple[int, int], str]
    functions: Mapping[str, ServerFunction]
    """Those that the server carries out."""

    def for_model(self, name: str) -> CompletionRequest:
        """The request under the name by which the provider knows the model."""
        return replace(self.request, model=name)


def build(run: Run) -> Prompt:
    """Reads the database. Raises PromptTooLong."""
    steps = list(run.steps.order_by("created_at", "pk"))
    messages = [*_history(run), *_own_steps(run, steps)]
    functions = functions_of(run)
    tools = _function_tools(run, functions)
    first_turn = not any(step.status == StepStatus.COMPLETED for step in steps)
    return Prompt(
        request=CompletionRequest(
            model=run.model,
            messages=_fitting(run, messages, steps, tools),
            tools=tools,
            tool_choice=_tool_choice(run, tools, first_turn=first_turn),
            temperature=run.temperature,
            top_p=run.top_p,
            response_format=_response_format(run),
            max_completion_tokens=_left(run.max_completion_tokens, steps, "completion_tokens"),
            parallel_tool_calls=run.parallel_tool_calls,
            reasoning_effort=run.reasoning_effort,
        ),
        sources=dict(_sources(steps)),
        functions=functions,
    )


def _left(budget: int | None, steps: list[RunStep], kind: str) -> int | None:
    """What is left of a whole-run budget (contract 2.8). A step that was interrupted begins again, with all it had."""
    done = [step.usage for step in steps if step.usage and step.status == StepStatus.COMPLETED]
    return None if budget is None else budget - sum(usage[kind] for usage in done)


def _history(run: Run) -> Iterator[ChatMessage]:
    messages = Message.objects.filter(thread_id=run.thread_id, superseded=False).exclude(run_id=run.pk)
    strategy = run.truncation_strategy or {}
    if strategy.get("type") == "last_messages" and strategy.get("last_messages"):
        messages = messages.filter(
            pk__in=list(
                messages.order_by("-created_at", "-pk").values_list("pk", flat=True)[: strategy["last_messages"]]
            )
        )
    for message in messages.order_by("created_at", "pk"):
        if message.role == Role.ASSISTANT:
            yield {"role": "assistant", "content": without_markers(message.text)}
        else:
            yield {"role": "user", "content": _user_content(message)}


def _user_content(message: Message) -> str | list[Mapping[str, Any]]:
    """Text alone as a string, which every server understands. Images stay as they are named; images.py fetches them."""
    if all(part["type"] == "text" for part in message.content):
        return message.text
    return [
        {"type": "text", "text": part["text"]["value"]} if part["type"] == "text" else part for part in message.content
    ]


def _own_steps(run: Run, steps: list[RunStep]) -> Iterator[ChatMessage]:
    """This run's finished steps as the model's own turns: text and the calls that followed it are one turn."""
    texts = _texts_of(run) if steps else {}
    text: str | None = None
    for number, step in enumerate(steps):
        if step.status != StepStatus.COMPLETED:
            continue
        if step.type == StepType.MESSAGE_CREATION:
            if text is not None:
                yield {"role": "assistant", "content": text}
            text = texts.get(step.step_details["message_creation"]["message_id"], "")
        else:
            yield {"role": "assistant", "content": text, "tool_calls": [_call(step, call) for call in _calls(step)]}
            yield from _outputs(run, step, number)
            text = None
    if text is not None:
        yield {"role": "assistant", "content": text}


def _texts_of(run: Run) -> dict[str, str]:
    return {message.pk: message.text for message in Message.objects.filter(thread_id=run.thread_id, run_id=run.pk)}


def _calls(step: RunStep) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = step.step_details["tool_calls"]
    return calls


def _call(step: RunStep, call: Mapping[str, Any]) -> dict[str, Any]:
    function = call["function"] if call["type"] == "function" else {"name": call["type"]}
    arguments = function.get("arguments") or step.call_arguments.get(call["id"]) or ""
    if not _is_object(arguments):
        arguments = "{}"  # Ollama and vLLM read them and refuse the whole prompt for what a model once got wrong
    return {"id": call["id"], "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _outputs(run: Run, step: RunStep, number: int) -> Iterator[ChatMessage]:
    tools = tools_of(run)
    results = 0
    for call in _calls(step):
        if call["type"] == "function":
            output = call["function"]["output"]
            told = UNKNOWN_OUTCOME if output is None else output
        elif call["type"] in tools:
            told = tools[call["type"]].told(call[call["type"]], number, results)
            results += len(call[call["type"]].get("results", ()))
        else:
            told = UNKNOWN_OUTCOME
        yield {"role": "tool", "tool_call_id": call["id"], "content": told}


def _sources(steps: list[RunStep]) -> Iterator[tuple[tuple[int, int], str]]:
    for number, step in enumerate(steps):
        if step.type != StepType.TOOL_CALLS:
            continue
        found = [r for call in _calls(step) if call["type"] == "file_search" for r in call["file_search"]["results"]]
        for index, result in enumerate(found):
            yield (number, index), result["file_id"]


def _fitting(
    run: Run, messages: list[ChatMessage], steps: list[RunStep], tools: Sequence[Mapping[str, Any]]
) -> list[ChatMessage]:
    """`messages` behind the instructions, without the oldest ones if `max_prompt_tokens` is too small for all.

    What is asked stays, and so does the newest turn of this run: without them there is nothing to answer.
    """
    system: list[ChatMessage] = [{"role": "system", "content": run.instructions}] if run.instructions else []
    budget = _left(run.max_prompt_tokens, steps, "prompt_tokens")
    if budget is None:
        return [*system, *messages]
    budget -= sum(_size(message) for message in system) + _size_of_tools(tools)
    place = max((i for i, message in enumerate(messages) if message["role"] == "user"), default=-1)
    older, asked, newer = messages[: max(place, 0)], [messages[place]] if place >= 0 else [], messages[place + 1 :]
    budget -= sum(_size(message) for message in asked)
    kept = _newest(newer, budget)
    if budget < 0 or (newer and not kept):
        raise PromptTooLong
    budget -= sum(_size(message) for message in kept)
    return [*system, *(_newest(older, budget) if len(kept) == len(newer) else ()), *asked, *kept]


def _newest(messages: Sequence[ChatMessage], budget: int) -> list[ChatMessage]:
    """The end of `messages` that fits: never an output without its call."""
    kept = deque((message, _size(message)) for message in messages)
    total = sum(size for _, size in kept)
    while kept and (total > budget or kept[0][0]["role"] == "tool"):
        total -= kept.popleft()[1]
    return [message for message, _ in kept]


def _size(message: ChatMessage) -> int:
    calls = "".join(call["function"]["arguments"] for call in message.get("tool_calls", ()))
    content = message["content"] or ""
    if isinstance(content, str):
        return count_tokens(f"{content}{calls}") + 4
    return 4 + sum(count_tokens(part["text"]) if part["type"] == "text" else tokens_of(part) for part in content)


def _size_of_tools(tools: Sequence[Mapping[str, Any]]) -> int:
    return count_tokens(orjson.dumps([tool["function"] for tool in tools]).decode()) if tools else 0


def estimate(request: CompletionRequest) -> int:
    """Prompt tokens of a turn, for models that do not report them."""
    return sum(_size(message) for message in request.messages) + _size_of_tools(request.tools)


def _function_tools(run: Run, known: Mapping[str, ServerFunction]) -> list[Mapping[str, Any]]:
    """What the model is offered. Of a function only what says something: many servers know no null and no `strict`."""
    mine = [tool.function() for tool in tools_of(run).values()]
    functions = [_described(tool["function"], known) for tool in run.tools if tool["type"] == "function"]
    return [*mine, *({"type": "function", "function": {k: v for k, v in f.items() if v}} for f in functions)]


def _described(function: Mapping[str, Any], known: Mapping[str, ServerFunction]) -> Mapping[str, Any]:
    """With the server's own words where the assistant leaves them out: it may name a function and nothing more."""
    mine = known.get(function["name"])
    if mine is None:
        return function
    takes = (function.get("parameters") or {}).get("properties")  # who gives none is entered as taking nothing
    return {
        **function,
        "description": function.get("description") or mine.description,
        "parameters": function["parameters"] if takes else mine.parameters(),
    }


def _response_format(run: Run) -> Mapping[str, Any] | None:
    given = run.response_format
    if not isinstance(given, dict) or given["type"] != "json_schema":
        return given if isinstance(given, dict) else None
    return {**given, "json_schema": {key: value for key, value in given["json_schema"].items() if value is not None}}


def _tool_choice(run: Run, tools: Sequence[Mapping[str, Any]], *, first_turn: bool) -> str | Mapping[str, Any]:
    """What forces a call does so once (contract 2.5); what forbids them does so throughout."""
    choice = run.tool_choice
    if choice == "none" or not first_turn:
        return "none" if choice == "none" else "auto"
    if not isinstance(choice, dict):
        return str(choice or "auto")
    name = choice["function"]["name"] if choice["type"] == "function" else choice["type"]
    if not any(tool["function"]["name"] == name for tool in tools):
        return "auto"  # another process took the run, which has no such tool
    return {"type": "function", "function": {"name": name}}
