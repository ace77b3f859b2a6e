"""What a turn has used that no worker tells of: its run was ended from elsewhere, or its worker is gone.

An estimate from what was asked and what was streamed, as a worker makes one where the model reports nothing
(executor.py). What a model thought without saying it, nobody here can know.
"""

from __future__ import annotations

import logging

from django.db import DatabaseError

from assistants.tokens import count_tokens
from runs import prompt, story
from runs.completers import Usage
from runs.models import Run, RunStep, StepType

logger = logging.getLogger(__name__)


def of_step(run: Run, step: RunStep) -> Usage:
    """Of the turn that `step`, which did not come to its end, belongs to."""
    return Usage(of_prompt(run), count_tokens(_streamed(run, step)))


def of_prompt(run: Run) -> int:
    """What asking the run's next turn costs. A run that cannot be estimated ends all the same."""
    try:
        return prompt.estimate(prompt.build(run).request)
    except DatabaseError:
        raise
    except Exception:
        logger.exception("the usage of run %s could not be estimated", run.pk)
        return 0


def _streamed(run: Run, step: RunStep) -> str:
    """What the model wrote, without what a tool made of it."""
    if step.type == StepType.MESSAGE_CREATION:
        (part,) = story.streamed_content(run, step.step_details["message_creation"]["message_id"])
        return str(part["text"]["value"])
    details = [call[call["type"]] for call in step.step_details["tool_calls"]]
    return "".join(one.get("arguments") or one.get("input") or "" for one in details)
