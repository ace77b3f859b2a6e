"""The versions of an assistant in the admin: listed, compared, seen whole, rolled back, and left to who may."""

from __future__ import annotations

import html
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client

from assistants import clock, versions
from assistants.admin import audit
from assistants.admin.assistant_versions import SHOWN, address_of, version_link
from assistants.admin.markup import page_of
from assistants.models import Assistant, AssistantVersion, Project, Thread, VectorStore
from runs.models import Run, RunStatus

from .conftest import HOSTILE
from .conftest import SHOWN as ESCAPED
from .test_assistants import form


def saved(assistant: Assistant, author: str = "root", **fields: Any) -> Assistant:
    """`assistant` with `fields`, as its next version."""
    for name, value in fields.items():
        setattr(assistant, name, value)
    assistant.save()
    versions.record(assistant, author)
    return assistant


@pytest.fixture
def assistant(dragons: Project) -> Assistant:
    """Three versions: made, instructed, broken."""
    made = saved(Assistant(project=dragons, model="scripted", name="Searcher"))
    saved(made, instructions="You search.\nBe kind and brief.\nCite.")
    return saved(made, instructions="You search.\nBe rude and brief.\nCite.", temperature=2.0)


def page(client: Client, address: str, status: int = 200) -> str:
    answer = client.get(address)
    assert answer.status_code == status
    return html.unescape(answer.content.decode())


def told(answer: Any) -> str:
    """The messages on the page that a POST led to."""
    return " ".join(str(message) for message in answer.context["messages"])


def back(client: Client, assistant: Assistant, number: int) -> Any:
    return client.post(f"{address_of(assistant.pk, number)}back/", follow=True)


def test_the_page_has_a_place_for_the_versions(root: Client, assistant: Assistant) -> None:
    assert f'id="versions" data-address="{address_of(assistant.pk)}"' in page(root, page_of(Assistant, assistant.pk))
    assert 'id="versions"' not in page(root, "/admin/assistants/assistant/add/")


@pytest.mark.parametrize("fragment", ["", "?fragment"])
def test_the_list_says_who_changed_what(root: Client, assistant: Assistant, fragment: str) -> None:
    text = page(root, address_of(assistant.pk) + fragment)
    assert "The first version" in text
    assert "Instructions: 3 lines added" in text
    assert "Instructions: 1 line added, 1 line removed" in text
    assert "Temperature: 1.0 → 2.0" in text
    assert text.count("Roll back to version") == 2  # not to what it is now
    assert ("<html" in text) == (not fragment)


def test_two_are_compared_word_by_word(root: Client, assistant: Assistant) -> None:
    for ends in ("from=2&to=3", "from=3&to=2"):
        text = page(root, f"{address_of(assistant.pk)}?{ends}")
        assert "From version 2 to version 3" in text
        assert "Be <del>kind</del> and brief." in text
        assert "Be <ins>rude</ins> and brief." in text
    assert "Nothing differs." in page(root, f"{address_of(assistant.pk)}?from=2&to=2")


def test_a_version_is_seen_whole_and_against_now(root: Client, assistant: Assistant) -> None:
    text = page(root, address_of(assistant.pk, 2))
    assert "model: scripted\ninstructions: |-\n  You search.\n  Be kind and brief.\n  Cite.\n" in text
    assert "Be <ins>rude</ins> and brief." in text
    assert "which is what it is now" in page(root, address_of(assistant.pk, 3))


@pytest.mark.parametrize(
    "query", ["?from=2&to=9", "?from=x&to=1", "?from=²&to=1", f"?from=1&to={10**30}", "9/", f"{10**30}/"]
)
def test_an_unknown_version_is_not_found(root: Client, assistant: Assistant, query: str) -> None:
    page(root, address_of(assistant.pk) + query, 404)


@pytest.mark.parametrize("query", ["?before=x", "?before=²", f"?before={10**30}", "?from=1", "?before=0"])
def test_an_odd_query_is_no_fault(root: Client, assistant: Assistant, query: str) -> None:
    page(root, address_of(assistant.pk) + query)


