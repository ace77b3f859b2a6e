"""Trying an assistant before it is saved: what the form's panel asks of the server, and what is left of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.test import Client

from assistants import clock, trials
from assistants.admin import audit
from assistants.masking import MASK
from assistants.models import ApiKey, Assistant, Membership, Project, Thread, VectorStore
from assistants.models.assistant import AssistantVersion

from .conftest import Talk
from .test_assistants import WEATHER, form

BASE = "/admin/assistants/assistant"


@pytest.fixture
def member(root: Client, dragons: Project) -> Client:
    """The superuser, as a member of the project."""
    Membership.objects.create(project=dragons, user=User.objects.get(username="root"))
    return root


def attempt(client: Client, project: Project, address: str = f"{BASE}/trial/", **more: Any) -> Any:
    return client.post(address, form(project, **more))


def tried(client: Client, project: Project, **more: Any) -> Any:
    answer = attempt(client, project, **more)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_a_trial_is_what_the_form_would_save_and_nothing_is_saved(member: Client, dragons: Project) -> None:
    made = tried(member, dragons, instructions="Be\r\nbrief.", functions=[WEATHER], temperature="0.5")
    (side,) = made["sides"]
    scratch = Assistant.objects.get(pk=made["trial"])
    assert scratch.scratch_of == User.objects.get(username="root")
    assert (scratch.instructions, scratch.temperature, scratch.name) == ("Be\nbrief.", 0.5, "Searcher")
    assert [tool["function"]["name"] for tool in scratch.tools] == ["get_weather"]
    assert not AssistantVersion.objects.exists()
    thread = Thread.objects.get(pk=side["thread"])
    assert (thread.project, thread.metadata) == (dragons, {"kumos.purpose": "trial"})
    assert (side["assistant"], side["name"], made["project"]) == (scratch.pk, "Searcher", dragons.pk)


def test_a_copy_whose_secrets_are_masked_is_tried_before_it_is_saved(member: Client, dragons: Project) -> None:
    made = tried(member, dragons, metadata={"api_key": MASK})
    assert MASK not in str(Assistant.objects.get(pk=made["trial"]).metadata)


def test_one_trial_follows_the_form_and_begins_anew_when_asked(member: Client, dragons: Project) -> None:
    first = tried(member, dragons)
    again = tried(member, dragons, trial=first["trial"], name="Other")
    assert again["trial"] == first["trial"]
    assert again["sides"][0]["thread"] == first["sides"][0]["thread"]
    assert Assistant.objects.get().name == "Other"
    fresh = tried(member, dragons, trial=first["trial"], trial_fresh="1")
    assert [thread.pk for thread in Thread.objects.all()] == [fresh["sides"][0]["thread"]]
    assert fresh["sides"][0]["thread"] != first["sides"][0]["thread"]


def test_a_saved_one_is_not_touched_and_may_be_asked_beside_it(member: Client, dragons: Project) -> None:
    saved = Assistant.objects.create(project=dragons, model="scripted", name="Before", instructions="Old.")
    before = Assistant.objects.filter(pk=saved.pk).values().get()
    made = tried(member, dragons, name="After", trial_of=saved.pk, trial_compare="1")
    draft, old = made["sides"]
    assert (draft["name"], old["name"], old["assistant"]) == ("After", "Before", saved.pk)
    assert draft["thread"] != old["thread"]
    assert Assistant.objects.filter(pk=saved.pk).values().get() == before


def test_what_is_wrong_is_said_beside_its_field(member: Client, dragons: Project) -> None:
    answer = attempt(member, dragons, temperature="9", functions='{"name": 5}')
    assert answer.status_code == 400
    assert set(answer.json()["errors"]) == {"temperature", "functions"}
    assert "but got 9" in answer.json()["errors"]["temperature"][0]
    assert answer.json()["labels"]["vector_store"] == "Vector store"
    assert not Assistant.objects.exists()
    nowhere = member.post(f"{BASE}/trial/", {**form(dragons), "project": "proj_none"})
    assert nowhere.json()["errors"]["project"]


def test_an_assistant_that_was_deleted_meanwhile_is_a_clear_error(member: Client, dragons: Project) -> None:
    answer = attempt(member, dragons, trial_of="asst_gone")
    assert (answer.status_code, "deleted" in answer.json()["message"]) == (404, True)


def test_scratch_assistants_are_in_no_list(member: Client, dragons: Project) -> None:
    made = tried(member, dragons, name="Unsaved draft", model="odd-model")
    listed = member.get("/v1/assistants").json()["data"]
    assert listed == []
    assert member.get(f"/v1/assistants/{made['trial']}").json()["name"] == "Unsaved draft"
    pages = [f"{BASE}/?project={dragons.pk}", f"{BASE}/?q={made['trial']}", f"{BASE}/add/", "/admin/"]
    for page in pages:
        text = member.get(page).content.decode()
        assert "Unsaved draft" not in text
        assert "odd-model" not in text
    assert member.get(f"{BASE}/{made['trial']}/change/").status_code == 302
    assert "odd-model" not in member.get(f"{BASE}/models/").json()["models"]


def test_nobody_gets_at_the_trial_of_another(member: Client, staff: Callable[..., Client], dragons: Project) -> None:
    made = tried(member, dragons)
    other = staff("add_assistant")
    Membership.objects.create(project=dragons, user=User.objects.get(username="staff-add_assistant"))
    theirs = tried(other, dragons, trial=made["trial"])
    assert theirs["trial"] != made["trial"]
    assert other.post(f"{BASE}/trial/end/", {"trial": made["trial"]}).status_code == 200
    assert Assistant.objects.filter(pk=made["trial"]).exists()


def test_leaving_the_form_ends_the_trial(member: Client, dragons: Project) -> None:
    saved = Assistant.objects.create(project=dragons, model="scripted")
    kept = Thread.objects.create(project=dragons)
    made = tried(member, dragons, trial_of=saved.pk, trial_compare="1")
    for _ in range(2):  # whoever says it twice says nothing new
        assert member.post(f"{BASE}/trial/end/", {"trial": made["trial"]}).status_code == 200
    assert [assistant.pk for assistant in Assistant.objects.all()] == [saved.pk]
    assert [thread.pk for thread in Thread.objects.all()] == [kept.pk]
    assert member.post(f"{BASE}/trial/end/", {"trial": saved.pk}).status_code == 200
    assert Assistant.objects.filter(pk=saved.pk).exists()


def test_what_was_left_behind_goes_with_a_later_trial(member: Client, dragons: Project) -> None:
    old, young = tried(member, dragons), tried(member, dragons)
    long_ago = clock.now() - trials.KEPT - timedelta(minutes=1)
    Assistant.objects.filter(pk=old["trial"]).update(created_at=long_ago)
    new = tried(member, dragons)
    assert {one.pk for one in Assistant.objects.all()} == {young["trial"], new["trial"]}
    assert not Thread.objects.filter(pk=old["sides"][0]["thread"]).exists()


def test_a_scratch_cannot_be_made_to_take_other_threads_along(member: Client, dragons: Project) -> None:
    """Clients may write an assistant's metadata, also a scratch's."""
    kept = Thread.objects.create(project=dragons)
    made = tried(member, dragons, metadata={trials.SAVED: kept.pk})
    Assistant.objects.filter(pk=made["trial"]).update(metadata={trials.DRAFT: kept.pk})
    trials.forget(Assistant.objects.get(pk=made["trial"]))
    assert Thread.objects.filter(pk=kept.pk).exists()


def test_whoever_is_no_member_may_join_if_allowed(root: Client, staff: Callable[..., Client], dragons: Project) -> None:
    answer = attempt(root, dragons)
    assert answer.status_code == 409
    assert answer.json()["join"] == {"project": dragons.pk, "name": "Dragons", "may": True}
    assert root.post(f"{BASE}/trial/join/", {"project": dragons.pk}).status_code == 200
    assert root.post(f"{BASE}/trial/join/", {"project": dragons.pk}).status_code == 200
    assert tried(root, dragons)["trial"]
    entry = LogEntry.objects.get()
    (part,) = audit.parts_of(entry)
    assert part.words == "Member “root” added, from “Try it”."
    me = str(User.objects.get(username="root").pk)
    assert {change.label: (change.old, change.new) for change in part.changes}["user"] == ("", me)
    for auditor in (root, staff("view_logentry", "view_project")):
        assert part.words.rstrip(".") in auditor.get("/admin/admin/logentry/").content.decode()
        history = auditor.get(f"/admin/assistants/project/{dragons.pk}/history/").content.decode()
        assert part.words in history
    writer = staff("add_assistant")
    assert attempt(writer, dragons).json()["join"]["may"] is False
    assert writer.post(f"{BASE}/trial/join/", {"project": dragons.pk}).status_code == 403
    assert Membership.objects.count() == 1
    assert root.post(f"{BASE}/trial/join/", {"project": "proj_none"}).status_code == 404


def test_who_may_not_write_may_not_try(staff: Callable[..., Client], talk: Talk) -> None:
    reader = staff("view_assistant")
    Membership.objects.create(project=talk.thread.project, user=User.objects.get(username="staff-view_assistant"))
    saved = Assistant.objects.filter(pk=talk.assistant.pk).values().get()
    for address in ("trial", "trial/end", "trial/join", "tokens", "check", "upload"):
        assert reader.post(f"{BASE}/{address}/", form(talk.thread.project)).status_code == 403, address
    for address in ("models", "uploads"):
        assert reader.get(f"{BASE}/{address}/").status_code == 403, address
    writer = staff("add_assistant")
    assert attempt(writer, talk.thread.project, trial_of=talk.assistant.pk).status_code in (403, 404)
    assert Assistant.objects.filter(pk=talk.assistant.pk).values().get() == saved
    assert Assistant.objects.count() == 1
    page = reader.get(f"{BASE}/{talk.assistant.pk}/change/").content.decode()
    assert "trial-frame" not in page


def test_only_the_frame_may_be_framed_and_only_by_this_origin(root: Client) -> None:
    frame = root.get("/chat/trial/")
    assert frame.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert "frame-ancestors 'self'" in frame.headers["Content-Security-Policy"]
    assert "script-src 'self'" in frame.headers["Content-Security-Policy"]
    for page in ("/chat/", f"{BASE}/add/"):
        answer = root.get(page)
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert Client().get("/chat/trial/").status_code == 302


def test_the_form_costs_few_queries(root: Client, talk: Talk, django_assert_max_num_queries: Any) -> None:
    VectorStore.objects.bulk_create(VectorStore(project=talk.thread.project) for _ in range(50))
    with django_assert_max_num_queries(12):
        root.get(f"{BASE}/{talk.assistant.pk}/change/")
    with django_assert_max_num_queries(10):
        root.get(f"{BASE}/add/")


def test_an_api_key_finds_a_trial_of_its_own_project_alone(member: Client, dragons: Project) -> None:
    made = tried(member, dragons)
    _, secret = ApiKey.issue(Project.objects.create(name="Elves"), "theirs")
    answer = Client().get(f"/v1/assistants/{made['trial']}", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status_code == 404
