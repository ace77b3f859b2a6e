"""Two at one object: who saves second undoes nothing that he has not seen, and loses nothing that he typed."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.db.models.signals import pre_save
from django.test import Client

from assistants import clock, versions
from assistants.admin.assistant_versions import address_of
from assistants.admin.markup import page_of
from assistants.models import ApiKey, Assistant, Membership, Project
from assistants.rows import hold
from tests.conftest import ApiClient

from .test_trials import BASE

PATIENCE_SECONDS = 60


@pytest.fixture
def assistant(dragons: Project) -> Assistant:
    made = Assistant.objects.create(project=dragons, model="scripted", name="Searcher", instructions="Search.")
    versions.record(made, "root")
    return made


def opened(client: Client, assistant: Assistant) -> dict[str, Any]:
    """What the page would send, as it stands."""
    fields = client.get(page_of(Assistant, assistant.pk)).context["adminform"].form
    return {field.html_name: field.value() for field in fields if field.value() not in (None, False)}


def now(assistant: Assistant) -> tuple[str | None, str | None, int]:
    assistant.refresh_from_db()
    return assistant.name, assistant.instructions, assistant.version


def test_the_second_of_two_is_told_and_goes_on(
    root: Client, staff: Callable[..., Client], assistant: Assistant
) -> None:
    page, ada = page_of(Assistant, assistant.pk), staff("change_assistant")
    first, second = opened(ada, assistant), opened(root, assistant)
    assert ada.post(page, {**first, "instructions": "Search and cite."}).status_code == 302
    refused = root.post(page, {**second, "name": "Finder"})
    assert refused.status_code == 200
    assert now(assistant) == ("Searcher", "Search and cite.", 2)
    told = html.unescape(refused.content.decode())
    assert (
        "changed by staff-change_assistant meanwhile. It is version 2 now, and what stands below began as version 1"
        in told
    )
    assert f'href="{address_of(assistant.pk)}?from=1&to=2"' in told
    assert f'href="{page}"' in told
    assert root.get(f"{address_of(assistant.pk)}?from=1&to=2").status_code == 200
    kept = {field.html_name: field.value() for field in refused.context["adminform"].form}
    assert (kept["name"], kept["instructions"]) == ("Finder", "Search.")
    assert 'name="based_on" value="2"' in told
    again = {**second, "name": kept["name"], "instructions": "Search and cite.", "based_on": kept["based_on"]}
    assert root.post(page, again).status_code == 302
    assert now(assistant) == ("Finder", "Search and cite.", 3)


def test_who_saves_again_is_told_of_a_third(root: Client, assistant: Assistant) -> None:
    page, filled = page_of(Assistant, assistant.pk), opened(root, assistant)
    for number, words in enumerate(("One.", "Two."), 2):
        assistant.instructions = words
        assistant.save()
        versions.record(assistant, "key “billing”")
        refused = root.post(page, {**filled, "name": "Finder"})
        assert "changed by key “billing” meanwhile" in html.unescape(refused.content.decode())
        filled["based_on"] = refused.context["adminform"].form["based_on"].value()
        assert filled["based_on"] == str(number)
    assert now(assistant) == ("Searcher", "Two.", 3)


def test_a_change_by_the_api_is_not_undone(root: Client, alice: ApiClient) -> None:
    made = Assistant.objects.get(pk=alice.make("/assistants", {"model": "scripted", "name": "Searcher"})["id"])
    filled = opened(root, made)
    alice.make(f"/assistants/{made.pk}", {"instructions": "By a program."})
    assert root.post(page_of(Assistant, made.pk), {**filled, "name": "Finder"}).status_code == 200
    assert now(made) == ("Searcher", "By a program.", 2)


def test_what_is_saved_twice_is_no_conflict(root: Client, assistant: Assistant) -> None:
    """A second click."""
    filled = {**opened(root, assistant), "name": "Finder"}
    for _ in range(2):
        assert root.post(page_of(Assistant, assistant.pk), filled).status_code == 302
    assert now(assistant) == ("Finder", "Search.", 2)


@pytest.mark.parametrize("based_on", ["0", "-1", "x", "9" * 40, "<b>"])
def test_a_version_that_nobody_knows_is_answered_too(root: Client, assistant: Assistant, based_on: str) -> None:
    filled = {**opened(root, assistant), "name": "Finder", "based_on": based_on}
    refused = root.post(page_of(Assistant, assistant.pk), filled)
    assert refused.status_code == 200
    assert "Compare the two" not in refused.content.decode()
    assert "<b>" not in refused.content.decode()
    assert now(assistant)[0] == "Searcher"


def test_a_form_may_be_tried_though_somebody_has_saved(root: Client, assistant: Assistant) -> None:
    Membership.objects.create(project=assistant.project, user=User.objects.get(username="root"))
    filled = {**opened(root, assistant), "name": "Finder", "trial_of": assistant.pk}
    assistant.instructions = "Other."
    assistant.save()
    versions.record(assistant, "ada")
    assert root.post(f"{BASE}/trial/", filled).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_save_waits_for_the_one_that_is_under_way(root: Client, assistant: Assistant) -> None:
    """It does not compare with what it read before that."""
    page, filled = page_of(Assistant, assistant.pk), {**opened(root, assistant), "name": "Finder"}
    session = root.cookies["sessionid"].value

    def save() -> Any:
        try:
            client = Client()
            client.cookies["sessionid"] = session
            return client.post(page, filled)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            hold(Assistant.objects.filter(pk=assistant.pk))
            assistant.instructions = "Under way."
            assistant.save(update_fields=["instructions"])
            versions.record(assistant, "ada")
            answer = pool.submit(save)
            waits()
        refused = answer.result(PATIENCE_SECONDS)
    assert refused.status_code == 200
    assert "changed by ada meanwhile" in refused.content.decode()
    assert now(assistant) == ("Searcher", "Under way.", 2)


def waits() -> None:
    """Until somebody waits for a row that this connection holds; where SQLite's only writer is held, all do."""
    while connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_locks WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))")
            if cursor.fetchone():
                return


@pytest.fixture
def before_a_key_is_saved() -> Iterator[list[Callable[[], Any]]]:
    """What happens once between the check of a key's form and its save."""
    todo: list[Callable[[], Any]] = []

    def act(**_: Any) -> None:
        while todo:
            todo.pop()()

    pre_save.connect(act, sender=ApiKey)
    yield todo
    pre_save.disconnect(act, sender=ApiKey)


def test_a_key_that_is_revoked_while_somebody_saves_it_stays_so(
    root: Client, dragons: Project, before_a_key_is_saved: list[Callable[[], Any]]
) -> None:
    key, _ = ApiKey.issue(dragons, "billing")
    row = ApiKey.objects.filter(pk=key.pk)
    before_a_key_is_saved.append(lambda: row.update(revoked_at=clock.now()))
    assert root.post(page_of(ApiKey, key.pk), {"name": "billing", "access": "all", "budget": "5"}).status_code == 302
    assert before_a_key_is_saved == []
    key.refresh_from_db()
    assert key.budget == 5
    assert key.revoked_at