def test_rolled_back_without_leaving_the_page(root: Client, assistant: Assistant) -> None:
    answer = back(root, assistant, 2)
    assert answer.redirect_chain == [(page_of(Assistant, assistant.pk), 302)]
    assert "It is again what it was in version 2. That is version 4." in told(answer)
    assistant.refresh_from_db()
    assert (assistant.instructions, assistant.temperature) == ("You search.\nBe kind and brief.\nCite.", 1.0)
    newest = assistant.versions.first()
    assert newest is not None
    assert (newest.number, newest.author, newest.note) == (4, "root", "Back to version 2")
    part = audit.parts_of(LogEntry.objects.get(object_id=assistant.pk))[0]
    assert part.words == "Back to version 2, as version 4."
    changed = {change.label: (change.old, change.new) for change in part.changes}
    older, newer = assistant.versions.get(number=3).body, newest.body
    assert changed["instructions"] == (older["instructions"], newer["instructions"])
    assert changed["temperature"] == (str(older["temperature"]), "1.0")
    assert "already" in told(back(root, assistant, 2))
    assert assistant.versions.count() == 4
    assert LogEntry.objects.count() == 1


def test_what_is_gone_is_said_and_nothing_changes(root: Client, assistant: Assistant) -> None:
    store = VectorStore.objects.create(project=assistant.project)
    saved(assistant, tool_resources={"file_search": {"vector_store_ids": [store.pk]}})
    saved(assistant, tool_resources={})
    gone = store.pk
    store.delete()
    assert f"No vector store found with id '{gone}'. Nothing was changed." in told(back(root, assistant, 4))
    assistant.refresh_from_db()
    assert (assistant.version, assistant.tool_resources) == (5, {})


def test_a_save_has_its_note(root: Client, assistant: Assistant) -> None:
    changed = form(assistant.project, instructions="Shorter.", version_note="Shorter answers")
    assert root.post(page_of(Assistant, assistant.pk), changed).status_code == 302
    newest = assistant.versions.first()
    assert newest is not None
    assert (newest.author, newest.note) == ("root", "Shorter answers")
    assert "Shorter answers" in page(root, address_of(assistant.pk))
    refused = root.post(page_of(Assistant, assistant.pk), {**changed, "version_note": "x" * 201})
    assert "version_note" in refused.context["adminform"].form.errors


def test_saving_the_form_as_it_is_is_no_version(root: Client, dragons: Project) -> None:
    tools = [
        {"type": "code_interpreter"},
        {
            "type": "function",
            "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False},
        },
    ]
    resources: dict[str, Any] = {"code_interpreter": {"file_ids": []}}
    made = saved(
        Assistant(project=dragons, model="scripted", instructions="One\n\ntwo ", tools=tools, tool_resources=resources)
    )
    shown = root.get(page_of(Assistant, made.pk)).context["adminform"].form
    filled = {bound.html_name: bound.value() for bound in shown if bound.value() not in (None, False)}
    filled["instructions"] = "One\r\n\r\ntwo "  # as browsers send it
    assert root.post(page_of(Assistant, made.pk), filled).status_code == 302
    assert made.versions.count() == 1


def test_who_may_only_look_changes_nothing(staff: Callable[..., Client], assistant: Assistant) -> None:
    reader = staff("view_assistant")
    text = page(reader, address_of(assistant.pk))
    assert "Instructions: 3 lines added" in text
    assert "Roll back" not in text
    assert reader.post(f"{address_of(assistant.pk, 2)}back/").status_code == 403
    stranger = staff("view_thread")
    for address in (address_of(assistant.pk), address_of(assistant.pk, 1)):
        assert stranger.get(address).status_code == 403
    assert Client().get(address_of(assistant.pk)).status_code == 302
    assistant.refresh_from_db()
    assert assistant.version == 3


def test_looking_at_the_address_rolls_nothing_back(root: Client, assistant: Assistant) -> None:
    assert root.get(f"{address_of(assistant.pk, 2)}back/").status_code == 405
    assert assistant.versions.count() == 3


