"""The crawl: a read-only operator asks for every address of the admin by GET and POST, and for every verb of the API.

Nothing changes, and no page shows a secret or what somebody wrote. The same crawl as a superuser shows that the crawl
reaches what there is: he reads the content, changes things, and sees no secret either.
"""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.test import Client
from pytest_django.fixtures import Settings

from assistants.admin.markup import page_of
from kumos_site import roles
from tests.conftest import ApiClient
from tests.routes import ROUTES, example
from tests.world import world_of

from .conftest import Talk
from .crawl import CONTENT, SECRETS, Page, dump, everything, pages, posts_of, secrets_kept, text_of


@pytest.fixture
def reader(db: None) -> Client:
    """Of the group as it is made with the tables, and of no project."""
    Group.objects.filter(name__in=roles.WANTED).delete()
    roles.grant(())
    user = User.objects.create_user("reader", is_staff=True)
    user.groups.add(Group.objects.get(name=roles.READERS))
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture
def things(talk: Talk, settings: Settings) -> Any:
    settings.OPENAI_API_KEY = SECRETS["of a model server"]
    return everything(talk)


def leaks(told: str, *, content: bool) -> list[str]:
    """What an answer shows and should not."""
    return [word for word in [*secrets_kept(), *([CONTENT] if content else [])] if word in told]


def ask(client: Client, page: Page, sent: dict[str, Any] | None = None, query: str = "") -> tuple[int, str]:
    answer = client.get(page.address + query) if sent is None else client.post(page.address, sent)
    return answer.status_code, text_of(answer)


def test_a_read_only_operator_changes_nothing_and_reads_no_content(
    reader: Client, root: Client, talk: Talk, things: Any, subtests: pytest.Subtests
) -> None:
    addresses = list(pages(things, talk.run))
    assert len(addresses) > 80
    seen = 0
    before = dump()
    for page in addresses:
        with subtests.test(page.address):
            status, told = ask(reader, page)
            seen += status == 200
            assert status < 500
            assert leaks(told, content=True) == []
            if page.place == "changelist" and page.model and admin.site._registry[page.model].search_fields:
                found = ask(reader, page, query=f"?q={CONTENT}")[1].replace(CONTENT, "")
                assert leaks(found, content=True) == []
                assert page_of(page.model, things[page.model].pk) not in found, "found by its content"
            for sent in posts_of(page, ask(root, page)[1], things):
                status, told = ask(reader, page, sent)
                assert status < 500, sent
                assert leaks(told, content=True) == [], sent
            assert dump() == before, page.address
    assert seen > 30, "he sees pages at all"


def test_the_same_crawl_as_superuser_reads_content_and_no_secret(
    root: Client, talk: Talk, things: Any, subtests: pytest.Subtests
) -> None:
    root.raise_request_exception = False
    reads = 0
    for page in pages(things, talk.run):
        with subtests.test(page.address):
            status, told = ask(root, page)
            assert status < 500
            assert leaks(told, content=False) == []
            reads += CONTENT in told
    assert reads >= 4


def test_the_same_posts_as_superuser_change_things(root: Client, talk: Talk, things: Any) -> None:
    before = dump()
    for page in pages(things, talk.run):
        if page.place == "change":
            for sent in posts_of(page, ask(root, page)[1], things):
                root.post(page.address, sent)
    changed = [table for table, rows in dump().items() if rows != before[table]]
    assert {"assistants_project", "assistants_apikey", "assistants_assistant", "django_admin_log"} <= set(changed)


def test_his_session_opens_no_verb_of_the_api(reader: Client, alice: ApiClient, subtests: pytest.Subtests) -> None:
    world = world_of(alice)
    before = dump()
    for route in ROUTES:
        with subtests.test(str(route)):
            own = world.ids_for(route)
            path = f"/v1{route.at(own)}"
            if route.method == "POST":
                body = example(route.body(), "", own) if route.body and not route.is_upload else {}
                answer = reader.post(path, body, content_type="application/json")
            else:
                answer = reader.generic(route.method, path)
            assert answer.status_code == (200 if route.path == "/openapi.json" else 403), answer
            assert dump() == before
