"""The page of tools: what a model sees, who called lately, and a search to try."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from pytest_django.fixtures import DjangoAssertNumQueries

from assistants.admin.content import HIDDEN
from assistants.models import Chunk, File, FileStatus, Project, VectorStore, VectorStoreFile
from runs.models import RunStep
from tests.conftest import ApiClient

from .conftest import HOSTILE, Talk

PAGE = "/admin/tools/"


def test_each_tool_shows_what_the_model_sees(root: Client, db: None) -> None:
    page = root.get(PAGE).content.decode()
    assert "<h2>file_search</h2>" in page
    assert "Searches the files that are available" in page
    assert "&quot;query&quot;" in page
    assert "Python, tests.tooled.tools" not in page, "functions are those of installed apps"
    assert "None among the newest" in page


def test_recent_calls_are_shown_to_whom_may_read_and_counted_to_others(
    root: Client, staff: Callable[..., Client], talk: Talk
) -> None:
    RunStep.objects.filter(type="tool_calls").update(
        call_arguments={"call_1": f'{{"query": "{HOSTILE}", "api_key": "sk-secret"}}'}
    )
    page = root.get(PAGE).content.decode()
    assert talk.run.pk in page
    assert "1 passage" in page
    assert HOSTILE not in page
    assert "alert(1)" in page
    assert "sk-secret" not in page
    page = staff("view_run").get(PAGE).content.decode()
    assert talk.run.pk in page
    assert "alert(1)" not in page
    assert HIDDEN in page


def test_a_search_is_tried_in_a_project_and_in_a_store(root: Client, alice: ApiClient) -> None:
    store = alice.make("/vector_stores", {"name": "Dragons"})["id"]
    file = File.objects.create(project=alice.project, filename="dragon.txt", purpose="assistants", bytes=5)
    held = VectorStoreFile.objects.create(vector_store_id=store, file=file, status=FileStatus.COMPLETED)
    Chunk.objects.create(store_file=held, position=0, text="Dragons breathe fire.")
    page = root.get(PAGE, {"query": "fire dragons", "store": store}).content.decode()
    assert "1 passage, best first" in page
    assert "Dragons breathe fire." in page
    assert "【0:0†source】" in page
    nothing = root.get(PAGE, {"query": "unicorns", "store": store}).content.decode()
    assert "0 passages" in nothing


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"query": "x"}, "Choose a project, or name a vector store"),
        ({"query": "", "store": "vs_1"}, "This field is required"),
        ({"query": "x", "store": "vs_unknown"}, "There is no such vector store"),
        ({"query": "x", "project": "proj_unknown"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_searched_is_refused_with_a_reason(root: Client, asked: dict[str, str], told: str) -> None:
    answer = root.get(PAGE, asked)
    assert answer.status_code == 200
    assert told in answer.content.decode()


def test_whoever_may_not_read_content_tries_no_search(staff: Callable[..., Client], dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons)
    viewer = staff("view_run", "view_vectorstore")
    page = viewer.get(PAGE, {"query": "x", "store": store.pk}).content.decode()
    assert 'name="query"' not in page
    assert "best first" not in page
    assert staff().get(PAGE).status_code == 403


def test_it_asks_little(root: Client, talk: Talk, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_max_num_queries(8):
        root.get(PAGE)