def test_what_people_wrote_is_escaped(root: Client, dragons: Project) -> None:
    made = saved(Assistant(project=dragons, model="scripted", name=HOSTILE), author=HOSTILE)
    saved(made, instructions=HOSTILE, metadata={HOSTILE: HOSTILE})
    for query in ("", "?from=1&to=2", "2/"):
        text = root.get(address_of(made.pk) + query).content.decode()
        assert HOSTILE not in text
        assert ESCAPED in text


def test_secrets_are_hidden_and_their_change_is_not(root: Client, dragons: Project) -> None:
    made = saved(Assistant(project=dragons, model="scripted", metadata={"api_key": "first-secret"}))
    saved(made, metadata={"api_key": "second-secret"})
    for query in ("", "?from=1&to=2", "1/", "2/"):
        assert "-secret" not in page(root, address_of(made.pk) + query)
    assert "Only a hidden value has changed." in page(root, f"{address_of(made.pk)}?from=1&to=2")


def test_runs_of_a_week_are_counted_by_version(root: Client, assistant: Assistant) -> None:
    def run(version: int, status: str, days: int = 0) -> None:
        thread = Thread.objects.create(project=assistant.project)
        made = clock.now() - timedelta(days=days)
        Run.objects.create(
            project=assistant.project, thread=thread, assistant_id=assistant.pk, assistant_version=version,
            model="scripted", status=status, expires_at=made, created_at=made,
        )  # fmt: skip

    for status in (RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.COMPLETED, RunStatus.FAILED):
        run(2, status)
    run(2, RunStatus.FAILED, days=8)
    run(3, RunStatus.COMPLETED)
    text = page(root, address_of(assistant.pk))
    runs = f"/admin/runs/run/?since=week&assistant={assistant.pk}"
    assert f'<td><a href="{runs}&version=2">4 (25% failed)</a></td>' in text
    assert f'<td><a href="{runs}&version=3">1</a></td>' in text
    assert root.get(f"{runs}&version=2").status_code == 200
    assert "<td>–</td>" in text


def test_a_run_leads_to_its_version(root: Client, assistant: Assistant) -> None:
    run = Run(assistant_id=assistant.pk, assistant_version=2)
    assert f'href="{address_of(assistant.pk, 2)}"' in version_link(run)
    assert root.get(address_of(assistant.pk, 2)).status_code == 200
    assert version_link(Run(assistant_id=assistant.pk, assistant_version=None)) == "–"
    assistant.delete()
    assert version_link(run) == "version 2, deleted with its assistant"


def test_long_lists_come_in_pages(root: Client, assistant: Assistant, django_assert_max_num_queries: Any) -> None:
    for number in range(SHOWN):
        saved(assistant, name=f"Searcher {number}")
    with django_assert_max_num_queries(8):
        first = page(root, address_of(assistant.pk) + "?fragment")
    assert first.count("Compare to version") == SHOWN
    assert "?before=4" in first
    second = page(root, address_of(assistant.pk) + "?before=4")
    assert second.count("Compare to version") == 3
    assert "Name: Searcher → Searcher 0" in first


def test_what_is_endless_is_compared_all_the_same(root: Client, assistant: Assistant) -> None:
    saved(assistant, instructions="a\nb\n" * 60_000)
    saved(assistant, instructions="b\nc\na\n" * 40_000)
    saved(assistant, instructions="a b " * 60_000)
    for ends in ("from=4&to=5", "from=5&to=6"):
        assert "more lines" in page(root, f"{address_of(assistant.pk)}?{ends}")


def test_deleting_says_what_goes_along(root: Client, assistant: Assistant) -> None:
    address = page_of(Assistant, assistant.pk).replace("/change/", "/delete/")
    assert "all 3 versions of what it was. Threads, messages, runs, files and vector stores stay." in page(
        root, address
    )
    assert root.post(address, {"post": "yes"}).status_code == 302
    assert not Assistant.objects.exists()
    assert not AssistantVersion.objects.exists()


def test_who_may_delete_assistants_needs_no_more_for_it(staff: Callable[..., Client], assistant: Assistant) -> None:
    address = page_of(Assistant, assistant.pk).replace("/change/", "/delete/")
    assert staff("view_assistant", "delete_assistant").post(address, {"post": "yes"}).status_code == 302
    assert not Assistant.objects.exists()
