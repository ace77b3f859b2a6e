"""Shares in the admin: seen with their thread and whoever made them, revoked there, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from assistants.admin.markup import page_of
from assistants.models import Share

from .conftest import Talk

LIST = "/admin/assistants/share/"


@pytest.fixture
def share(talk: Talk) -> tuple[Share, str]:
    return Share.issue(talk.thread, created_by="alice", frozen=True)


def test_a_share_is_seen_and_its_token_is_not(root: Client, share: tuple[Share, str]) -> None:
    made, token = share
    for address in (LIST, f"{LIST}?q={made.thread_id}", page_of(Share, made.pk)):
        page = root.get(address).content.decode()
        assert made.pk in page
        assert "alice" in page
        assert "as it was" in page
        assert made.thread_id in page
        assert token not in page
        assert made.digest not in page


def test_it_is_revoked_there(root: Client, staff: Callable[..., Client], share: tuple[Share, str]) -> None:
    made, _ = share
    chosen = {"action": "revoke", "_selected_action": [made.pk]}
    staff("view_share").post(LIST, chosen)
    assert Share.objects.get(pk=made.pk).revoked_at is None
    assert "1 revoked" in root.post(LIST, chosen, follow=True).content.decode()
    assert Share.objects.get(pk=made.pk).revoked_at is not None
    assert "revoked" in root.get(page_of(Share, made.pk)).content.decode()
    assert LogEntry.objects.filter(object_id=made.pk).count() == 1
    assert root.get(f"{LIST}add/").status_code == 403
    assert root.get(page_of(Share, made.pk).replace("/change/", "/delete/")).status_code == 403
