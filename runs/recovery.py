"""What becomes of half-done work when a run changes hands (design, section 4).

Finished steps stay. The open one is closed with what was streamed of it, and begins again under new ids; unless a call
of it has begun that must not be made twice. Then the step is finished with what is known, and the model is told so.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from assistants.clock import now
from assistants.models import Message, MessageStatus
from runs import story
from runs.models import Run, RunStep, StepStatus, StepType
from runs.transitions import close_step, end_message, keep_streamed_calls, open_steps, unreported_usage
from streaming import journal

STEP_ERROR = {"code": "server_error", "message": "The step was interrupted and begins again."}
UNKNOWN = (
    "Error: interrupted, outcome unknown. The server stopped while this call was under way: it may or may not have been"
    " carried out, and it was not repeated."
)
NOT_MADE = "Error: not carried out. The server stopped before this call began."


def close_interrupted_work(run: Run) -> None:
    """Closes what the run's last worker left open. Inside the claim's transaction."""
    moment = now()
    drafts = []
    for step in open_steps(run):
        if step.begun is not None:
            finish_begun(step, step.begun, moment)
            drafts.append(story.step_event(step, run))
            continue
        message = message_of(step)
        if message is not None:
            message.superseded = True
            end_message(message, run, "run_failed", moment)
            drafts.append(story.message_event(message, run))
        keep_streamed_calls(run, step)
        step.last_error = STEP_ERROR
        step.usage = unreported_usage(run, step)  # it is asked for again, and has to be paid twice
        close_step(step, StepStatus.FAILED, moment)
        drafts.append(story.step_event(step, run))
    if drafts:
        journal.append(run.thread_id, drafts)


def finish_begun(step: RunStep, begun: dict[str, Any], moment: datetime) -> None:
    """The step as done. To begin it again would have the model make its calls again, with their effects.

    So whatever has no output yet gets one that says why, a client's function too: the model calls again what it needs.
    """
    for call in begun["calls"]:
        if call["type"] == "function" and call["function"]["output"] is None:
            call["function"]["output"] = UNKNOWN if call["id"] in begun["ids"] else NOT_MADE
    step.step_details = {"type": StepType.TOOL_CALLS, "tool_calls": begun["calls"]}
    step.call_arguments = begun["arguments"]
    step.usage = begun["usage"]
    close_step(step, StepStatus.COMPLETED, moment)


def message_of(step: RunStep) -> Message | None:
    if step.type != StepType.MESSAGE_CREATION:
        return None
    id = step.step_details["message_creation"]["message_id"]
    return Message.objects.filter(pk=id, status=MessageStatus.IN_PROGRESS).first()
