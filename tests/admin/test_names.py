"""Keys and people are called by their names where whoever looks may see their pages, and by their ids elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from assistants.admin.markup import list_of, page_of
from assistants.models import ApiKey, Project
from runs.admin.actions import PERMISSION
from runs.models import Run, RunStatus

from .manyruns import ended

BASE = ("view_run", "view_usagerecord", "view_project", PERMISSION.partition(".")[2])
KEY, PERSON = "tariff robot", "ada.lovelace"


def body(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content  # type: ignore[attr-defined]
    return content.decode()


@pytest.mark.parametrize("more", [(), ("view_apikey",), ("view_user",), ("view_apikey", "view_user")])
def test_names_are_for_whom_may_see_their_pages(
    staff: Callable[..., Client], dragons: Project, more: tuple[str, ...]
) -> None:
    viewer = staff(*BASE, *more)
    key, _ = ApiKey.issue(dragons, KEY)
    person = f"user {User.objects.create_user(PERSON).pk}"
    runs = [ended(dragons, RunStatus.FAILED, made_by=maker) for maker in (key.pk, person)]
    runs_list = list_of(Run)
    pages = [
        (runs_list, {KEY, PERSON}),
        (f"{runs_list}?made_by={key.pk}", {KEY, PERSON}),
        (f"{runs_list}?made_by={person}", {KEY, PERSON}),
        (f"{runs_list}all/retry/?made_by={key.pk}", {KEY}),
        (f"{runs_list}all/retry/?made_by={person}", {PERSON}),
        (page_of(Run, runs[0].pk), {KEY}),
        (page_of(Run, runs[1].pk), {PERSON}),
        ("/admin/usage/?by=made_by", {KEY, PERSON}),
        ("/admin/usage/?by=made_by&format=csv", {KEY, PERSON}),
        (page_of(Project, dragons.pk), {KEY}),
    ]
    seen = {name for name, permission in ((KEY, "view_apikey"), (PERSON, "view_user")) if permission in more}
    for address, named in pages:
        told = body(viewer, address)
        assert {name for name in (KEY, PERSON) if name in told} == named & seen, address
        if "?made_by" not in address and address != page_of(Project, dragons.pk):
            hidden = {key.pk if name == KEY else person for name in named - seen}
            assert all(id in told for id in hidden), address
        if KEY not in seen:
            assert page_of(ApiKey, key.pk) not in told, address


def test_the_log_of_an_action_has_the_id(root: Client, dragons: Project) -> None:
    """Others read it, too."""
    key, _ = ApiKey.issue(dragons, KEY)
    ended(dragons, RunStatus.FAILED, made_by=key.pk)
    address = f"{list_of(Run)}all/retry/?made_by={key.pk}"
    page = root.get(address)
    assert KEY in page.content.decode()
    assert root.post(address, {"state": page.context["state"]}).status_code == 302
    message = LogEntry.objects.latest("pk").change_message
    assert key.pk in message
    assert KEY not in message
