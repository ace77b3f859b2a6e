"""What becomes of half-done work when a run changes hands (design, section 4).

Finished steps stay. The open one is closed with what was streamed of it, and begins again under new ids.
"""

from __future__ import annotations

from assistants.clock import now
from assistants.models import Message, MessageStatus
from runs import story
from runs.models import Run, RunStep, StepStatus, StepType
from runs.transitions import close_step, end_message, keep_streamed_calls, open_steps, unreported_usage
from streaming import journal

STEP_ERROR = {"code": "server_error", "message": "The step was interrupted and begins again."}


def close_interrupted_work(run: Run) -> None:
    """Closes what the run's last worker left open. Inside the claim's transaction."""
    moment = now()
    drafts = []
    for step in open_steps(run):
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


def message_of(step: RunStep) -> Message | None:
    if step.type != StepType.MESSAGE_CREATION:
        return None
    id = step.step_details["message_creation"]["message_id"]
    return Message.objects.filter(pk=id, status=MessageStatus.IN_PROGRESS).first()
