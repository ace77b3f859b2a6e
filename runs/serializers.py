"""Runs and steps on the wire (contract 2.8, 2.12, 2.13): what answers and events show, and what clients send."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from django.conf import settings
from django.db.models import TextChoices

from assistants.clock import unix
from assistants.serializers.assistant import ModelName
from assistants.serializers.fields import (
    INSTRUCTIONS_MAX,
    Array,
    Boolean,
    ClosedSerializer,
    Enum,
    Integer,
    Metadata,
    String,
)
from assistants.serializers.message import Messages
from assistants.serializers.options import (
    Effort,
    ReasoningEffort,
    ResponseFormat,
    ShownResponseFormat,
    ShownTruncation,
    Temperature,
    TopP,
    TruncationStrategy,
)
from assistants.serializers.search import ShownPassage
from assistants.serializers.thread import ThreadInput
from assistants.serializers.tools import (
    ShownTool,
    ShownToolChoice,
    ShownToolResources,
    ToolChoice,
    ToolResources,
    Tools,
)
from runs.completers.catalogue import Model
from runs.models import TERMINAL, Run, RunStatus, RunStep, StepStatus, StepType

INCLUDE_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
"""The only value of `include[]`."""
RUN_TOOLS_MAX = 20


class CalledFunction(TypedDict):
    name: str
    arguments: str


class PendingCall(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


class PendingCalls(TypedDict):
    tool_calls: list[PendingCall]


class RequiredAction(TypedDict):
    type: Literal["submit_tool_outputs"]
    submit_tool_outputs: PendingCalls


class RunError(TypedDict):
    code: Literal["server_error", "rate_limit_exceeded", "invalid_prompt"]
    message: str


class RunIncompleteReason(TextChoices):
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    MAX_PROMPT_TOKENS = "max_prompt_tokens"
    CONTENT_FILTER = "content_filter"


class IncompleteRun(TypedDict):
    reason: RunIncompleteReason


class CachedTokens(TypedDict):
    cached_tokens: int


class ReasoningTokens(TypedDict):
    reasoning_tokens: int


class Usage(TypedDict):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_token_details: CachedTokens
    completion_tokens_details: ReasoningTokens


class RunObject(TypedDict):
    id: str
    object: Literal["thread.run"]
    created_at: int
    assistant_id: str
    thread_id: str
    status: RunStatus
    started_at: int | None
    expires_at: int | None
    cancelled_at: int | None
    failed_at: int | None
    completed_at: int | None
    required_action: RequiredAction | None
    last_error: RunError | None
    model: str
    instructions: str | None
    tools: list[ShownTool]
    tool_resources: ShownToolResources
    metadata: dict[str, str]
    temperature: float
    top_p: float
    max_completion_tokens: int | None
    max_prompt_tokens: int | None
    truncation_strategy: ShownTruncation
    incomplete_details: IncompleteRun | None
    usage: Usage | None
    response_format: ShownResponseFormat
    tool_choice: ShownToolChoice
    parallel_tool_calls: bool
    reasoning_effort: Effort | None


class MessageCreation(TypedDict):
    message_id: str


class MessageCreationDetails(TypedDict):
    type: Literal["message_creation"]
    message_creation: MessageCreation


class AnsweredFunction(TypedDict):
    name: str
    arguments: str
    output: str | None


class FunctionCall(TypedDict):
    id: str
    type: Literal["function"]
    function: AnsweredFunction


class UsedRanking(TypedDict):
    ranker: Literal["auto", "default_2024_08_21"]
    score_threshold: float


class FoundFile(TypedDict):
    """`content` only where `include[]` asks for it."""

    file_id: str
    file_name: str
    score: float
    attributes: dict[str, str | float | bool]
    content: NotRequired[list[ShownPassage]]


class FileSearch(TypedDict):
    ranking_options: UsedRanking
    results: list[FoundFile]


class FileSearchCall(TypedDict):
    id: str
    type: Literal["file_search"]
    file_search: FileSearch


class Logs(TypedDict):
    type: Literal["logs"]
    logs: str


class OutputFile(TypedDict):
    file_id: str


class OutputImage(TypedDict):
    type: Literal["image"]
    image: OutputFile


class CodeInterpreter(TypedDict):
    input: str
    outputs: list[Logs | OutputImage]


class CodeInterpreterCall(TypedDict):
    id: str
    type: Literal["code_interpreter"]
    code_interpreter: CodeInterpreter


class ToolCallsDetails(TypedDict):
    type: Literal["tool_calls"]
    tool_calls: list[FunctionCall | FileSearchCall | CodeInterpreterCall]


StepDetails = MessageCreationDetails | ToolCallsDetails


class StepError(TypedDict):
    code: Literal["server_error", "rate_limit_exceeded"]
    message: str


class StepObject(TypedDict):
    id: str
    object: Literal["thread.run.step"]
    created_at: int
    run_id: str
    assistant_id: str
    thread_id: str
    type: StepType
    status: StepStatus
    cancelled_at: int | None
    completed_at: int | None
    expires_at: int | None
    expired_at: int | None
    failed_at: int | None
    last_error: StepError | None
    step_details: StepDetails
    metadata: dict[str, str]
    usage: Usage | None


def run_object(run: Run, *, streamed: bool = False) -> RunObject:
    """Every documented key. `usage` and `expires_at` follow the status (2.8).

    `tool_resources` never shows what the run has: answers and events leave them empty, each in its way (10.4).
    """
    finished = run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE)
    return {
        "id": run.id,
        "object": "thread.run",
        "created_at": unix(run.created_at),
        "assistant_id": run.assistant_id,
        "thread_id": run.thread_id,
        "status": RunStatus(run.status),
        "started_at": unix(run.started_at),
        "expires_at": None if finished else unix(run.expires_at),
        "cancelled_at": unix(run.cancelled_at),
        "failed_at": unix(run.failed_at),
        "completed_at": unix(run.completed_at),
        "required_action": run.required_action,
        "last_error": run.last_error,
        "model": run.model,
        "instructions": run.instructions,
        "tools": run.tools,
        "tool_resources": {"code_interpreter": {"file_ids": []}} if streamed else {},
        "metadata": run.metadata,
        "temperature": run.temperature,
        "top_p": run.top_p,
        "max_completion_tokens": run.max_completion_tokens,
        "max_prompt_tokens": run.max_prompt_tokens,
        "truncation_strategy": run.truncation_strategy,
        "incomplete_details": {"reason": RunIncompleteReason(run.incomplete_reason)} if run.incomplete_reason else None,
        "usage": run.usage if run.status in TERMINAL else None,
        "response_format": run.response_format,
        "tool_choice": run.tool_choice,
        "parallel_tool_calls": run.parallel_tool_calls,
        "reasoning_effort": Effort(run.reasoning_effort) if run.reasoning_effort else None,
    }


class ModelObject(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    """All models in one answer: this list has no pages."""

    object: Literal["list"]
    data: list[ModelObject]


def model_object(model: Model) -> ModelObject:
    return {"id": model.id, "object": "model", "created": model.created, "owned_by": model.owned_by}


def step_object(step: RunStep, run: Run, *, with_content: bool) -> StepObject:
    """`with_content` shows the passages of file_search results (`include[]`)."""
    finished = run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE)
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": unix(step.created_at),
        "run_id": run.id,
        "assistant_id": step.assistant_id,
        "thread_id": step.thread_id,
        "type": StepType(step.type),
        "status": StepStatus(step.status),
        "cancelled_at": unix(step.cancelled_at),
        "completed_at": unix(step.completed_at),
        "expires_at": None if finished else unix(run.expires_at),
        "expired_at": unix(step.expired_at),
        "failed_at": unix(step.failed_at),
        "last_error": step.last_error,
        "step_details": step.step_details if with_content else without_content(step.step_details),
        "metadata": step.metadata,
        "usage": None if step.status == StepStatus.IN_PROGRESS else step.usage,
    }


def without_content(details: StepDetails) -> StepDetails:
    if details["type"] != "tool_calls":
        return details
    calls = [_without_content(call) if call["type"] == "file_search" else call for call in details["tool_calls"]]
    return {"type": "tool_calls", "tool_calls": calls}


def _without_content(call: FileSearchCall) -> FileSearchCall:
    results = [result.copy() for result in call["file_search"]["results"]]
    for result in results:
        result.pop("content", None)
    return {**call, "file_search": {**call["file_search"], "results": results}}


# What clients send ---------------------------------------------------------------------------------------------------


def Include() -> Array:
    return Array(Enum(INCLUDE_CONTENT), of="strings", required=False)


class RunFields(ClosedSerializer):
    """What POST …/runs and POST /threads/runs share: the assistant, and what to do differently from it."""

    assistant_id = String(min=1)
    model = ModelName(required=False, allow_null=True)
    instructions = String(max=INSTRUCTIONS_MAX, required=False, allow_null=True)
    tools = Tools(max=RUN_TOOLS_MAX, required=False, allow_null=True)
    metadata = Metadata()
    temperature = Temperature()
    top_p = TopP()
    stream = Boolean(required=False, allow_null=True)
    max_prompt_tokens = Integer(min=settings.KUMOS_TOKEN_BUDGET_MIN, required=False, allow_null=True)
    max_completion_tokens = Integer(min=settings.KUMOS_TOKEN_BUDGET_MIN, required=False, allow_null=True)
    truncation_strategy = TruncationStrategy()
    tool_choice = ToolChoice(required=False, allow_null=True)
    response_format = ResponseFormat()
    parallel_tool_calls = Boolean(required=False, allow_null=True)


class RunInput(RunFields):
    """POST /threads/{thread_id}/runs (contract 2.8)."""

    additional_instructions = String(max=INSTRUCTIONS_MAX, required=False, allow_null=True)
    additional_messages = Messages()
    reasoning_effort = ReasoningEffort()


class RunThread(ThreadInput):
    """The `thread` of POST /threads/runs: clients send whole thread objects, so what is unknown is ignored (10.14)."""

    closed = False


class ThreadRunInput(RunFields):
    """POST /threads/runs."""

    thread = RunThread(required=False, allow_null=True)
    tool_resources = ToolResources(required=False, allow_null=True)


class ToolOutput(ClosedSerializer):
    tool_call_id = String(min=1)
    output = String()


class ToolOutputs(ClosedSerializer):
    """POST …/submit_tool_outputs (contract 2.12)."""

    tool_outputs = Array(ToolOutput())
    stream = Boolean(required=False, allow_null=True)
