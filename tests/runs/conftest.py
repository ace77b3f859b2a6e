"""Runs without a server: made through the API, executed on a loop of the test's own, with the real writer thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Thread
from runs import queue, tools
from runs.executor import Executor
from runs.models import Run
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.loops import run_async, until
from tests.runs.interpreter import Interpreter
from tests.runs.model import Model
from tests.runs.witness import Conversation

GET_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
def writer() -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.stop()


@pytest.fixture
def model(settings: Settings) -> Iterator[Model]:
    """A model server that says what the test tells it to; every model but `scripted` is asked there."""
    with Model() as model:
        settings.OPENAI_BASE_URL = model.base_url
        yield model


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Interpreter:
    """A server that has a code interpreter."""
    interpreter = Interpreter()
    monkeypatch.setitem(tools.registry, "code_interpreter", interpreter)
    return interpreter


@pytest.fixture
def talk(alice: ApiClient) -> Iterator[Conversation]:
    """Alice's conversation, under full observation."""
    with Conversation(alice) as talk:
        yield talk


Execute = Callable[[str], Run]


@pytest.fixture
def execute(writer: Writer) -> Execute:
    """`execute(run_id)`: claims the run and works on it until it is over for this worker; the run as it then is."""

    def execute(run_id: str) -> Run:
        async def work() -> None:
            run = await writer.run(lambda: queue.claim_one(Run.objects.get(pk=run_id), "worker_test"))
            assert run is not None
            await Executor(run, writer).execute()

        run_async(work)
        return Run.objects.get(pk=run_id)

    return execute


def ask(client: ApiClient, content: str, *, tools: list[Any] | None = None, **fields: Any) -> tuple[Thread, Run]:
    """A thread with one question and a queued run on it, by `scripted`."""
    assistant = client.make("/assistants", {"model": "scripted", "tools": tools or []})
    thread = client.make("/threads", {"messages": [{"role": "user", "content": content}]})
    run = client.make(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **fields})
    return Thread.objects.get(pk=thread["id"]), Run.objects.get(pk=run["id"])


def make_overdue(run: Run) -> None:
    """Its time is over, and nobody has looked at it since."""
    Run.objects.filter(pk=run.pk).update(expires_at=now() - timedelta(seconds=1))


class EndlessChild:
    """Stands in for the interpreter that reads files: a process that never ends."""

    def __init__(self, folder: Path) -> None:
        self.script, self.note = folder / "endless", folder / "pid"
        self.script.write_text(
            f"#!/bin/sh\necho $$ > {self.note}.new && mv {self.note}.new {self.note}\nexec sleep 600\n"
        )
        self.script.chmod(0o755)

    async def started(self) -> int:
        """Its process id, once it runs."""
        await until(self.note.exists)
        return int(self.note.read_text())

    def assert_dead(self) -> None:
        with pytest.raises(ProcessLookupError):
            os.kill(int(self.note.read_text()), 0)


@pytest.fixture
def endless_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EndlessChild:
    child = EndlessChild(tmp_path)
    monkeypatch.setattr(sys, "executable", str(child.script))
    return child
