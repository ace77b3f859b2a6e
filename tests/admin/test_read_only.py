"""The crawl: a read-only operator asks for every address of the admin by GET and POST, and for every verb of the API.

Nothing changes, and no page shows a secret or what somebody wrote. The same crawl as a superuser shows that the crawl
reaches what there is: he reads the content, changes things, and sees no secret either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

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
from .crawl import (
    CONTENT,
    ELSEWHERE,
    SECRETS,
    Page,
    dump,
    everything,
    fields_read,
    names_in,
    pages,
    posts_of,
    secrets_kept,
    text_of,
)

pytestmark = pytest.mark.any_database  # who may what is decided above the tables


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
            if page.is_own:
                status, told = ask(reader, page, query=f"?{urlencode(names_in(things))}")
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
            for query in ["", *([f"?{urlencode(names_in(things))}"] if page.is_own else [])]:
                status, told = ask(root, page, query=query)
                assert status < 500
                assert leaks(told, content=False) == []
                reads += CONTENT in told
    assert reads >= 4


def test_the_same_posts_as_superuser_change_things(root: Client, talk: Talk, things: Any) -> None:
    root.raise_request_exception = False
    before = dump()
    own, theirs = changed_by(root, root, talk, things, "own"), changed_by(root, root, talk, things, "change")
    assert {"assistants_membership", "assistants_file", "assistants_vectorstore", "assistants_vectorstorefile"} <= own
    assert {"assistants_project", "assistants_apikey", "assistants_assistant"} <= theirs
    assert dump()["django_admin_log"] != before["django_admin_log"]


def changed_by(client: Client, root: Client, talk: Talk, things: Any, place: str) -> set[str]:
    """The tables that posting to everything there changes, though no entry in the log."""
    before = dump()
    for page in pages(things, talk.run):
        if page.is_own if place == "own" else page.place == place:
            for sent in posts_of(page, ask(root, page)[1], things):
                assert ask(client, page, sent)[0] < 500, (page.address, sent)
    return {table for table, rows in dump().items() if rows != before[table]} - {"django_admin_log"}


def test_whoever_writes_assistants_and_files_writes_and_sees_nothing_else(
    staff: Callable[..., Client], root: Client, talk: Talk, things: Any, settings: Settings
) -> None:
    """By the pages that the admin has beside those of its tables: each asks for what the tables would ask."""
    settings.KUMOS_SEARCH_ALL_FILES = False  # a new file would enter the index of its project, whoever brings it
    writer = staff("add_assistant", "change_assistant", "add_file")
    writer.raise_request_exception = False
    for page in pages(things, talk.run):
        if page.is_own:
            told = ask(writer, page)[1] + ask(writer, page, query=f"?{urlencode(names_in(things))}")[1]
            assert [name for name in ("lore.txt", "billing", CONTENT) if name in told] == [], page.address
    changed = changed_by(writer, root, talk, things, "own")
    assert "assistants_file" in changed
    assert changed <= {"assistants_file", "assistants_assistant", "assistants_assistantversion"}


def test_the_crawl_sends_every_field_that_a_page_reads(things: Any) -> None:
    """Whoever adds one names a value for it in the crawl, or says why not."""
    read = fields_read()
    assert {"project", "store", "clone", "trial_compare", "file"} <= read
    assert read - set(names_in(things)) - ELSEWHERE == set()


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
