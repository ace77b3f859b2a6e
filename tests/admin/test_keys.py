"""API keys in the admin: the secret is shown once and is nowhere afterwards."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client

from assistants import clock, keys
from assistants.admin.markup import page_of
from assistants.models import ApiKey, Project, VectorStore
from assistants.models.project import digest_of

ADD = "/admin/assistants/apikey/add/"
LIST = "/admin/assistants/apikey/"
NO_MEMBERS = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}


def make(root: Client, project: Project, **more: Any) -> tuple[ApiKey, str, str]:
    """A key made through the form, its secret, and the page that showed it."""
    answer = root.post(ADD, {"project": project.pk, "name": "billing", **more})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "no-store" in answer.headers["Cache-Control"]
    shown = re.search(r'<code id="secret">([^<]+)</code>', page)
    assert shown is not None
    return ApiKey.objects.get(name="billing"), shown[1], page


def test_the_secret_is_shown_once_and_works(root: Client, dragons: Project) -> None:
    key, secret, page = make(root, dragons)
    assert page.count(secret) == 1
    assert ApiKey.objects.usable(clock.now()).get(digest=digest_of(secret)) == key
    assert key.project == dragons


def test_a_budget_is_no_less_than_nothing(root: Client, dragons: Project) -> None:
    refused = "A budget is 0 or more: 0 allows no run at all, and without one there is no limit."
    for address, form in (
        (ADD, {"project": dragons.pk, "name": "billing"}),
        (page_of(Project, dragons.pk), {"name": "Dragons", "budget_warns_at": "80", **NO_MEMBERS}),
    ):
        answer = root.post(address, {**form, "budget": "-0.01"})
        assert answer.status_code == 200
        assert refused in answer.content.decode()
        assert root.post(address, {**form, "budget": "0"}).status_code in (200, 302)
    assert ApiKey.objects.get().budget == Project.objects.get().budget == 0


def test_the_secret_is_nowhere_afterwards(root: Client, dragons: Project, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        key, secret, _ = make(root, dragons)
    change = page_of(ApiKey, key.pk)
    for address in (LIST, change, "/admin/", change.replace("/change/", "/history/"), ADD):
        page = root.get(address).content.decode()
        assert secret not in page
        assert key.digest not in page
    sessions = [str(session.get_decoded()) for session in Session.objects.all()]
    entries = [f"{entry.object_repr} {entry.change_message}" for entry in LogEntry.objects.all()]
    rows = [str(row) for row in ApiKey.objects.values()]
    cookies = str(root.cookies)
    for kept in (*sessions, *entries, *rows, cookies, caplog.text):
        assert secret not in kept
    assert entries


def test_a_key_is_renamed_but_its_project_and_digest_stay(root: Client, dragons: Project) -> None:
    key, _, _ = make(root, dragons)
    other = Project.objects.create(name="Elves")
    change = page_of(ApiKey, key.pk)
    form = {"name": "new name", "project": other.pk, "digest": "0" * 64, "prefix": "sk-0000"}
    assert root.post(change, form).status_code == 302
    now = ApiKey.objects.get(pk=key.pk)
    assert (now.name, now.project_id, now.digest, now.prefix) == ("new name", dragons.pk, key.digest, key.prefix)


@pytest.mark.parametrize("where", ["list", "form"])
def test_a_revoked_key_stops_working_and_stays_listed(root: Client, dragons: Project, where: str) -> None:
    key, secret, _ = make(root, dragons)
    if where == "list":
        root.post(LIST, {"action": "revoke", "_selected_action": [key.pk]})
    else:
        change = page_of(ApiKey, key.pk)
        root.post(change, {"CHANGE_FORM-action": "revoke", "_selected_action": [key.pk]})
    assert not ApiKey.objects.usable(clock.now()).filter(digest=digest_of(secret)).exists()
    assert "kumos-revoked" in root.get(LIST).content.decode()


def test_keys_are_revoked_never_deleted(root: Client, dragons: Project) -> None:
    key, _, _ = make(root, dragons)
    delete = page_of(ApiKey, key.pk).replace("/change/", "/delete/")
    assert root.post(delete, {"post": "yes"}).status_code == 403


def test_a_key_without_a_project_is_refused_and_nothing_is_made(root: Client) -> None:
    assert "This field is required" in root.post(ADD, {"name": "lost"}).content.decode()
    assert not ApiKey.objects.exists()


# What a key may do ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "scopes"),
    [
        ({"access": "all", "scopes": ["files.read"]}, []),
        ({"access": "read"}, ["assistants.read", "files.read", "threads.read"]),
        ({"access": "chosen", "scopes": ["threads.write", "files.read"]}, ["files.read", "threads.write"]),
        ({"scopes": ["files.read"]}, ["files.read"]),
        ({}, []),
    ],
)
def test_a_key_is_limited_by_a_preset_or_by_ticks(
    root: Client, dragons: Project, form: dict[str, Any], scopes: list[str]
) -> None:
    key, _, page = make(root, dragons, **form)
    assert sorted(key.scopes) == scopes
    assert ("everything" in page) == (not scopes)


def test_ticking_nothing_is_no_way_to_everything(root: Client, dragons: Project) -> None:
    page = root.post(ADD, {"project": dragons.pk, "name": "x", "access": "chosen"}).content.decode()
    assert "Tick what the key may do" in page
    assert not ApiKey.objects.exists()
    page = root.post(ADD, {"project": dragons.pk, "name": "x", "scopes": ["all"]}).content.decode()
    assert "Select a valid choice" in page


def test_scopes_are_changed_and_entered_in_the_log(root: Client, dragons: Project) -> None:
    key, _, _ = make(root, dragons, access="read")
    page = root.get(page_of(ApiKey, key.pk)).content.decode()
    assert re.search(r'value="read"[^>]*checked', page)
    root.post(page_of(ApiKey, key.pk), {"name": "billing"})
    assert len(ApiKey.objects.get(pk=key.pk).scopes) == 3  # a form without the field changes nothing
    root.post(page_of(ApiKey, key.pk), {"name": "billing", "access": "chosen", "scopes": ["files.write"]})
    assert ApiKey.objects.get(pk=key.pk).scopes == ["files.write"]
    entry = LogEntry.objects.filter(object_id=key.pk).latest("id").change_message
    assert "threads.read" in entry
    assert "files.write" in entry


def test_a_key_cannot_be_made_to_have_expired(root: Client, dragons: Project) -> None:
    over = {"expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}
    assert "This time is over" in root.post(ADD, {"project": dragons.pk, "name": "x", **over}).content.decode()


# Rotation -------------------------------------------------------------------------------------------------------------


def rotated(root: Client, key: ApiKey, **form: str) -> tuple[Any, str]:
    """The answer to the form, and the secret that it shows."""
    answer = root.post(page_of(ApiKey, key.pk).replace("/change/", "/rotate/"), form)
    shown = re.search(r'<code id="secret">([^<]+)</code>', answer.content.decode())
    return answer, shown[1] if shown else ""


@pytest.mark.parametrize(("grace", "hours"), [("0", 0), ("3600", 1), ("86400", 24), ("604800", 168)])
def test_a_rotated_key_works_on_for_the_time_that_was_chosen(
    root: Client, dragons: Project, grace: str, hours: int
) -> None:
    old, old_secret, _ = make(root, dragons, access="read", budget="5.00")
    answer, secret = rotated(root, old, grace=grace)
    assert answer.content.decode().count(secret) == 1
    assert "no-store" in answer.headers["Cache-Control"]
    new = ApiKey.objects.get(digest=digest_of(secret))
    old = ApiKey.objects.get(pk=old.pk)
    assert (new.name, new.project, new.scopes, new.budget) == (old.name, old.project, old.scopes, old.budget)
    assert new.expires_at is None
    for after in (hours - 0.1, hours + 0.1) if hours else (0.1,):
        usable = ApiKey.objects.usable(clock.now() + timedelta(hours=after))
        assert usable.filter(digest=digest_of(old_secret)).exists() == (after < hours)
        assert usable.filter(digest=digest_of(secret)).exists()
    log = " ".join(LogEntry.objects.values_list("change_message", flat=True))
    assert "Replaced by" in log
    assert "Made in place of" in log
    assert secret not in log
    assert new.digest not in log


def test_a_key_that_ends_sooner_is_not_prolonged_by_its_rotation(root: Client, dragons: Project) -> None:
    old, _, _ = make(root, dragons)
    soon = clock.now() + timedelta(hours=2)
    ApiKey.objects.filter(pk=old.pk).update(expires_at=soon)
    page = root.get(page_of(ApiKey, old.pk)).content.decode()
    assert "Rotate it" in page
    assert "expires in 2 h" in root.get(LIST).content.decode()
    assert "expires in 2 h" in root.get(f"{LIST}?state=soon").content.decode()
    rotated(root, old, grace="604800")
    assert ApiKey.objects.get(pk=old.pk).expires_at == soon


@pytest.mark.parametrize("form", [{}, {"grace": "1"}, {"grace": "0", "expires_at": "2020-01-01T00:00"}])
def test_a_rotation_that_is_not_understood_does_nothing(root: Client, dragons: Project, form: dict[str, str]) -> None:
    old, _, _ = make(root, dragons)
    answer, secret = rotated(root, old, **form)
    assert (answer.status_code, secret) == (200, "")
    assert ApiKey.objects.get() == old


def test_a_key_that_never_ends_in_practice_is_followed_by_one(root: Client, dragons: Project) -> None:
    """Twice its life is more than a date can be."""
    never = datetime(9999, 12, 31, tzinfo=UTC)
    key, _ = ApiKey.issue(dragons, "billing", expires_at=never)
    ApiKey.objects.filter(pk=key.pk).update(created_at=clock.now() - timedelta(days=2))
    page = root.get(page_of(ApiKey, key.pk).replace("/change/", "/rotate/")).content.decode()
    assert 'value="9999-12-31T00:00"' in page
    answer, secret = rotated(root, key, grace="0", expires_at="9999-12-31T00:00")
    assert answer.status_code == 200
    assert ApiKey.objects.exclude(pk=key.pk).get().expires_at == never
    assert secret


def test_a_key_that_is_over_is_not_rotated(root: Client, dragons: Project) -> None:
    old, _, _ = make(root, dragons)
    ApiKey.objects.filter(pk=old.pk).update(revoked_at=clock.now())
    answer, secret = rotated(root, old, grace="0")
    assert (answer.status_code, secret) == (302, "")
    assert ApiKey.objects.count() == 1
    with pytest.raises(keys.NotUsable):
        keys.rotate(old, timedelta(), None)
    assert root.get(f"{LIST}key_nobody/rotate/").status_code == 404


def test_who_may_not_make_keys_rotates_none(root: Client, staff: Callable[..., Client], dragons: Project) -> None:
    old, _, _ = make(root, dragons)
    for rights in (("view_apikey",), ("view_apikey", "change_apikey"), ("view_apikey", "add_apikey")):
        client = staff(*rights)
        assert rotated(client, old, grace="0")[0].status_code == 403
        assert "/rotate/" not in client.get(page_of(ApiKey, old.pk)).content.decode()
    assert ApiKey.objects.get() == old


# The project's page ---------------------------------------------------------------------------------------------------


def test_a_projects_page_has_its_limits_keys_and_counts(root: Client, dragons: Project) -> None:
    key, _, _ = make(root, dragons, access="read")
    other, _ = ApiKey.issue(Project.objects.create(name="Elves"), "of others")
    VectorStore.objects.create(project=dragons)
    form = {"name": "Dragons", "default_model": "scripted", "budget": "100", "budget_warns_at": "50"}
    management = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    assert root.post(page_of(Project, dragons.pk), {**form, **management}).status_code == 302
    dragons.refresh_from_db()
    assert (dragons.default_model, dragons.budget, dragons.budget_warns_at) == ("scripted", Decimal(100), 50)
    page = root.get(page_of(Project, dragons.pk)).content.decode()
    assert page_of(ApiKey, key.pk) in page
    assert page_of(ApiKey, other.pk) not in page
    assert "Read only" in page
    assert "1 vector store<" in page
    assert key.pk in root.get(f"{LIST}?project={dragons.pk}").content.decode()
    assert other.pk not in root.get(f"{LIST}?project={dragons.pk}").content.decode()


def test_the_list_of_projects_costs_the_same_with_many(root: Client, django_assert_max_num_queries: Any) -> None:
    for number in range(60):
        ApiKey.issue(Project.objects.create(name=f"Project {number:02}"), "one")
    root.get("/admin/assistants/project/")
    with django_assert_max_num_queries(6):
        assert "Project 01" in root.get("/admin/assistants/project/").content.decode()
