"""Runs in the admin: what happened is on one page, and a hundred thousand of them cost what two cost."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext

from assistants import clock
from assistants.admin import markup
from assistants.admin.lists import COUNT_CAP
from assistants.models import Message, Project, Thread
from runs.admin.timeline import EVENTS_SHOWN
from runs.models import Run, RunStatus
from runs.transitions import create_run
from streaming.models import Event

from .conftest import Talk

LIST = "/admin/runs/run/"


def page_of(thing: Model) -> str:
    return markup.page_of(type(thing), thing.pk)


BATCH = 500


def many(project: Project, count: int, thread: Thread | None = None) -> Thread:
    """`count` finished runs in one thread, each with a message and an event, and as many empty threads.

    In batches: PostgreSQL throws out whoever does nothing for long in the middle of a transaction.
    """
    thread = thread or Thread.objects.create(project=project)
    seen = thread.events.count()
    runs = Run.objects.bulk_create(
        (
            Run(
                project=project,
                thread=thread,
                assistant_id="asst_gone",
                model="scripted",
                status=RunStatus.FAILED if index % 2 else RunStatus.COMPLETED,
                last_error={"code": "server_error", "message": "It broke."},
                expires_at=clock.now() + timedelta(minutes=10),
            )
            for index in range(count)
        ),
        BATCH,
    )
    Message.objects.bulk_create((Message(thread=thread, role="user", run_id=run.id) for run in runs), BATCH)
    Event.objects.bulk_create(
        (
            Event(thread=thread, seq=seq, run_id=run.id, name="thread.run.created", data="{}")
            for seq, run in enumerate(runs, seen + 1)
        ),
        BATCH,
    )
    Thread.objects.bulk_create((Thread(project=project) for _ in range(count)), BATCH)
    return thread


def queries_of(client: Client, address: str) -> list[str]:
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert client.get(address).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


def scans_and_sorts(sql: str) -> tuple[list[str], list[str]]:
    """What a query reads as a whole, and what it sorts: only where no index serves it."""
    with transaction.atomic(), connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("EXPLAIN QUERY PLAN " + sql.replace("%", "%%"))
            plan = [str(row[3]) for row in cursor.fetchall()]
            scans = [step for step in plan if step.startswith("SCAN") and "subquery" not in step.lower()]
            return [step for step in scans if "INDEX" not in step], [step for step in plan if "ORDER BY" in step]
        # PostgreSQL reads and sorts small tables, whatever their indexes: it is told to do so only if it must.
        for kind in ("seqscan", "bitmapscan", "sort"):
            cursor.execute(f"SET LOCAL enable_{kind} = off")
        cursor.execute("EXPLAIN " + sql.replace("%", "%%"))
        plan = [str(row[0]) for row in cursor.fetchall()]
        return [step for step in plan if "Seq Scan" in step], [step for step in plan if "Sort Key" in step]


BY_INDEX = re.compile(
    r'WHERE .*"(id|memberships|user_id)" (=|IN)|"(runs_usagerecord"."run|assistants_threadtext"."thread)_id" IN'
    r'|WHERE "runs_usagerecord"."ended_at" >=|^SELECT MAX\("\w+"."id"\)'
)
"""What is bounded by what it asks for: ids, the newest, a time (what was used in a day is all looked at)."""
OF_TABLES = re.compile(r'FROM "(assistants|runs|streaming)_')


def test_many_rows_cost_what_few_cost(root: Client, talk: Talk) -> None:
    busy = many(talk.thread.project, 2)
    lists = [LIST, f"{LIST}?status__exact=failed", "/admin/assistants/thread/", "/admin/"]
    addresses = [*lists, page_of(talk.thread), page_of(talk.run), page_of(busy)]
    for address in addresses:
        root.get(address)  # content types and the like are asked for once
    few = {address: queries_of(root, address) for address in addresses}
    many(talk.thread.project, 5000, busy)
    lots = {address: queries_of(root, address) for address in addresses}
    assert {address: len(queries) for address, queries in lots.items()} == {
        address: len(queries) for address, queries in few.items()
    }
    for sql in (sql for queries in lots.values() for sql in queries):
        if OF_TABLES.search(sql):
            assert "LIMIT" in sql or BY_INDEX.search(sql), sql


@pytest.mark.parametrize(
    "address",
    [LIST, f"{LIST}?status__exact=failed", f"{LIST}?p=3", f"{LIST}?q=run_x", "/admin/assistants/thread/", "thread"],
)
def test_no_list_reads_a_whole_table_or_sorts_it(root: Client, talk: Talk, address: str) -> None:
    many(talk.thread.project, 300)
    address = page_of(talk.thread) if address == "thread" else address
    read = [
        sql for sql in queries_of(root, address) if re.search(r'FROM "(runs_run|assistants_(thread|message))"', sql)
    ]
    assert read
    searches_by_id = "q=" in address
    for sql in read:
        scans, sorts = scans_and_sorts(sql)
        assert not scans, sql
        assert not sorts or searches_by_id, sql


def test_the_list_loads_no_json_that_it_does_not_show(root: Client, talk: Talk) -> None:
    rows = [sql for sql in queries_of(root, LIST) if '"runs_run"."usage"' in sql]
    assert rows
    for column in ("instructions", "tools", "tool_resources", "metadata", "required_action"):
        assert f'"runs_run"."{column}"' not in rows[0]


def test_a_long_list_counts_no_further_than_its_cap(root: Client, dragons: Project) -> None:
    many(dragons, COUNT_CAP + 5)
    page = root.get(LIST).content.decode()
    assert f"{COUNT_CAP:,}+" in page
    assert root.get(f"{LIST}?p={COUNT_CAP // 50}").status_code == 200


def test_the_list_says_what_happened(root: Client, talk: Talk) -> None:
    Run.objects.filter(pk=talk.run.pk).update(
        status="failed", last_error={"code": "rate_limit_exceeded", "message": "Slow down."}
    )
    page = root.get(LIST).content.decode()
    assert "kumos-failed" in page
    assert "Rate limit at the model: Slow down." in page
    assert "1,234" in page
    assert "Searcher" in page


@pytest.mark.parametrize("wanted", ["run", "thread"])
def test_a_run_is_found_by_its_id_and_by_its_threads(root: Client, talk: Talk, wanted: str) -> None:
    many(talk.thread.project, 3)
    page = root.get(LIST, {"q": getattr(talk, wanted).pk}, follow=True).content.decode()
    assert talk.run.pk in page
    assert page.count("action-select") + page.count('class="field-id"') <= 2
    assert talk.run.pk not in root.get(LIST, {"q": talk.run.pk[:-1]}).content.decode()


def test_the_page_tells_steps_calls_and_events_in_order(root: Client, talk: Talk) -> None:
    page = root.get(page_of(talk.run)).content.decode()
    story = [
        "2 tool calls",
        "File search",
        "score 0.88",
        "passage &lt;",
        "Function roar",
        "&quot;how&quot;",
        "Output",
        talk.answer.id,
        "thread.run.created",
        "thread.message.delta",
        "thread.run.completed",
    ]
    places = [page.find(piece) for piece in story]
    assert -1 not in places
    assert places == sorted(places)
    assert "1,000 in + 234 out" in page


def test_a_long_log_shows_both_ends_and_how_much_there_is(root: Client, talk: Talk) -> None:
    total = 3 * EVENTS_SHOWN
    Event.objects.bulk_create(
        Event(thread=talk.thread, seq=seq, run_id=talk.run.id, name=f"event.{seq}", data="x" * 77)
        for seq in range(4, total + 1)
    )
    page = root.get(page_of(talk.run)).content.decode()
    assert f"Events ({total:,})" in page
    assert f"event.{EVENTS_SHOWN}<" in page
    assert f"event.{EVENTS_SHOWN + 1}<" not in page
    assert f"event.{total - EVENTS_SHOWN}<" not in page
    assert f"event.{total - EVENTS_SHOWN + 1}<" in page
    assert f"event.{total}<" in page
    assert "left out" in page
    assert '<td class="kumos-number">77</td>' in page


def test_a_log_just_longer_than_one_end_leaves_nothing_out(root: Client, talk: Talk) -> None:
    Event.objects.bulk_create(
        Event(thread=talk.thread, seq=seq, run_id=talk.run.id, name=f"event.{seq}", data="{}")
        for seq in range(4, EVENTS_SHOWN + 11)
    )
    page = root.get(page_of(talk.run)).content.decode()
    assert f"Events ({EVENTS_SHOWN + 10})" in page
    assert page.count(f"event.{EVENTS_SHOWN}<") == page.count(f"event.{EVENTS_SHOWN + 1}<") == 1
    assert "left out" not in page


def test_an_event_shows_its_data_unfolded(root: Client, talk: Talk) -> None:
    page = root.get(page_of(talk.thread.events.get(seq=2))).content.decode()
    assert "{\n  &quot;text&quot;: " in page


STRANGE: list[dict[str, Any]] = [
    {},
    {"type": "tool_calls", "tool_calls": []},
    {"type": "tool_calls", "tool_calls": [{"id": "call_1", "type": "mystery", "mystery": {"a": 1}}]},
    {
        "type": "tool_calls",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{"}}],
    },
    {"type": "tool_calls", "tool_calls": [{"id": "c", "type": "file_search", "file_search": {}}]},
    {"type": "tool_calls", "tool_calls": [{"id": "c", "type": "code_interpreter", "code_interpreter": {"input": "1"}}]},
]


@pytest.mark.parametrize("details", STRANGE)
def test_half_written_steps_are_shown_too(root: Client, talk: Talk, details: dict[str, Any]) -> None:
    talk.run.steps.update(step_details=details, status="in_progress", completed_at=None)
    assert root.get(page_of(talk.run)).status_code == 200


def test_runs_and_workers_are_read_only_even_for_the_superuser(root: Client, talk: Talk) -> None:
    assert root.post(page_of(talk.run), {"status": "queued", "_save": "1"}).status_code == 403
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.post(page_of(talk.run).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403


def waiting(project: Project) -> Run:
    thread = Thread.objects.create(project=project)
    run = Run(project=project, thread=thread, assistant_id="asst_gone", model="scripted", instructions="Wait.")
    return create_run(thread, run).run


def cancel(client: Client, run: Run, where: str) -> None:
    if where == "list":
        client.post(LIST, {"action": "cancel", "_selected_action": [run.pk]})
    else:
        client.post(page_of(run), {"CHANGE_FORM-action": "cancel", "_selected_action": [run.pk]})


@pytest.mark.parametrize("where", ["list", "page"])
def test_a_waiting_run_is_cancelled_and_its_thread_is_free(root: Client, talk: Talk, where: str) -> None:
    run = waiting(talk.thread.project)
    assert "Cancel this run" in root.get(page_of(run)).content.decode()
    assert "Cancel this run" not in root.get(page_of(talk.run)).content.decode()
    cancel(root, run, where)
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert Event.objects.filter(run_id=run.pk, name="thread.run.cancelled").count() == 1
    assert Thread.objects.get(pk=run.thread_id).active_run_id is None


def test_a_finished_run_is_not_cancelled(root: Client, talk: Talk) -> None:
    cancel(root, talk.run, "list")
    talk.run.refresh_from_db()
    assert talk.run.status == RunStatus.COMPLETED
    assert "it has ended already" in root.get(LIST).content.decode()


@pytest.mark.parametrize("where", ["list", "page"])
def test_cancelling_needs_more_than_looking(staff: Callable[..., Client], dragons: Project, where: str) -> None:
    run = waiting(dragons)
    viewer = staff("view_run")
    assert "Cancel this run" not in viewer.get(page_of(run)).content.decode()
    cancel(viewer, run, where)
    run.refresh_from_db()
    assert run.status == RunStatus.QUEUED
    cancel(staff("change_run"), run, where)
    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
