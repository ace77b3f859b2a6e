"""Runs and steps on the wire (contract 2.8, 2.12, 2.13): what answers and events show, and what clients send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from assistants.clock import unix
from assistants.serializers.assistant import MODEL_MAX
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
from assistants.serializers.message import MessageInput
from assistants.serializers.options import ReasoningEffort, ResponseFormat, Temperature, TopP, TruncationStrategy
from assistants.serializers.thread import ThreadInput
from assistants.serializers.tools import NewToolResources, ToolChoice, Tools
from runs.models import TERMINAL, Run, RunStatus, RunStep, StepStatus

INCLUDE_CONTENT = "step_details.tool_calls[*].file_search.results[*].content"
"""The only value of `include[]`."""
RUN_TOOLS_MAX = 20


def run_object(run: Run, *, streamed: bool = False) -> dict[str, Any]:
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
        "status": str(run.status),
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
        "incomplete_details": {"reason": run.incomplete_reason} if run.incomplete_reason else None,
        "usage": run.usage if run.status in TERMINAL else None,
        "response_format": run.response_format,
        "tool_choice": run.tool_choice,
        "parallel_tool_calls": run.parallel_tool_calls,
        "reasoning_effort": run.reasoning_effort,
    }


def step_object(step: RunStep, run: Run, *, with_content: bool) -> dict[str, Any]:
    """`with_content` shows the passages of file_search results (`include[]`)."""
    finished = run.status in (RunStatus.COMPLETED, RunStatus.INCOMPLETE)
    return {
        "id": step.id,
        "object": "thread.run.step",
        "created_at": unix(step.created_at),
        "run_id": run.id,
        "assistant_id": step.assistant_id,
        "thread_id": step.thread_id,
        "type": str(step.type),
        "status": str(step.status),
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


def without_content(details: Mapping[str, Any]) -> Mapping[str, Any]:
    if not any(call["type"] == "file_search" for call in details.get("tool_calls", ())):
        return details
    calls = [
        {**call, "file_search": {**call["file_search"], "results": [_bare(r) for r in call["file_search"]["results"]]}}
        if call["type"] == "file_search"
        else call
        for call in details["tool_calls"]
    ]
    return {**details, "tool_calls": calls}


def _bare(result: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "content"}


# What clients send ---------------------------------------------------------------------------------------------------


def Include(**kwargs: Any) -> Array:
    return Array(Enum(INCLUDE_CONTENT), of="strings", required=False, allow_null=True, **kwargs)


class RunFields(ClosedSerializer):
    """What POST …/runs and POST /threads/runs share: the assistant, and what to do differently from it."""

    assistant_id = String(min=1)
    model = String(max=MODEL_MAX, min=1, required=False, allow_null=True)
    instructions = String(max=INSTRUCTIONS_MAX, required=False, allow_null=True)
    tools = Tools(max=RUN_TOOLS_MAX, required=False, allow_null=True)
    metadata = Metadata()
    temperature = Temperature()
    top_p = TopP()
    stream = Boolean(required=False, allow_null=True)
    max_prompt_tokens = Integer(min=256, required=False, allow_null=True)
    max_completion_tokens = Integer(min=256, required=False, allow_null=True)
    truncation_strategy = TruncationStrategy()
    tool_choice = ToolChoice(required=False, allow_null=True)
    response_format = ResponseFormat()
    parallel_tool_calls = Boolean(required=False)


class RunInput(RunFields):
    """POST /threads/{thread_id}/runs (contract 2.8)."""

    additional_instructions = String(max=INSTRUCTIONS_MAX, required=False, allow_null=True)
    additional_messages = Array(MessageInput(), required=False, allow_null=True)
    reasoning_effort = ReasoningEffort()


class RunThread(ThreadInput):
    """The `thread` of POST /threads/runs: clients send whole thread objects, so what is unknown is ignored (10.14)."""

    closed = False


class ThreadRunInput(RunFields):
    """POST /threads/runs."""

    thread = RunThread(required=False, allow_null=True)
    tool_resources = NewToolResources(required=False, allow_null=True)


class ToolOutput(ClosedSerializer):
    tool_call_id = String(min=1)
    output = String()


class ToolOutputs(ClosedSerializer):
    """POST …/submit_tool_outputs (contract 2.12)."""

    tool_outputs = Array(ToolOutput())
    stream = Boolean(required=False, allow_null=True)
