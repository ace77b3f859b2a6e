"""What the events of a stream carry, by their names (contract 3.3): the objects of answers, and deltas of them (3.9).

`story.py` makes them; this says what they look like, for the OpenAPI document and for every test that reads a stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NotRequired, TypedDict

from assistants.answers import Deletion
from assistants.models import MessageStatus
from assistants.serializers.message import FileCitation, FilePath, MessageObject
from assistants.serializers.thread import ThreadObject
from runs.models import RunStatus, StepStatus
from runs.serializers import FoundFile, Logs, OutputImage, RunObject, StepObject, UsedRanking
from streaming.sse import ErrorEvent


class CitationDelta(FileCitation):
    index: int


class FilePathDelta(FilePath):
    index: int


class TextDelta(TypedDict):
    """`annotations` is there in the first delta of a text, and where there are new ones."""

    value: str
    annotations: NotRequired[list[CitationDelta | FilePathDelta]]


class TextPartDelta(TypedDict):
    index: int
    type: Literal["text"]
    text: TextDelta


class ContentDelta(TypedDict):
    content: list[TextPartDelta]


class MessageDeltaObject(TypedDict):
    id: str
    object: Literal["thread.message.delta"]
    delta: ContentDelta


class FunctionDelta(TypedDict):
    """`name` and `output` come with the first delta of a call alone: clients add up what repeats."""

    name: NotRequired[str]
    arguments: str
    output: NotRequired[None]


class FunctionCallDelta(TypedDict):
    index: int
    id: NotRequired[str]
    type: Literal["function"]
    function: FunctionDelta


class FoundFileDelta(FoundFile):
    index: int


class FileSearchDelta(TypedDict):
    ranking_options: NotRequired[UsedRanking]
    results: NotRequired[list[FoundFileDelta]]


class FileSearchCallDelta(TypedDict):
    index: int
    id: NotRequired[str]
    type: Literal["file_search"]
    file_search: FileSearchDelta


class LogsDelta(Logs):
    index: int


class OutputImageDelta(OutputImage):
    index: int


class CodeInterpreterDelta(TypedDict):
    input: NotRequired[str]
    outputs: NotRequired[list[LogsDelta | OutputImageDelta]]


class CodeInterpreterCallDelta(TypedDict):
    index: int
    id: NotRequired[str]
    type: Literal["code_interpreter"]
    code_interpreter: CodeInterpreterDelta


class ToolCallsDelta(TypedDict):
    type: Literal["tool_calls"]
    tool_calls: list[FunctionCallDelta | FileSearchCallDelta | CodeInterpreterCallDelta]


class DetailsDelta(TypedDict):
    step_details: ToolCallsDelta


class StepDeltaObject(TypedDict):
    id: str
    object: Literal["thread.run.step.delta"]
    delta: DetailsDelta


EVENTS: Mapping[str, Any] = {
    "thread.created": ThreadObject,
    **dict.fromkeys((f"thread.run.{name}" for name in ("created", *RunStatus.values)), RunObject),
    **dict.fromkeys((f"thread.run.step.{name}" for name in ("created", *StepStatus.values)), StepObject),
    "thread.run.step.delta": StepDeltaObject,
    **dict.fromkeys((f"thread.message.{name}" for name in ("created", *MessageStatus.values)), MessageObject),
    "thread.message.delta": MessageDeltaObject,
    "thread.deleted": Deletion[Literal["thread.deleted"]],
    "error": ErrorEvent,
}
"""The type of each event's data. `done` alone carries none: its data is `[DONE]`."""
