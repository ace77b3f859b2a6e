"""The support bundle: what explains a run in one file, without secrets, without content for whom may not read it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from assistants import versions
from assistants.admin import markup
from assistants.models import Assistant, Message
from runs.models import Run
from streaming.models import Event

from .conftest import HOSTILE, Talk

WORDS = ("Be kind", "Who?", "The dragon", "roar", "passage", "hunter2")


def bundle(client: Client, run: Run) -> dict[str, str]:
    """The files of a run's bundle, whose address is beside that of the run's page."""
    answer = client.get(markup.page_of(Run, run.pk).replace("/change/", "/bundle/"))
    assert answer.status_code == 200
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{run.pk}.zip"'
    with zipfile.ZipFile(BytesIO(answer.getvalue())) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def told(talk: Talk) -> Talk:
    """The talk, with a version of its assistant, a secret in a call, and a message that came after the run."""
    Assistant.objects.filter(pk=talk.assistant.pk).update(instructions=f"Be kind. {HOSTILE}")
    talk.assistant.refresh_from_db()
    version = versions.record(talk.assistant, "root")
    assert version is not None
    Run.objects.filter(pk=talk.run.pk).update(
        assistant_version=version.number,
        metadata={"api_key": "hunter2"},
        request_id="req_1",
        instructions="hunter2 is the word",
    )
    Event.objects.filter(run_id=talk.run.pk, seq=2).update(data='{"arguments": "{\\"password\\": \\"hunter2\\"}"}')
    Message.objects.create(thread=talk.thread, role="user", content=[{"type": "text", "text": {"value": "Later."}}])
    talk.run.refresh_from_db()
    return talk


def test_it_holds_what_explains_the_run(root: Client, told: Talk) -> None:
    files = bundle(root, told.run)
    run = json.loads(files["run.json"])
    assert (run["id"], run["request_id"], run["status"]) == (told.run.pk, "req_1", "completed")
    assert run["usage"]["total_tokens"] == 1234
    assert [step["type"] for step in lines(files["steps.ndjson"])] == ["tool_calls", "message_creation"]
    assert [message["role"] for message in lines(files["messages.ndjson"])] == ["user", "assistant"]
    assert [(event["seq"], event["event"]) for event in lines(files["events.ndjson"])] == [
        (1, "thread.run.created"),
        (2, "thread.message.delta"),
        (3, "thread.run.completed"),
    ]
    version = json.loads(files["assistant_version.json"])
    assert version["body"]["instructions"] == f"Be kind. {HOSTILE}"
    assert json.loads(files["versions.json"])["packages"]["Django"].startswith("6.")
    assert told.run.pk in files["README.txt"]


def test_secrets_stay_masked(root: Client, told: Talk) -> None:
    files = bundle(root, told.run)
    assert json.loads(files["run.json"])["metadata"] == {"api_key": "•••"}
    assert "hunter2" not in files["events.ndjson"]
    assert "password" in files["events.ndjson"]


def test_who_may_not_read_content_gets_none(staff: Callable[..., Client], told: Talk) -> None:
    files = bundle(staff("view_run"), told.run)
    everything = "".join(files.values())
    for word in WORDS:
        assert word not in everything, word
    run = json.loads(files["run.json"])
    assert run["instructions"].startswith("(hidden")
    assert run["usage"]["total_tokens"] == 1234
    data = told.thread.events.order_by("seq").values_list("data", flat=True)
    assert [event["size"] for event in lines(files["events.ndjson"])] == [len(one) for one in data]
    assert HOSTILE in "".join(bundle(staff("view_run", "read_content"), told.run).values())


def test_settings_are_told_without_secrets(root: Client, talk: Talk, settings: Settings) -> None:
    settings.OPENAI_API_KEY = "hunter2"
    settings.KUMOS_METRICS_TOKEN = "hunter2"
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_X": "hunter2"}
    settings.OPENAI_BASE_URL = "https://me:hunter2@models.example/v1"
    files = bundle(root, talk.run)
    told = json.loads(files["settings.json"])
    assert "hunter2" not in "".join(files.values())
    assert settings.SECRET_KEY not in "".join(files.values())
    assert told["OPENAI_BASE_URL"] == "https://•••@models.example/v1"
    assert told["KUMOS_RUN_SECONDS"] == settings.KUMOS_RUN_SECONDS
    assert told["KUMOS_METRICS_TOKEN"] == "•••"


def test_a_long_run_is_bundled_in_pieces(root: Client, talk: Talk) -> None:
    Event.objects.bulk_create(
        Event(thread=talk.thread, seq=seq, run_id=talk.run.id, name="thread.message.delta", data='{"a": 1}')
        for seq in range(4, 1004)
    )
    assert len(lines(bundle(root, talk.run)["events.ndjson"])) == 1003


def test_it_is_for_those_who_see_runs(staff: Callable[..., Client], talk: Talk) -> None:
    address = f"/admin/runs/run/{talk.run.pk}/bundle/"
    assert staff("view_thread").get(address).status_code == 403
    assert staff("view_run").get("/admin/runs/run/run_unknown/bundle/").status_code == 404
    assert staff().get("/admin/runs/run/run_unknown/bundle/").status_code == 403
    assert Client().get(address).status_code == 302
