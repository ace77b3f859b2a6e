"""Assistants out of the admin and into it, as YAML: shown before it is done, done only as it was shown."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from assistants import versions, yaml_text
from assistants.admin import audit
from assistants.admin.assistant_yaml import CHANGED_MEANWHILE, IMPORTED_BYTES
from assistants.admin.markup import page_of
from assistants.models import Assistant, Project

from .conftest import HOSTILE

LIST = "/admin/assistants/assistant/"
IMPORT = f"{LIST}import/"


@pytest.fixture
def assistant(dragons: Project) -> Assistant:
    made = Assistant.objects.create(project=dragons, model="scripted", name="Searcher & Co", instructions="Be kind.")
    versions.record(made, "root")
    return made


def exported(client: Client, assistant: Assistant) -> str:
    answer = client.get(page_of(Assistant, assistant.pk).replace("/change/", "/export/"))
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == 'attachment; filename="searcher-co.yaml"'
    return str(answer.content.decode())


def shown(client: Client, text: str, **more: Any) -> Any:
    answer = client.post(IMPORT, {"text": text, **more})
    assert answer.status_code == 200
    return answer


def confirm(client: Client, answer: Any, follow: bool = True) -> Any:
    """What its button sends."""
    sent = {"text": answer.context["text"], "seen": answer.context["seen"]}
    return client.post(IMPORT, sent, follow=follow)


def faults(answer: Any) -> str:
    return "\n".join(answer.context["faults"])


def test_it_is_shown_and_then_done(root: Client, assistant: Assistant) -> None:
    text = exported(root, assistant).replace("Be kind.", "Be brief.") + "  - {name: New, model: scripted}\n"
    answer = shown(root, text, project=assistant.project.pk)
    assert answer.context["counts"] == "1 changed, 1 made"
    page = html.unescape(answer.content.decode())
    assert "<del>kind</del>" in page
    assert "<ins>brief</ins>" in page
    assert Assistant.objects.count() == 1
    assistant.refresh_from_db()
    assert assistant.instructions == "Be kind."

    sent = {"text": answer.context["text"], "seen": answer.context["seen"], "project": assistant.project.pk}
    done = root.post(IMPORT, sent, follow=True)
    assert "Imported: 1 changed, 1 made." in done.content.decode()
    assistant.refresh_from_db()
    assert (assistant.instructions, assistant.version) == ("Be brief.", 2)
    new = Assistant.objects.get(name="New").versions.get()
    assert (new.author, new.note) == ("root", "From a file")
    (changed,), (made,) = (
        audit.parts_of(LogEntry.objects.get(object_id=id)) for id in (assistant.pk, new.assistant_id)
    )
    assert changed.words == made.words == "Imported from YAML."
    assert [(change.label, change.old, change.new) for change in changed.changes] == [
        ("instructions", "Be kind.", "Be brief.")
    ]
    assert ("name", "", "New") in [(change.label, change.old, change.new) for change in made.changes]


def test_a_file_is_taken_as_well(root: Client, assistant: Assistant) -> None:
    text = "\ufeff" + exported(root, assistant).replace("Be kind.", "Be brief.")
    answer = root.post(IMPORT, {"file": SimpleUploadedFile("a.yaml", text.encode())})
    assert answer.context["counts"] == "1 changed"
    assert "Imported: 1 changed." in confirm(root, answer).content.decode()


def test_the_text_comes_back_as_it_was(root: Client, dragons: Project) -> None:
    """Through the hidden text area of the preview: its first line break, and browsers' own line ends."""
    text = f"\n- name: New\n  model: scripted\n  instructions: |\n    </textarea>{HOSTILE}\n    two\n"
    answer = shown(root, text)
    assert HOSTILE not in answer.content.decode()
    sent = {"text": answer.context["text"].replace("\n", "\r\n"), "seen": answer.context["seen"]}
    root.post(IMPORT, sent)
    assert Assistant.objects.get().instructions == f"</textarea>{HOSTILE}\ntwo\n"


def test_what_changed_meanwhile_is_shown_first(root: Client, assistant: Assistant) -> None:
    answer = shown(root, exported(root, assistant).replace("Be kind.", "Be brief."))
    assistant.instructions = "Be quick."
    assistant.save()
    again = confirm(root, answer)
    assert CHANGED_MEANWHILE in html.unescape(again.content.decode())
    assistant.refresh_from_db()
    assert assistant.instructions == "Be quick."
    assert "Imported: 1 changed." in confirm(root, again).content.decode()


