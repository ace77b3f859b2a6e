"""The site itself: every list and page works, empty or not; rights are kept; nothing needs an unsafe policy."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from assistants.admin import markup
from assistants.models import ApiKey, Assistant, File, Membership, Project, VectorStore, VectorStoreFile

from .conftest import HOSTILE, SHOWN, Talk

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
OURS = [model for model in MODELS if model._meta.app_label in {"assistants", "runs", "streaming"}]


def list_of(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_of(thing: Model) -> str:
    return markup.page_of(type(thing), thing.pk)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.model_name)
def test_every_list_answers_on_empty_data(root: Client, model: type[Model]) -> None:
    for query in ("", "?q=nothing", "?o=1.2.-3", "?p=99", "?project=proj_unknown"):
        answer = root.get(list_of(model) + query, follow=True)
        assert answer.status_code == 200, query
        assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("address", "above", "title"),
    [
        ("/admin/usage/", [], "Usage"),
        ("/admin/system/", [], "System"),
        ("/admin/tools/", [], "Tools"),
        ("/admin/runs/run/errors/", ["Runs"], "Failed runs by error"),
        ("/admin/runs/run/all/cancel/", ["Runs"], "Cancel 0 runs"),
        ("/admin/runs/provider/models/", ["Providers"], "Models"),
    ],
)
def test_pages_of_no_object_say_where_they_are(root: Client, address: str, above: list[str], title: str) -> None:
    page = root.get(address).content.decode()
    (trail,) = re.findall(r'<ol class="breadcrumbs">(.*?)</ol>', page, re.S)
    items = [" ".join(re.sub(r"<[^>]+>", "", item).split()) for item in re.findall(r"<li.*?</li>", trail, re.S)]
    assert items == ["Home", *above, title]
    addresses = re.findall(r'href="([^"]+)"', trail)
    assert [root.get(one).status_code for one in addresses] == [200] * (1 + len(above))


def test_a_fresh_installation_is_told_what_to_do_next(root: Client, dragons: Project) -> None:
    page = root.get("/admin/").content.decode()
    assert reverse("admin:assistants_assistant_add") in page
    assert reverse("admin:assistants_apikey_add") in page
    Assistant.objects.create(project=dragons, model="scripted")
    ApiKey.issue(dragons, "first")
    Membership.objects.create(project=dragons, user=User.objects.get(username="root"))
    assert "What to do next" not in root.get("/admin/").content.decode()


def test_without_a_project_the_first_step_is_to_make_one(root: Client) -> None:
    assert reverse("admin:assistants_project_add") in root.get("/admin/").content.decode()


def store_with_file(project: Project) -> VectorStoreFile:
    file = File.objects.create(project=project, filename=f"{HOSTILE}.txt", purpose="assistants", bytes=5)
    store = VectorStore.objects.create(project=project, name=HOSTILE)
    error = {"code": "invalid_file", "message": HOSTILE}
    return VectorStoreFile.objects.create(vector_store=store, file=file, status="failed", last_error=error)


@pytest.mark.parametrize("ending", ["222222", "3A3A3A", "_5F_2F"])
def test_links_survive_ids_that_look_like_the_admins_own_quoting(root: Client, dragons: Project, ending: str) -> None:
    store = VectorStore.objects.create(pk=f"vs_{ending}", project=dragons)
    page = root.get(list_of(VectorStore)).content.decode()
    links = set(re.findall(r'href="(/admin/assistants/vectorstore/[^"]+/change/)', page))
    links.add(markup.page_of(VectorStore, store.pk))
    assert {root.get(link).status_code for link in links} == {200}


def test_no_page_runs_a_script_of_its_data(root: Client, talk: Talk) -> None:
    held = store_with_file(talk.thread.project)
    event = talk.thread.events.get(seq=2)
    for thing in (talk.thread, talk.answer, talk.run, talk.assistant, held.file, held.vector_store, event):
        for address in (page_of(thing), f"{list_of(type(thing))}?q={talk.thread.id}", list_of(type(thing))):
            page = root.get(address).content.decode()
            assert HOSTILE not in page
        assert SHOWN in root.get(page_of(thing)).content.decode()


def test_no_page_of_ours_has_a_script_or_style_inside(root: Client, talk: Talk) -> None:
    held = store_with_file(talk.thread.project)
    pages = [page_of(thing) for thing in (talk.thread, talk.run, talk.assistant, held.file, talk.thread.project)]
    for address in ["/admin/", "/admin/usage/", reverse("admin:assistants_apikey_add"), *pages, *map(list_of, OURS)]:
        page = root.get(address).content.decode()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", page), address


def test_staff_without_permissions_see_nothing(staff: Callable[..., Client], talk: Talk) -> None:
    client = staff()
    for model in OURS:
        assert client.get(list_of(model)).status_code == 403
    assert client.get(page_of(talk.run)).status_code == 403
    assert "kumos-figures" not in client.get("/admin/").content.decode()


def test_people_who_are_no_staff_are_sent_to_the_login(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("somebody"))
    for address in ["/admin/", *map(list_of, OURS)]:
        assert client.get(address).headers["Location"].startswith("/admin/login/")


def test_view_only_staff_see_everything_and_change_nothing(staff: Callable[..., Client], talk: Talk) -> None:
    held = store_with_file(talk.thread.project)
    key, _ = ApiKey.issue(talk.thread.project, "of another")
    client = staff(*(f"view_{model._meta.model_name}" for model in OURS))
    for thing in (talk.thread, talk.answer, talk.run, talk.assistant, held.file, held.vector_store, key):
        page = client.get(page_of(thing))
        assert page.status_code == 200
        assert 'name="_save"' not in page.content.decode()
        assert client.post(page_of(thing), {"name": "stolen", "_save": "1"}).status_code == 403
        assert client.get(list_of(type(thing)).rstrip("/") + "/add/").status_code == 403
        assert client.post(page_of(thing).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    client.post(list_of(ApiKey), {"action": "revoke", "_selected_action": [key.pk]})
    key.refresh_from_db()
    assert key.revoked_at is None


@pytest.mark.parametrize("kind", ["file", "vector_store"])
def test_files_and_stores_can_be_deleted_alone_and_together(root: Client, dragons: Project, kind: str) -> None:
    one, two = getattr(store_with_file(dragons), kind), getattr(store_with_file(dragons), kind)
    address = page_of(one).replace("/change/", "/delete/")
    assert one.pk in root.get(address).content.decode()
    root.post(address, {"post": "yes"})
    root.post(list_of(type(two)), {"action": "delete_selected", "_selected_action": [two.pk], "post": "yes"})
    assert not type(one).objects.filter(pk__in=[one.pk, two.pk]).exists()


def test_the_store_of_all_files_stays(root: Client, dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons, covers_project=True)
    assert root.post(page_of(store).replace("/change/", "/delete/"), {"post": "yes"}).status_code == 403
    root.post(list_of(VectorStore), {"action": "delete_selected", "_selected_action": [store.pk], "post": "yes"})
    assert VectorStore.objects.filter(pk=store.pk).exists()


def test_a_list_shows_one_project_and_a_search_by_id_looks_in_all(root: Client, talk: Talk) -> None:
    other = Project.objects.create(name="Elves")
    elsewhere = store_with_file(other).vector_store
    assert elsewhere.pk not in root.get(list_of(VectorStore)).content.decode()
    assert elsewhere.pk in root.get(f"{list_of(VectorStore)}?project={other.pk}").content.decode()
    assert elsewhere.pk in root.get(f"{list_of(VectorStore)}?q={elsewhere.pk}").content.decode()


def test_members_of_a_project_are_edited_on_its_page(root: Client, dragons: Project) -> None:
    user = User.objects.get(username="root")
    form = {
        "name": "Dragons",
        "budget_warns_at": "80",
        "memberships-TOTAL_FORMS": "1",
        "memberships-INITIAL_FORMS": "0",
        "memberships-0-project": dragons.pk,
        "memberships-0-user": user.pk,
    }
    assert root.post(page_of(dragons), form).status_code == 302
    assert list(dragons.members.all()) == [user]
