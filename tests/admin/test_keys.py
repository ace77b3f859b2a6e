"""API keys in the admin: the secret is shown once and is nowhere afterwards."""

from __future__ import annotations

import logging
import re

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.sessions.models import Session
from django.test import Client

from assistants import clock
from assistants.admin.markup import page_of
from assistants.models import ApiKey, Project
from assistants.models.project import digest_of

ADD = "/admin/assistants/apikey/add/"
LIST = "/admin/assistants/apikey/"


def make(root: Client, project: Project, **more: str) -> tuple[ApiKey, str, str]:
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