def test_nothing_to_do_is_said(root: Client, assistant: Assistant) -> None:
    page = shown(root, exported(root, assistant)).content.decode()
    assert "Nothing to do: 1 unchanged" in page
    assert ">Import</button>" not in page


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "This is not YAML"),
        ("{name: a}", "Missing required parameter: 'model'"),
        ("{name: a, model: a, temperature: 9}", "decimal above maximum value"),
    ],
)
def test_what_is_wrong_is_said_and_the_text_kept(root: Client, assistant: Assistant, text: str, said: str) -> None:
    answer = shown(root, text)
    assert said in faults(answer)
    page = html.unescape(answer.content.decode())
    assert said in page
    assert text in page
    assert Assistant.objects.count() == 1


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "Choose a file, or paste its text."),
        ({"text": " \n"}, "Choose a file, or paste its text."),
        ({"text": "x" * (IMPORTED_BYTES + 1)}, "The text is too long."),
        ({"text": "{name: a, model: b}", "project": "proj_none"}, "Select a valid choice."),
    ],
)
def test_a_form_that_says_too_little_or_too_much(root: Client, dragons: Project, sent: Any, said: str) -> None:
    answer = root.post(IMPORT, sent)
    assert answer.status_code == 200
    assert said in html.unescape(answer.content.decode())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * (IMPORTED_BYTES + 1), b""])
def test_a_file_that_is_none(root: Client, dragons: Project, content: bytes) -> None:
    answer = root.post(IMPORT, {"file": SimpleUploadedFile("a.yaml", content)})
    assert answer.status_code == 200
    assert answer.context["form"].errors


def test_several_are_one_file(root: Client, assistant: Assistant) -> None:
    other = Assistant.objects.create(project=assistant.project, model="scripted", name="Other")
    answer = root.post(LIST, {"action": "export_yaml", "_selected_action": [assistant.pk, other.pk]})
    assert answer["Content-Type"] == "application/yaml; charset=utf-8"
    items = yaml_text.read(answer.content.decode())["assistants"]
    assert {item["id"] for item in items} == {assistant.pk, other.pk}


def test_rights_are_those_of_what_it_does(staff: Callable[..., Client], root: Client, assistant: Assistant) -> None:
    changed = exported(root, assistant).replace("Be kind.", "Be brief.")
    new = "{name: New, model: scripted}"
    reader = staff("view_assistant")
    assert exported(reader, assistant)
    assert reader.get(IMPORT).status_code == 403
    assert reader.post(IMPORT, {"text": new}).status_code == 403
    assert "Import YAML" not in reader.get(LIST).content.decode()
    assert staff("view_thread").get(page_of(Assistant, assistant.pk).replace("/change/", "/export/")).status_code == 403
    adds, changes = staff("add_assistant"), staff("view_assistant", "change_assistant")
    assert "It would change assistants, which you may not." in faults(shown(adds, changed))
    assert "It would make new assistants, which you may not." in faults(shown(changes, new))
    assert shown(adds, new).context["counts"] == "1 made"
    assert shown(changes, changed).context["counts"] == "1 changed"
    assistant.refresh_from_db()
    assert (assistant.instructions, Assistant.objects.count()) == ("Be kind.", 1)


def test_the_list_leads_to_the_import(root: Client) -> None:
    assert f'href="{IMPORT}"' in root.get(LIST).content.decode()
    assert root.get(IMPORT).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_a_file_is_parsed_before_anything_waits_for_it(root: Client, dragons: Project) -> None:
    """A megabyte takes seconds, and while a transaction is open nobody else writes to SQLite."""
    with CaptureQueriesContext(connection) as asked:
        assert "This is not YAML" in faults(shown(root, "a: ["))
    assert not [query for query in asked.captured_queries if query["sql"].startswith("BEGIN")]
    with CaptureQueriesContext(connection) as asked:
        assert shown(root, "{name: New, model: scripted}").context["counts"] == "1 made"
    assert [query for query in asked.captured_queries if query["sql"].startswith("BEGIN")], "they are seen at all"


def test_a_long_file_costs_few_questions_an_entry(
    root: Client, dragons: Project, django_assert_max_num_queries: Any
) -> None:
    entries = "\n".join(f"- {{name: N{number}, model: scripted}}" for number in range(20))
    with django_assert_max_num_queries(20 + 20 * 12):
        assert shown(root, entries).context["counts"] == "20 made"
