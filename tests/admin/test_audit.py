"""The audit log: every change made in the admin, with old and new values, for whom may see the object."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.test import Client

from assistants.admin import audit
from assistants.admin.markup import list_of, page_of
from assistants.masking import MASK
from assistants.models import ApiKey, Membership, Project, Share, Thread, VectorStore
from runs.models import Run, Worker

from .conftest import HOSTILE, Talk
from .manyruns import queued

LOG = list_of(LogEntry)


def changes(obj: Any = None) -> dict[str, tuple[str, str]]:
    """What the newest entry (about `obj`) tells: field → old and new."""
    entries = LogEntry.objects.order_by("-id")
    entry = (entries.filter(object_id=obj.pk) if obj else entries)[0]
    return {change.label: (change.old, change.new) for part in audit.parts_of(entry) for change in part.changes}


def project_form(**values: Any) -> dict[str, Any]:
    management = {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0"}
    return {"name": "Dragons", "budget_warns_at": "80", **management, **values}


def test_a_change_is_entered_with_old_and_new_values(root: Client, dragons: Project) -> None:
    assert (
        root.post(page_of(Project, dragons.pk), project_form(name=f"Elves {HOSTILE}", budget="12.50")).status_code
        == 302
    )
    assert changes(dragons) == {"name": ("Dragons", f"Elves {HOSTILE}"), "budget": ("", "12.50")}
    history = root.get(page_of(Project, dragons.pk).replace("/change/", "/history/")).content.decode()
    entry = LogEntry.objects.get()
    for page in (history, root.get(page_of(LogEntry, entry.pk)).content.decode()):
        assert "<del>Dragons</del>" in page
        assert "12.50" in page
        assert HOSTILE not in page
        assert "root" in page


def test_what_is_saved_as_it_was_is_not_entered(root: Client, dragons: Project) -> None:
    assert root.post(page_of(Project, dragons.pk), project_form()).status_code == 302
    assert not LogEntry.objects.exists()


def test_what_is_made_and_what_is_deleted_is_entered_whole(root: Client, dragons: Project) -> None:
    root.post(f"{list_of(Project)}add/", project_form(name="Elves"))
    assert changes()["name"] == ("", "Elves")
    one, two = (VectorStore.objects.create(project=dragons, name=f"lore {number}") for number in (1, 2))
    root.post(page_of(VectorStore, one.pk).replace("/change/", "/delete/"), {"post": "yes"})
    assert changes(one)["name"] == ("lore 1", "")
    action = {"action": "delete_selected", "_selected_action": [two.pk], "post": "yes"}
    root.post(list_of(VectorStore), action)
    assert changes(two)["name"] == ("lore 2", "")
    page = root.get(LOG).content.decode()
    assert "lore 1" in page
    assert "lore 2" in page


def test_rows_of_an_inline_are_entered_too(root: Client, dragons: Project) -> None:
    user = User.objects.create_user("ada")
    row = {"memberships-0-project": dragons.pk, "memberships-0-user": user.pk, "memberships-TOTAL_FORMS": "1"}
    assert root.post(page_of(Project, dragons.pk), project_form(**row)).status_code == 302
    assert changes(dragons)["user"] == ("", str(user.pk))
    held = {"memberships-0-id": Membership.objects.get().pk, "memberships-INITIAL_FORMS": "1"}
    row = {**row, **held, "memberships-0-DELETE": "on"}
    assert root.post(page_of(Project, dragons.pk), project_form(**row)).status_code == 302
    assert changes(dragons)["user"] == (str(user.pk), "")
    history = root.get(page_of(Project, dragons.pk).replace("/change/", "/history/")).content.decode()
    assert "Deleted membership “ada in Dragons”" in history


def test_an_action_is_entered_for_each_object(root: Client, talk: Talk) -> None:
    share, _ = Share.issue(talk.thread)
    key, _ = ApiKey.issue(talk.thread.project, "billing")
    for thing in (share, key):
        root.post(list_of(type(thing)), {"action": "revoke", "_selected_action": [thing.pk]})
        old, new = changes(thing)["revoked at"]
        assert (old, bool(new)) == ("", True)
        assert "Revoked." in root.get(f"{LOG}?q={thing.pk}").content.decode()


def test_what_is_done_to_runs_and_runners_is_entered_with_values(root: Client, dragons: Project) -> None:
    run = queued(dragons, metadata={"note": "what people wrote"})
    root.post(list_of(Run), {"action": "cancel", "_selected_action": [run.pk]})
    entered = changes(run)
    assert entered["status"] == ("queued", "cancelled")
    assert entered["cancelled at"][1]
    assert set(entered) == {"status", "cancelled at"}
    root.post(list_of(Run), {"action": "retry", "_selected_action": [run.pk]})
    again = Run.objects.get(retry_of=run.pk)
    assert changes(run) == {"retried by": ("", again.pk)}
    assert changes(again)["retry of"] == ("", run.pk)
    runner = Worker.objects.create(id="worker_a", host="here", pid=1, slots=4)
    for action, values in (("drain", ("False", "True")), ("undrain", ("True", "False"))):
        root.post(list_of(Worker), {"action": action, "_selected_action": [runner.pk]})
        assert changes(runner) == {"drain asked": values}
    assert "what people wrote" not in "".join(LogEntry.objects.values_list("change_message", flat=True))


def test_secrets_are_never_entered(root: Client, dragons: Project) -> None:
    key, secret = ApiKey.issue(dragons, "billing")
    message = json.dumps(audit.told("x", {}, key))
    assert key.digest not in message
    assert secret not in message
    user = User.objects.create_user("ada", password="first password")
    was = audit.values_of(user)
    user.set_password("second password")
    (kept,) = [one for one in audit.told("x", was, user)[0]["values"] if one["name"] == "password"]
    assert kept["new"] == f"{MASK} (another)"
    store = VectorStore.objects.create(project=dragons, metadata={"api_key": "hunter2"})
    root.post(page_of(VectorStore, store.pk).replace("/change/", "/delete/"), {"post": "yes"})
    assert "hunter2" not in LogEntry.objects.get(object_id=store.pk).change_message


@pytest.mark.parametrize("names", [["iban"], []])
def test_a_password_is_never_entered_whatever_else_is_masked(root: Client, settings: Any, names: list[str]) -> None:
    settings.KUMOS_MASKED_FIELDS = names
    ada = User.objects.create_user("ada", password="first password")
    first = ada.password
    address = page_of(User, ada.pk).replace("/change/", "/password/")
    password = {"password1": "second password", "password2": "second password"}
    assert root.post(address, {"usable_password": "true", "set-password": "1", **password}).status_code == 302
    ada.refresh_from_db()
    assert ada.check_password("second password")
    message = LogEntry.objects.get(object_id=str(ada.pk)).change_message
    assert changes(ada)["password"] == (MASK, f"{MASK} (another)")
    for secret in ("second password", first, ada.password, ada.password.rpartition("$")[2]):
        assert secret not in message


def test_a_superuser_sees_entries_of_what_has_no_page(
    root: Client, staff: Callable[..., Client], dragons: Project
) -> None:
    """Of memberships, as a release before this one entered them, and of tables that are gone."""
    user = User.objects.get(username="root")
    membership = Membership.objects.create(project=dragons, user=user)
    audit.entry(membership, 1, "Joined.", user.pk).save()
    gone = audit.entry(dragons, 2, "Of a table that is gone.", user.pk)
    gone.content_type = ContentType.objects.create(app_label="assistants", model="formertable")
    gone.save()
    page = root.get(LOG).content.decode()
    for words in ("Joined.", "Of a table that is gone."):
        assert words in page
        assert words not in staff("view_logentry", "view_project").get(LOG).content.decode()
        User.objects.filter(username__startswith="staff").delete()
    assert f"kind={membership_kind(membership)}" in page
    assert "Joined." in root.get(f"{LOG}?kind={membership_kind(membership)}").content.decode()
    for entry in LogEntry.objects.all():
        assert root.get(page_of(LogEntry, entry.pk)).status_code == 200


def membership_kind(membership: Membership) -> int:
    return ContentType.objects.get_for_model(membership).pk


def test_nothing_that_people_wrote_is_entered(dragons: Project) -> None:
    from django.contrib import admin

    assert "metadata" in admin.site._registry[Thread].unaudited  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1_000, 40_000, 5_000_000])
def test_a_long_text_is_kept_as_a_difference_of_bounded_length(size: int) -> None:
    lines = [f"line {number} of the instructions" for number in range(size // 25)]
    old, new = "\n".join(lines), "\n".join([*lines[:10], "a new line", *lines[11:]])
    kept = json.dumps(audit.kept(None, "instructions", old, new))
    assert len(kept) < 2 * audit.DIFFERENCE_KEPT
    assert ("+a new line" in kept) == (size <= audit.COMPARED)
    assert len(json.dumps(audit.kept(None, "x", old, new[::-1]))) < 2 * audit.DIFFERENCE_KEPT


@pytest.mark.parametrize("message", ["", "Cancelled.", "[]", "[broken", '[{"changed": {"fields": ["Name"]}}]', "{}"])
def test_entries_of_others_are_shown_as_they_are(root: Client, dragons: Project, message: str) -> None:
    user = User.objects.get(username="root")
    log = audit.entry(dragons, 2, message, user.pk)
    log.save()
    for address in (LOG, page_of(LogEntry, log.pk), page_of(Project, dragons.pk).replace("/change/", "/history/")):
        assert root.get(address).status_code == 200


def test_the_log_is_searched_by_object_person_and_time(root: Client, dragons: Project) -> None:
    ada = User.objects.create_user("ada")
    audit.entry(dragons, 2, "By ada.", ada.pk).save()
    audit.entry(dragons, 2, "By root.", User.objects.get(username="root").pk).save()
    old = audit.entry(dragons, 2, "Long ago.", ada.pk)
    old.action_time = old.action_time.replace(year=2020)
    old.save()
    for query, found in (
        ("", {"By ada.", "By root.", "Long ago."}),
        (f"?q={dragons.pk}", {"By ada.", "By root.", "Long ago."}),
        ("?q=ada", {"By ada.", "Long ago."}),
        (f"?who={ada.pk}&within=day", {"By ada."}),
        ("?q=nobody", set()),
        ("?who=x&kind=y&within=z", {"By ada.", "By root.", "Long ago."}),
    ):
        page = root.get(LOG + query, follow=True).content.decode()
        assert {words for words in ("By ada.", "By root.", "Long ago.") if words in page} == found, query


def test_who_may_not_see_an_object_sees_no_entry_of_it(
    root: Client, staff: Callable[..., Client], dragons: Project
) -> None:
    root.post(page_of(Project, dragons.pk), project_form(name="Elves"))
    entry = LogEntry.objects.get()
    assert "Elves" in staff("view_logentry", "view_project").get(LOG).content.decode()
    stranger = staff("view_logentry")
    assert "Elves" not in stranger.get(LOG).content.decode()
    assert stranger.get(page_of(LogEntry, entry.pk), follow=True).content.decode().count("Elves") == 0
    assert staff("view_project").get(LOG).status_code == 403


def test_nobody_changes_the_log(root: Client, dragons: Project) -> None:
    root.post(page_of(Project, dragons.pk), project_form(name="Elves"))
    page = page_of(LogEntry, LogEntry.objects.get().pk)
    assert root.post(page, {"object_repr": "forged"}).status_code == 403
    assert root.post(page.replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    assert root.get(f"{LOG}add/").status_code == 403


def test_the_list_costs_the_same_with_many_entries(
    root: Client, dragons: Project, django_assert_max_num_queries: Any
) -> None:
    user = User.objects.get(username="root")
    LogEntry.objects.bulk_create(audit.entry(dragons, 2, f"Change {number}.", user.pk) for number in range(120))
    root.get(LOG)
    with django_assert_max_num_queries(9):
        assert "Change 119." in root.get(LOG).content.decode()


def test_a_key_that_a_command_made_is_entered(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("createkey", project="Dragons", name="nightly")
    assert capsys.readouterr().out.startswith("sk-")
    entry = LogEntry.objects.select_related("user").get()
    assert (entry.user.username, entry.user.is_active, entry.user.has_usable_password()) == ("manage.py", False, False)
    assert changes()["name"] == ("", "nightly")
