"""The page of one run: what happened when, why it failed, what can be done; who may not read sees no texts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from assistants import clock
from assistants.admin import markup
from assistants.admin.content import HIDDEN
from assistants.masking import MASK
from assistants.models import ApiKey, Message, Project, Thread
from runs.admin import again, run_stream
from runs.admin.causes import OF_CODES, OF_MESSAGES, OF_REASONS, cause_of
from runs.admin.timeline import MARKS_READ
from runs.models import Run, RunStatus, UsageRecord
from runs.transitions import cancel_run, create_run
from streaming import journal, seats
from streaming.journal import Draft, Entry
from streaming.models import Event
from tests.loops import run_async

from .conftest import Talk

QUERIES = 20
"""However many events, steps and messages a run has."""


def page(client: Client, run: Run) -> str:
    answer = client.get(markup.page_of(Run, run.pk))
    assert answer.status_code == 200
    return answer.content.decode()


def waiting(project: Project) -> Run:
    thread = Thread.objects.create(project=project)
    run = Run(project=project, thread=thread, assistant_id="asst_gone", model="scripted", instructions="Wait.")
    return create_run(thread, run).run


def test_the_page_has_an_axis_with_a_row_for_each_stretch(root: Client, talk: Talk) -> None:
    began = talk.run.created_at
    talk.thread.events.all().delete()
    for seq, (name, after) in enumerate([("created", 0), ("queued", 0), ("in_progress", 2), ("completed", 8)]):
        Event.objects.create(
            thread=talk.thread,
            seq=seq,
            run_id=talk.run.id,
            name=f"thread.run.{name}",
            data="{}",
            created_at=began + timedelta(seconds=after),
        )
    for kind, after, until in (("tool_calls", 3, 5), ("message_creation", 6, 8)):
        moments = {"created_at": began + timedelta(seconds=after), "completed_at": began + timedelta(seconds=until)}
        talk.run.steps.filter(type=kind).update(**moments)
    Run.objects.filter(pk=talk.run.pk).update(completed_at=began + timedelta(seconds=8))
    text = page(root, talk.run)
    rows = re.findall(
        r'run-row run-(\w+).*?<th scope="row">(.*?)</th>.*?x="([\d.]+)%" width="([\d.]+)%"', text, re.DOTALL
    )
    kinds = [kind for kind, *_ in rows]
    assert kinds == ["queue", "model", "tool", "model", "message"]
    assert (rows[0][2], rows[0][3]) == ("0.0", "25.0")
    assert "file search, roar" in rows[2][1]


def test_a_failure_says_what_it_means_and_what_to_do(root: Client, talk: Talk) -> None:
    error = {"code": "server_error", "message": "The model server refused the key (401). Check OPENAI_API_KEY."}
    Run.objects.filter(pk=talk.run.pk).update(status="failed", last_error=error, request_id="req_1")
    text = page(root, talk.run)
    assert "Server error: The model server refused the key (401)." in text
    assert "does not accept the key" in text
    assert "Request req_1" in text
    assert 'value="retry"' in text


@pytest.mark.parametrize("code", [*OF_CODES, "something_new"])
def test_every_error_has_a_meaning(code: str) -> None:
    cause = cause_of(Run(status="failed", last_error={"code": code, "message": "Odd."}))
    assert cause
    assert cause.meaning
    assert cause.advice


@pytest.mark.parametrize("reason", [*OF_REASONS, "something_new"])
def test_every_early_end_has_a_meaning(reason: str) -> None:
    assert cause_of(Run(status="incomplete", incomplete_reason=reason))


def test_what_went_well_or_was_cancelled_has_no_cause() -> None:
    assert cause_of(Run(status="completed")) is None
    assert cause_of(Run(status="cancelled")) is None
    assert cause_of(Run(status="expired", expires_at=clock.now())) is not None


@pytest.mark.parametrize(
    ("message", "part"),
    [
        ("The model server cannot be reached. Is it running, and is its base URL right?", "Nothing answers"),
        ("The model server was silent for 60 seconds (KUMOS_UPSTREAM_IDLE_SECONDS).", "sent nothing"),
        ("The model server does not know the model or the address (404): no such model", "no model of this name"),
        ("The model server answered with a web page. Does its base URL end as it should (…/v1)?", "base URL"),
        ("The model 'gpt' needs OPENAI_API_KEY or OPENAI_BASE_URL.", "No provider"),
        ("The model server's answer was cut: it ended without a finish reason.", "broke off"),
        ("The model server failed (503): overloaded", "broke off"),
        ("The run did not come to an end in 20 turns.", "again and again"),
        ("The run was interrupted too often.", "process that worked"),
        ("Sorry, something went wrong.", "Something failed"),
    ],
)
def test_the_messages_that_kumos_writes_are_known(message: str, part: str) -> None:
    cause = cause_of(Run(status="failed", last_error={"code": "server_error", "message": message}))
    assert cause
    assert part in cause.meaning


def test_patterns_are_sound() -> None:
    assert all(re.compile(pattern) for pattern, *_ in OF_MESSAGES)


def test_the_head_says_who_made_it_and_what_it_cost(root: Client, talk: Talk) -> None:
    key, _ = ApiKey.issue(talk.thread.project, "Nightly")
    UsageRecord.objects.create(
        run_id=talk.run.pk,
        project=talk.thread.project,
        thread_id=talk.thread.pk,
        assistant_id=talk.assistant.pk,
        model="scripted",
        status="completed",
        ended_at=clock.now(),
        cost=1234567,
    )
    Run.objects.filter(pk=talk.run.pk).update(made_by=key.pk, request_id="req_abc", retry_of="run_before")
    Run.objects.create(
        project=talk.thread.project,
        thread=talk.thread,
        assistant_id="asst_gone",
        model="m",
        status="failed",
        retry_of=talk.run.pk,
        expires_at=clock.now(),
        id="run_after",
    )
    text = page(root, talk.run)
    for part in ("Nightly", "req_abc", "$1.23", "run_before", "run_after", "/bundle/"):
        assert part in text
    Run.objects.filter(pk=talk.run.pk).update(made_by=f"user {User.objects.get().pk}")
    assert ">root</a>" in page(root, talk.run)


def test_a_price_nobody_knows_is_not_zero(root: Client, talk: Talk) -> None:
    UsageRecord.objects.create(
        run_id=talk.run.pk,
        project=talk.thread.project,
        thread_id=talk.thread.pk,
        assistant_id=talk.assistant.pk,
        model="scripted",
        status="completed",
        ended_at=clock.now(),
    )
    assert "no price known" in page(root, talk.run)


def test_who_may_not_read_sees_structure_and_no_text(staff: Callable[..., Client], talk: Talk) -> None:
    Run.objects.filter(pk=talk.run.pk).update(metadata={"note": "about dragons"})
    text = page(staff("view_run"), talk.run)
    for secret in ("passage &lt;", "The dragon.", "Who?", "about dragons", "&quot;how&quot;"):
        assert secret not in text, secret
    assert HIDDEN in text
    assert "Function roar" in text
    assert "score 0.88" in text
    readers = page(staff("view_run", "read_content"), talk.run)
    for shown in ("passage &lt;", "The dragon.", "Who?", "about dragons", "&quot;how&quot;"):
        assert shown in readers, shown


def test_secrets_in_arguments_are_masked_for_everybody(root: Client, talk: Talk, settings: Settings) -> None:
    settings.KUMOS_MASKED_FIELDS = ["password"]
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "log_in", "arguments": '{"password": "hunter2"}', "output": '{"password": "hunter3"}'},
    }
    talk.run.steps.filter(type="tool_calls").update(step_details={"type": "tool_calls", "tool_calls": [call]})
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"password": "hunter4"}}}]
    action = {"submit_tool_outputs": {"tool_calls": [call]}}
    Run.objects.filter(pk=talk.run.pk).update(tools=tools, metadata={"password": "hunter5"}, required_action=action)
    text = page(root, talk.run)
    assert "hunter" not in text
    assert MASK in text


def test_the_transcript_is_what_was_said_until_then(root: Client, talk: Talk) -> None:
    part: dict[str, Any] = {"type": "text", "text": {"value": "Much later.", "annotations": []}}
    later = Message.objects.create(thread=talk.thread, role="user", content=[part])
    Message.objects.filter(pk=later.pk).update(created_at=clock.now() + timedelta(hours=1))
    text = page(root, talk.run)
    assert text.index("Who?") < text.index("The dragon.")
    assert "Much later." not in text


def test_an_answer_that_is_being_written_is_shown_as_far_as_it_is(root: Client, dragons: Project) -> None:
    run = waiting(dragons)
    message = Message.objects.create(thread=run.thread, role="assistant", status="in_progress", run_id=run.pk)
    journal.append(run.thread_id, [Draft("thread.message.delta", said("Half a wo", message.pk).data, run.pk)])
    text = page(root, run)
    assert "Half a wo" in text
    assert 'data-live="yes"' in text
    journal.append(run.thread_id, [Draft("thread.message.delta", said(" PASSWORD=hun", message.pk).data, run.pk)])
    assert "Half a wo PASSWORD=•••" in page(root, run)


def test_json_that_is_being_written_is_not_shown_before_it_can_be_judged(root: Client, dragons: Project) -> None:
    run = waiting(dragons)
    message = Message.objects.create(thread=run.thread, role="assistant", status="in_progress", run_id=run.pk)
    written = said('{"value": "hunter2", "na', message.pk).data
    journal.append(run.thread_id, [Draft("thread.message.delta", written, run.pk)])
    text = page(root, run)
    assert "hunter2" not in text
    assert "(JSON that is being written, 24 characters)" in text


def test_only_what_makes_sense_can_be_done(root: Client, talk: Talk, dragons: Project) -> None:
    run = waiting(dragons)
    assert 'value="cancel"' in page(root, run)
    assert 'value="retry"' not in page(root, run)
    assert 'value="cancel"' not in page(root, talk.run)
    assert 'value="retry"' not in page(root, talk.run)
    Run.objects.filter(pk=talk.run.pk).update(status="expired")
    assert 'value="retry"' in page(root, talk.run)


def test_a_retry_from_the_page_leads_to_the_new_run(root: Client, talk: Talk) -> None:
    Run.objects.filter(pk=talk.run.pk).update(status=RunStatus.FAILED, failed_at=clock.now(), completed_at=None)
    Thread.objects.filter(pk=talk.thread.pk).update(last_seq=talk.thread.events.count())
    answer = root.post(
        markup.page_of(Run, talk.run.pk), {"CHANGE_FORM-action": "retry", "_selected_action": [talk.run.pk]}
    )
    new = Run.objects.get(retry_of=talk.run.pk)
    assert answer["Location"] == markup.page_of(Run, new.pk)


def test_no_event_is_shown_twice_and_the_live_page_has_none(root: Client, talk: Talk) -> None:
    assert 'id="run-events"' in page(root, talk.run)
    live = root.get(f"{markup.page_of(Run, talk.run.pk)}?live")
    assert live.status_code == 200
    assert 'id="run-events"' not in live.content.decode()
    assert 'id="run-axis"' in live.content.decode()


def test_events_of_one_name_are_a_link_away(root: Client, talk: Talk) -> None:
    href = re.findall(r'href="([^"]*name__exact=thread.message.delta)"', page(root, talk.run))[0].replace("&amp;", "&")
    text = root.get(href).content.decode()
    assert "thread.message.delta" in text
    assert ">thread.run.completed<" not in text


def test_the_queries_of_a_page_are_bounded(root: Client, talk: Talk) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(root, talk.run)
        return len(captured)

    page(root, talk.run)
    before = queries()
    assert before <= QUERIES
    Event.objects.bulk_create(
        Event(thread=talk.thread, seq=seq, run_id=talk.run.id, name="thread.message.delta", data="{}")
        for seq in range(10, 10_000)
    )
    step = talk.run.steps.get(type="tool_calls")
    for number in range(30):
        step.pk = f"step_{number}"
        step.save(force_insert=True)
    assert queries() <= before + 2  # the other end of the log, and how long it is


def test_code_asks_for_the_same_again(talk: Talk) -> None:
    run = talk.run
    run.temperature, run.tools = 0.5, [{"type": "file_search"}]
    run.instructions = "Say \"hi\"\n'BODY'\nBODY\n"
    body = again.body_of(run, readable=True)
    assert body == {
        "assistant_id": talk.assistant.pk,
        "model": "scripted",
        "temperature": 0.5,
        "tools": [{"type": "file_search"}],
        "instructions": run.instructions,
    }
    curl = again.as_curl(run, "http://kumos/v1", body)
    lines = curl.splitlines()
    assert lines[-1] == "BODY"
    assert lines.count("BODY") == 1
    assert json.loads("\n".join(lines[3:-1])) == body
    python = again.as_python(run, "http://kumos/v1", body)
    arguments = eval(
        python[python.index("create_and_poll(") :].partition("\nprint")[0].replace("create_and_poll", "dict")
    )
    assert arguments == {"thread_id": talk.thread.pk, **body}
    hidden = again.body_of(run, readable=False)
    assert hidden["instructions"] == HIDDEN


STREAM = "/admin/runs/run/{}/stream/"


def test_the_stream_is_for_those_who_see_runs(root: Client, staff: Callable[..., Client], talk: Talk) -> None:
    address = STREAM.format(talk.run.pk)
    for client in (root, staff("view_run"), staff("change_run")):
        answer = client.get(address)
        assert (answer.status_code, answer["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert staff("view_thread").get(address).status_code == 403
    assert Client().get(address).status_code == 302
    assert root.get(STREAM.format("run_gone")).status_code == 404
    assert root.get(address, {"starting_after": "x"}).status_code == 400


def test_the_stream_tells_texts_to_readers_alone(staff: Callable[..., Client], talk: Talk) -> None:
    entry = said("Hush")
    assert b"Hush" in run_stream.Reader("run_1").readable(entry)
    assert run_stream.outline(entry) == (
        b'id: 7\nevent: thread.message.delta\ndata: {"size":%d,"at":1500}\n\n' % len(entry.data)
    )
    call = Entry("thread_1", 8, "run_1", "thread.run.step.delta", '{"password":"hunter2"}', 1.5)
    assert b"hunter2" not in run_stream.Reader("run_1").readable(call)


def said(text: str, message: str = "msg_1") -> Entry:
    content = [{"index": 0, "type": "text", "text": {"value": text}}]
    delta = {"id": message, "object": "thread.message.delta", "delta": {"content": content}}
    return Entry("thread_1", 7, "run_1", "thread.message.delta", json.dumps(delta), 1.5)


def test_the_stream_tells_a_text_up_to_the_first_secret(db: None) -> None:
    reader = run_stream.Reader("run_1")
    pieces = ["Rome. PASS", "WORD", "=", "hun", "ter2", " and on"]
    frames = b"".join(reader.readable(said(piece)) for piece in pieces)
    assert b"".join(re.findall(rb'"text":"([^"]*)"', frames)) == b"Rome. PASSWORD="
    assert frames.count(b"event: ") == len(pieces)
    assert b"Next" in reader.readable(said("Next", "msg_2"))
    assert b"hunter2" not in reader.readable(said('{"value":"hunter2"', "msg_3"))  # "name" may follow


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("before", ["PASSWORD=", "PASSWORD=hun", '{"value":'])
def test_who_joins_in_the_midst_of_a_text_reads_no_rest_of_a_secret(
    root: Client, dragons: Project, before: str
) -> None:
    run = waiting(dragons)
    journal.append(run.thread_id, [Draft("thread.message.delta", said(before).data, run.pk)])
    run.thread.refresh_from_db()
    rest = [said("ter2").data, said("Next", "msg_2").data]
    journal.append(run.thread_id, [Draft("thread.message.delta", data, run.pk) for data in rest])
    cancel_run(run)
    frames = heard(root, run, starting_after=run.thread.last_seq)
    assert b"ter2" not in frames
    assert b"Next" in frames


def heard(client: Client, run: Run, **query: int) -> bytes:
    answer: Any = client.get(STREAM.format(run.pk), query)

    async def whole() -> bytes:
        return b"".join([part async for part in answer.streaming_content])

    return run_async(whole)


@pytest.mark.django_db(transaction=True)
def test_who_may_not_read_follows_without_the_words(staff: Callable[..., Client], dragons: Project) -> None:
    run = waiting(dragons)
    journal.append(run.thread_id, [Draft("thread.message.delta", said("Hush").data, run.pk)])
    cancel_run(run)
    hidden, shown = heard(staff("view_run"), run), heard(staff("view_run", "read_content"), run)
    for frames in (hidden, shown):
        assert re.findall(rb"event: (\S+)", frames)[-2:] == [b"thread.run.cancelled", b"done"]
        assert b"Wait." not in frames  # the run's instructions
    assert b"Hush" not in hidden
    assert b"Hush" in shown


def test_a_status_late_in_a_long_log_is_on_the_axis(root: Client, dragons: Project) -> None:
    run = waiting(dragons)
    names = ["in_progress", *["delta"] * (MARKS_READ + 10), "requires_action"]
    journal.append(run.thread_id, [Draft(f"thread.run.{name}", "{}", run.pk) for name in names])
    assert "Waiting for the client’s outputs" in page(root, run)


def test_where_no_seat_is_left_the_answer_says_so(root: Client, talk: Talk, settings: Settings) -> None:
    settings.KUMOS_STREAMS_PER_KEY = 0
    with seats.visit():
        for address in (STREAM.format(talk.run.pk), f"/admin/runs/run/live/?runs={talk.run.pk}"):
            answer = root.get(address)
            assert answer.status_code == 429
            assert answer["Retry-After"]
