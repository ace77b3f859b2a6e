"""What a model is to Kumos: a `Completer` turns one request into frozen events. It crafts and stores nothing of ours.

`scripted.py` answers offline, `openai_compatible.py` over HTTP; `providers.py` picks one by the model's name.
Steps, messages, citations and retries across attempts belong to `runs/executor.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

ChatMessage = Mapping[str, Any]
"""A message of the /chat/completions API: role, content, tool_calls, tool_call_id."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
ErrorCode = Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionRequest:
    """One model turn. `tools` are /chat/completions function tools; `response_format` and `tool_choice` in its form."""

    model: str
    messages: Sequence[ChatMessage]
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: str | Mapping[str, Any] = "auto"
    temperature: float = 1.0
    top_p: float = 1.0
    response_format: Mapping[str, Any] | None = None
    max_completion_tokens: int | None = None
    parallel_tool_calls: bool = True
    reasoning_effort: str | None = None


@dataclass(frozen=True, slots=True)
class TextDelta:
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of the call at `index`. `id` and `name` come once, with the first piece; calls start in index order."""

    index: int
    arguments: str
    id: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of this turn, as the model reports them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Finish:
    """The turn's end. A stream that ends without one was cut."""

    reason: FinishReason


CompleterEvent = TextDelta | ToolCallDelta | Usage | Finish


class CompleterError(Exception):
    """The turn cannot be finished. `code` and `message` become the run's `last_error` (contract 2.8)."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code: ErrorCode = code
        self.message = message


class Completer(Protocol):
    sees: bool
    """Whether images mean anything to it: only then are they fetched, and then they are data URLs."""

    def stream(self, request: CompletionRequest) -> AsyncGenerator[CompleterEvent]:
        """The turn's events as they come, ending with `Usage` (where known) and `Finish`. Raises `CompleterError`.

        Closing the iterator closes the connection to the model at once.
        """
        ...
