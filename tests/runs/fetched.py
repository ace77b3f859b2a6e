"""What GET returns of a thread's runs, beside what its events add up to (tests/fold.py)."""

from __future__ import annotations

from typing import Any

from assistants.models import Message, Thread
from assistants.serializers.message import message_object
from runs.models import Run
from runs.serializers import run_object, step_object


def fetched(thread: Thread) -> dict[str, Any]:
    """What a GET of each object would return."""
    objects: dict[str, Any] = {}
    for run in Run.objects.filter(thread=thread):
        objects[run.pk] = run_object(run)
        for step in run.steps.all():
            objects[step.pk] = step_object(step, run, with_content=False)
    for message in Message.objects.filter(thread=thread, role="assistant"):
        objects[message.pk] = message_object(message)
    return objects


def comparable(objects: dict[str, Any]) -> dict[str, Any]:
    """Without the clock that a test turns back, and without the calls of a step that are still being streamed.

    A GET shows those when they are whole, as it does with the text of a message.
    """
    shown = {}
    for id, one in objects.items():
        hidden = {"expires_at"}
        open_step = one["object"] == "thread.run.step" and one["status"] == "in_progress"
        if open_step and objects[one["run_id"]]["status"] != "requires_action":
            hidden.add("step_details")
        shown[id] = {key: value for key, value in one.items() if key not in hidden}
    return shown
