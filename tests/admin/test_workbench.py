"""What the assistant's form asks for while somebody writes: tokens, verdicts, models, files; and clones."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from assistants import tokens
from assistants.admin import audit
from assistants.admin.markup import page_of
from assistants.masking import MASK
from assistants.models import Assistant, File, FileStatus, Project, VectorStore, VectorStoreFile

from .test_assistants import ADD, WEATHER, form

BASE = "/admin/assistants/assistant"


def post(client: Client, view: str, /, **fields: Any) -> Any:
    return client.post(f"{BASE}/{view}/", fields)


def test_tokens_are_counted_as_the_text_would_be_saved(root: Client) -> None:
    text = "Antworte höflich.\r\nImmer."
    answer = post(root, "tokens", text=text).json()
    saved = text.replace("\r\n", "\n")
    assert answer == {"tokens": tokens.count_tokens(saved), "characters": len(saved), "most": 256_000}
    assert post(root, "tokens").json()["tokens"] == 0
    assert post(root, "tokens", text="x" * 512_001).status_code == 400


def test_line_ends_of_browsers_change_nothing(root: Client, dragons: Project) -> None:
    made = Assistant.objects.create(project=dragons, model="scripted", name="Searcher", instructions="One\nTwo")
    assert root.post(page_of(Assistant, made.pk), form(dragons, instructions="One\r\nTwo")).status_code == 302
    made.refresh_from_db()
    assert made.instructions == "One\nTwo"


DEEP = "[" * 600 + "]" * 600
FAULTS: list[tuple[str, list[str], str, tuple[int, int]]] = [
    ("", [], "", (0, 0)),
    (json.dumps(WEATHER), ["get_weather"], "", (0, 0)),
    (json.dumps({"type": "function", "function": WEATHER}), ["get_weather"], "", (0, 0)),
    ('{"name":\n  nothing}', [], "This is not JSON", (2, 3)),
    ('"get_weather"', [], "Expected an object with a “name”", (0, 0)),
    ('{"name": "a b"}', ["a b"], "Invalid 'name': string does not match", (0, 0)),
    ('{"name": 5}', [], "Invalid type for 'name'", (0, 0)),
    ('{"name": "file_search"}', ["file_search"], "is the name of a tool of the server", (0, 0)),
    ('{"name": "a", "parameters": {"type": "objekt"}}', ["a"], "parameters: type: 'objekt' is not valid", (0, 0)),
    ('{"name": "a", "colour": 1}', ["a"], "Unknown parameter: 'colour'.", (0, 0)),
    (f'{{"name": "a", "parameters": {{"type": "object", "enum": {DEEP}}}}}', [], "nested too deeply", (0, 0)),
    (r'{"name": "a", "description": "a\u0000b"}', [], "contains a NUL character", (0, 0)),
    ('[{"name": "a"}, {"name": "a"}]', ["a", "a"], "Tool 2 (a): another function has this name already.", (0, 0)),
]


@pytest.mark.parametrize(("text", "names", "message", "place"), FAULTS)
def test_a_verdict_says_what_is_wrong_and_where(
    root: Client, text: str, names: list[str], message: str, place: tuple[int, int]
) -> None:
    (verdict,) = post(root, "check", functions=text).json()["functions"]
    assert verdict["names"] == names
    if not message:
        assert verdict["faults"] == []
        return
    (fault,) = verdict["faults"]
    assert message in fault["message"]
    assert (fault["line"], fault["column"]) == place


@pytest.mark.parametrize("text", [text for text, *_ in FAULTS if text])
def test_a_verdict_is_what_saving_would_say(root: Client, dragons: Project, text: str) -> None:
    (verdict,) = post(root, "check", functions=text).json()["functions"]
    saved = root.post(ADD, form(dragons, functions=text)).status_code == 302
    assert saved == (verdict["faults"] == [])


def test_verdicts_stand_in_the_order_of_the_editors(root: Client) -> None:
    texts = [json.dumps(WEATHER), "{", json.dumps(WEATHER)]
    verdicts = post(root, "check", functions=texts).json()["functions"]
    assert [len(verdict["faults"]) for verdict in verdicts] == [0, 1, 1]
    assert "already" in verdicts[2]["faults"][0]["message"]
    assert post(root, "check", functions=["{}"] * 201).status_code == 400


def test_each_function_is_posted_in_a_box_of_its_own(root: Client, dragons: Project) -> None:
    texts = [json.dumps(WEATHER), "", json.dumps([{"name": "a"}, {"name": "b"}])]
    filled = {**form(dragons), "functions": texts}
    assert root.post(ADD, filled).status_code == 302
    made = Assistant.objects.get()
    assert [tool["function"]["name"] for tool in made.tools] == ["get_weather", "a", "b"]
    page = root.get(page_of(Assistant, made.pk)).content.decode()
    assert page.count('name="functions"') == 4  # and an empty one to fill
    broken = root.post(ADD, {**form(dragons), "functions": [json.dumps(WEATHER), "{nope"]})
    assert "Function 2: This is not JSON" in broken.content.decode()
    assert "{nope" in broken.content.decode()


def test_models_are_those_that_are_known_and_used(root: Client, dragons: Project) -> None:
    Assistant.objects.create(project=dragons, model="odd-model")
    models = root.get(f"{BASE}/models/").json()["models"]
    assert {"scripted", "odd-model"} <= set(models)
    assert len(models) == len(set(models))


def upload(client: Client, project: Project | str, **more: Any) -> Any:
    file = more.pop("file", SimpleUploadedFile("../notes.txt", b"The vault opens at noon."))
    return post(client, "upload", project=getattr(project, "pk", project), file=file, **more)


def test_a_dropped_file_goes_into_the_store_of_the_form(root: Client, dragons: Project) -> None:
    first = upload(root, dragons, name="Files of Guide").json()
    store = VectorStore.objects.get(pk=first["store"])
    assert (store.name, store.project) == ("Files of Guide", dragons)
    second = upload(root, dragons, store=store.pk).json()
    assert second["store"] == store.pk
    assert {row.file_id for row in store.store_files.all()} == {first["file"], second["file"]}
    assert File.objects.get(pk=first["file"]).filename == "notes.txt"
    VectorStoreFile.objects.filter(vector_store=store, file=first["file"]).update(status=FileStatus.COMPLETED)
    failed = {"code": "unsupported_file", "message": "a picture"}
    VectorStoreFile.objects.filter(vector_store=store, file=second["file"]).update(status="failed", last_error=failed)
    found = root.get(f"{BASE}/uploads/", {"store": store.pk, "project": dragons.pk}).json()
    assert {file["file"]: file["status"] for file in found["files"]} == {
        first["file"]: "completed",
        second["file"]: "failed",
    }
    assert "File type not supported: a picture" in [file["error"] for file in found["files"]]
    elsewhere = root.get(f"{BASE}/uploads/", {"store": store.pk, "project": "proj_other"}).json()
    assert elsewhere == {"files": [], "more": False}


def test_a_file_for_code_is_in_no_store_of_the_form(root: Client, dragons: Project) -> None:
    made = upload(root, dragons, use="code").json()
    assert made["store"] == ""
    assert not VectorStore.objects.filter(covers_project=False).exists()


def test_uploads_that_cannot_be_kept_say_why(
    root: Client, staff: Callable[..., Client], dragons: Project, settings: Any
) -> None:
    foreign = VectorStore.objects.create(project=Project.objects.create(name="Elves"))
    assert "Choose a project" in upload(root, "").json()["message"]
    assert foreign.pk in upload(root, dragons, store=foreign.pk).json()["message"]
    assert upload(root, dragons, file=SimpleUploadedFile("a.txt", b"")).json()["message"] == "The file is empty."
    assert post(root, "upload", project=dragons.pk).status_code == 400
    settings.KUMOS_FILE_BYTES_MAX = 5
    assert "larger than" in upload(root, dragons).json()["message"]
    assert upload(staff("change_assistant"), dragons).status_code == 403
    assert not File.objects.exists()


def test_a_file_asks_for_the_rights_that_the_pages_of_stores_ask_for(
    staff: Callable[..., Client], dragons: Project
) -> None:
    store = VectorStore.objects.create(project=dragons, name="Lore")
    writer = staff("change_assistant", "add_file")
    maker = staff("change_assistant", "add_file", "add_vectorstore")
    keeper = staff("change_assistant", "add_file", "change_vectorstore")
    refusals = [
        (writer, {}, "You may not make vector stores."),
        (keeper, {}, "You may not make vector stores."),
        (writer, {"store": store.pk}, "You may not put files into vector stores."),
        (maker, {"store": store.pk}, "You may not put files into vector stores."),
    ]
    for client, more, words in refusals:
        answer = upload(client, dragons, **more)
        assert (answer.status_code, answer.json()["message"]) == (403, words)
    assert not File.objects.exists()
    assert VectorStore.objects.get() == store
    assert upload(writer, dragons, use="code").status_code == 200
    assert upload(maker, dragons).status_code == 200
    assert upload(keeper, dragons, store=store.pk).json()["store"] == store.pk
    about = {"store": store.pk, "project": dragons.pk}
    assert writer.get(f"{BASE}/uploads/", about).status_code == 403
    for client in (keeper, staff("change_assistant", "view_vectorstore")):
        assert len(client.get(f"{BASE}/uploads/", about).json()["files"]) == 1


def test_a_file_its_store_and_that_it_is_there_are_entered_in_the_log(root: Client, dragons: Project) -> None:
    made = upload(root, dragons, name="Files of Guide").json()

    def entered(pk: str) -> list[tuple[int, str, str]]:
        logs = LogEntry.objects.filter(object_id=pk).select_related("content_type").order_by("id")
        return [(log.action_flag, log.content_type.model, audit.summary(log)) for log in logs if log.content_type]

    assert entered(made["file"]) == [(ADDITION, "file", "Added.")]
    store = entered(made["store"])
    assert store[0] == (ADDITION, "vectorstore", "Made for a file of an assistant’s form.")
    assert store[1:] == [(CHANGE, "vectorstore", "Files attached: notes.txt.")]
    upload(root, dragons, store=made["store"])
    assert entered(made["store"])[2:] == store[1:]
    before = LogEntry.objects.count()
    upload(root, dragons, use="code")
    assert LogEntry.objects.count() == before + 1


def test_a_clone_begins_as_its_original_with_what_the_form_does_not_show(root: Client, dragons: Project) -> None:
    ranking = {"ranker": "auto", "score_threshold": 0.1, "hybrid_search": None}
    search = {"type": "file_search", "file_search": {"ranking_options": ranking}}
    function = {"type": "function", "function": {**WEATHER, "strict": False}}
    original = Assistant.objects.create(
        project=dragons, model="scripted", name="Guide", tools=[search, function], metadata={"team": "a"}
    )
    page = root.get(f"{BASE}/").content.decode()
    address = f"{ADD}?clone={original.pk}"
    assert f'href="{address}"' in page
    assert f'href="{address}"' in root.get(page_of(Assistant, original.pk)).content.decode()
    shown = root.get(address).context["adminform"].form
    filled = {field.html_name: field.value() for field in shown if field.value() not in (None, False)}
    assert filled["name"] == "Copy of Guide"
    assert Assistant.objects.count() == 1
    assert root.post(address, filled).status_code == 302
    copy = Assistant.objects.exclude(pk=original.pk).get()
    assert (copy.tools, copy.metadata, copy.model) == (original.tools, {"team": "a"}, "scripted")
    assert copy.version == 1


@pytest.mark.parametrize("how", ["clone", "save as new"])
def test_the_secrets_of_a_copy_are_neither_shown_nor_lost(
    staff: Callable[..., Client], dragons: Project, how: str
) -> None:
    """By somebody who may not read content, either. They do not go into another project, where others read them."""
    client = staff("view_assistant", "add_assistant", "change_assistant")
    metadata = {"api_key": "hunter2", "team": "a"}
    original = Assistant.objects.create(project=dragons, model="scripted", name="Guide", metadata=metadata)
    elves = Project.objects.create(name="Elves")
    page = page_of(Assistant, original.pk)
    address, more = (f"{ADD}?clone={original.pk}", {}) if how == "clone" else (page, {"_saveasnew": "1"})
    shown = client.get(address)
    assert "hunter2" not in shown.content.decode()
    filled = {field.html_name: field.value() for field in shown.context["adminform"].form}
    filled = {name: value for name, value in filled.items() if value not in (None, False)} | more | {"name": "Copy"}
    assert MASK in filled["metadata"] if isinstance(filled["metadata"], str) else filled["metadata"]["api_key"] == MASK
    filled["metadata"] = json.dumps({"api_key": MASK, "team": "b"})
    refused = client.post(address, {**filled, "project": elves.pk})
    assert "“api_key”: what ••• hides is kept only" in refused.content.decode()
    assert Assistant.objects.count() == 1
    assert client.post(address, filled).status_code == 302
    copy = Assistant.objects.exclude(pk=original.pk).get()
    assert copy.metadata == {"api_key": "hunter2", "team": "b"}
    assert "hunter2" not in client.get(page_of(Assistant, copy.pk)).content.decode()
    assert "hunter2" not in "".join(LogEntry.objects.values_list("change_message", flat=True))
    typed = {**filled, "project": elves.pk, "metadata": json.dumps({"api_key": "of their own"})}
    assert client.post(address, typed).status_code == 302
    assert Assistant.objects.get(project=elves).metadata == {"api_key": "of their own"}


def test_clones_are_offered_to_those_who_may_make_assistants(staff: Callable[..., Client], dragons: Project) -> None:
    original = Assistant.objects.create(project=dragons, model="scripted", name="Guide", instructions="Secret plan.")
    assert "clone=" not in staff("view_assistant").get(f"{BASE}/").content.decode()
    blind = staff("add_assistant").get(f"{ADD}?clone={original.pk}")
    assert "Secret plan." not in blind.content.decode()
