"""People with different rights, and a project with a conversation in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from assistants import clock
from assistants.models import Assistant, Message, Project, Thread
from runs.models import Run, RunStatus, RunStep, StepStatus, StepType
from streaming.models import Event

HOSTILE = "<script>alert(1)</script>"
SHOWN = "&lt;script&gt;alert(1)&lt;/script&gt;"


@pytest.fixture
def root(db: None) -> Client:
    """A client logged in as superuser."""
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


@pytest.fixture
def staff(db: None) -> Callable[..., Client]:
    """Makes a client of a staff member with the named permissions, such as "view_run"."""

    def make(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff-{'-'.join(codenames)}"[:150], is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def dragons(db: None) -> Project:
    return Project.objects.create(name="Dragons")


@dataclass
class Talk:
    thread: Thread
    assistant: Assistant
    run: Run
    answer: Message


@pytest.fixture
def talk(dragons: Project) -> Talk:
    """A user's question, a run with a search, a function call and an answer: every text tries to be a script."""
    assistant = Assistant.objects.create(project=dragons, model="scripted", name=f"Searcher {HOSTILE}")
    thread = Thread.objects.create(project=dragons, metadata={"note": HOSTILE})
    text: dict[str, object] = {"type": "text", "text": {"value": f"Who? {HOSTILE}", "annotations": []}}
    Message.objects.create(thread=thread, role="user", content=[text])
    run = Run.objects.create(
        project=dragons,
        thread=thread,
        assistant_id=assistant.id,
        model="scripted",
        instructions=HOSTILE,
        status=RunStatus.COMPLETED,
        expires_at=clock.now() + timedelta(minutes=10),
        usage={"prompt_tokens": 1000, "completion_tokens": 234, "total_tokens": 1234},
    )
    calls = [
        {
            "id": "call_1",
            "type": "file_search",
            "file_search": {
                "ranking_options": {"ranker": "auto", "score_threshold": 0.0},
                "results": [
                    {
                        "file_id": "file-1",
                        "file_name": HOSTILE,
                        "score": 0.875,
                        "attributes": {},
                        "content": [{"type": "text", "text": f"passage {HOSTILE}"}],
                    }
                ],
            },
        },
        {
            "id": "call_2",
            "type": "function",
            "function": {"name": "roar", "arguments": '{"how": "<script>alert(1)</script>"}', "output": HOSTILE},
        },
    ]
    details = {"type": "tool_calls", "tool_calls": calls}
    of_run = {"run": run, "thread_id": thread.id, "assistant_id": assistant.id, "status": StepStatus.COMPLETED}
    RunStep.objects.create(type=StepType.TOOL_CALLS, step_details=details, completed_at=clock.now(), **of_run)
    mark: dict[str, object] = {
        "type": "file_citation",
        "text": "【0:0†source】",
        "file_citation": {"file_id": "file-1"},
    }
    text = {"type": "text", "text": {"value": f"The dragon. {HOSTILE}【0:0†source】", "annotations": [mark]}}
    answer = Message.objects.create(
        thread=thread, role="assistant", content=[text], run_id=run.id, assistant_id=assistant.id
    )
    wrote = {"type": "message_creation", "message_creation": {"message_id": answer.id}}
    RunStep.objects.create(type=StepType.MESSAGE_CREATION, step_details=wrote, **of_run)
    Run.objects.filter(pk=run.pk).update(completed_at=clock.now())
    run.refresh_from_db()
    for seq, name in enumerate(["thread.run.created", "thread.message.delta", "thread.run.completed"], 1):
        Event.objects.create(
            thread=thread, seq=seq, run_id=run.id, name=name, data='{"text":"<script>alert(1)</script>"}'
        )
    return Talk(thread, assistant, run, answer)
