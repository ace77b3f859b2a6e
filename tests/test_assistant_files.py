"""Assistants as one YAML file: read as it was written, and applied as a whole or not at all."""

from __future__ import annotations

import io
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st

from assistants import assistant_files, versions, yaml_text
from assistants.admin import audit
from assistants.assistant_files import Refused, apply, written
from assistants.models import Assistant, AssistantVersion, Project
from tests.conftest import ApiClient

WHOLE = {
    "model": "scripted",
    "name": "Searcher",
    "description": "no",
    "instructions": "# Rules\n\nBe kind.  \n\tAnd brief: “ja” 🐉\n",
    "tools": [
        {"type": "file_search"},
        {"type": "function", "function": {"name": "on", "parameters": {"type": "object"}}},
    ],
    "metadata": {"version": "1.0", "on": "yes", "since": "2026-01-01"},
    "temperature": 0.25,
    "response_format": {"type": "json_object"},
    "reasoning_effort": "none",
}

ODD = st.sampled_from(list(" \n\t\r\x85\u2028\ufeff-#:'\"|>%@`{}[]&*!?,0a~=<"))
ANY = st.characters(codec="utf-8", exclude_characters="\0")
TEXT = st.text(ODD | ANY, max_size=30) | st.sampled_from(
    ["yes", "null", "1e5", "0x1", "1_0", "12:30", "2026-01-01", ".inf", "<<"]
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


@given(VALUE)
@settings(deadline=None, max_examples=300)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    assert yaml_text.read(yaml_text.write(value)) == value


@pytest.mark.parametrize("number", ["0", "-7", "1.50", "1e5", "-2.5E-3", "9" * 20, "0.00012345678901234567"])
def test_a_number_is_what_json_calls_one(number: str) -> None:
    assert yaml_text.read(f"a: {number}") == {"a": json.loads(number)}


@pytest.mark.parametrize(
    "text", ["1:30", ":".join("1" * 9), "012", "0x10", "0b1", "1_000", "+1", ".5", "1.", ".inf", ".NaN"]
)
def test_what_only_yaml_calls_a_number_is_a_text(text: str) -> None:
    assert yaml_text.read(f"a: {text}") == {"a": text}


TAGS = ["!!int ", "!!float ", "!!bool ", "!!null ", "!!map ", "!!seq ", "!!str ", "!!set ", "!x "]
SIGNS = ["? ", "- ", "a: ", "\n", "  ", *"[]{},\"'|>#=%~\0\ud800", "&b ", "*b", "<<: ", "---\n"]
PIECES = [*TAGS, *SIGNS, "1", "1:1", "true", "\\ud800", "\\UFFFFFFFF", "\\0", "\\x"]


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
@settings(deadline=None, max_examples=500)
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(yaml_text.NotYaml):
        json.dumps(yaml_text.read(text), allow_nan=False)


def test_instructions_are_a_block_whatever_their_lines_end_with() -> None:
    assert (
        yaml_text.write({"instructions": "One  \n\ttwo\n\nthree"}) == "instructions: |-\n  One  \n  \ttwo\n\n  three\n"
    )


BROKEN = [
    ("", "Expected a list of assistants, but got null."),
    ("text", "Expected a list of assistants, but got a string."),
    ("a: [", "This is not YAML: "),
    ("a: 1\na: 2", "the key “a” stands here twice at line 2, column 1."),
    ("[a]: 1", "a key must be a text"),
    ("a: &x [1]\nb: *x", "aliases are not taken at line 2, column 4."),
    ("!!python/object:os.system x", "could not determine a constructor"),
    ("a: !!binary YQ==", "could not determine a constructor"),
    ("- " * 5000 + "x", "It is nested too deeply."),
    ("a: " + "9" * 5000, "This is not YAML: a number has at most 20 digits at line 1, column 4."),
    ("a: !!int 1:30", "This is not YAML: this is no number as JSON writes it at line 1, column 4."),
    ("a: !!float .nan", "This is not YAML: this is no number as JSON writes it"),
    ("a: !!bool x", "This is not YAML: this is neither true nor false"),
    ("a: !!map x", "This is not YAML: this is no object"),
    ("a: !!map [[b, c]]", "This is not YAML: this is no object"),
    ('a: "\\UFFFFFFFF"', "This is not YAML: an escape stands for no character."),
    ('"\\ud800": 1', "a key must be a text"),
    ("\x01", "This is not YAML: "),
    ("a\n---\nb", "This is not YAML: "),
    ("[]", "There is no assistant in it."),
    ("assistants: []\nothers: []", "Beside “assistants” stands what is not known: others."),
    ("assistants: 5", "Expected a list of assistants, but got an integer."),
    ("[5]", "Entry 1: Expected an assistant, but got an integer."),
    ("model: a", "Entry 1: It has neither a name nor an id by which it could be found again."),
    ("{name: '', model: a}", "Entry 1: It has neither a name nor an id"),
    ("{id: 5, model: a}", "Entry 1: Invalid 'id': '5'."),
    ("{id: thread_1, model: a}", "Entry 1: Invalid 'id': 'thread_1'."),
    ("{id: '" + "asst_" + "a" * 60 + "', model: a}", "Entry 1: Invalid 'id': "),
    ("{name: a, model: a, project: Nowhere}", "Entry 1: There is no project “Nowhere”."),
    ("{name: a, model: a, project: [1]}", "Entry 1: There is no project"),
    ("{name: a, model: a, temperature: 1e999}", "Entry 1: It has a number that is too large."),
    ("{name: a, model: a, temperature: .nan}", "Invalid type for 'temperature': expected a decimal, but got a string"),
    ('{name: "a\\0", model: a}', "Entry 1: The request body contains a NUL character, which cannot be stored."),
    ("{name: a, model: a, top_p: 99999999999999999999}", "Entry 1: The request body contains an integer"),
    ("{name: a}", "Entry 1 (a): Missing required parameter: 'model'."),
    ("{name: [a], model: a}", "Invalid type for 'name': expected a string, but got an array instead."),
    ("{name: a, model: a, temperature: 3}", "Entry 1 (a): Invalid 'temperature': decimal above maximum value."),
    ("{name: a, model: a, colour: red}", "Entry 1 (a): Unknown parameter: 'colour'."),
    ("{name: a, model: a, metadata: {on: 1}}", "Invalid type for 'metadata.on': expected a string, but got an integer"),
    ("{name: a, model: a, tool_resources: {file_search: {vector_stores: [{}]}}}", "Unknown parameter"),
    ("{name: a, model: a, tool_resources: {file_search: {vector_store_ids: [vs_1]}}}", "No vector store found"),
    ("{name: a, model: a, tool_resources: {code_interpreter: {file_ids: [file-1]}}}", "No such File object: file-1"),
]


@pytest.mark.parametrize(("text", "said"), BROKEN)
def test_what_is_wrong_is_said_in_words(alice: ApiClient, text: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        apply(text, author="me")
    assert said in str(refused.value)
    assert not Assistant.objects.exists()


def made(client: ApiClient, **fields: Any) -> Assistant:
    return Assistant.objects.get(pk=client.make("/assistants", {**WHOLE, **fields})["id"])


def did(text: str, **more: Any) -> list[str]:
    return [outcome.did for outcome in apply(text, author="me", **more)]


def test_a_file_makes_again_what_was_there(alice: ApiClient) -> None:
    file, store = alice.make_file(), alice.make("/vector_stores", {})["id"]
    resources = {"file_search": {"vector_store_ids": [store]}, "code_interpreter": {"file_ids": [file]}}
    made(alice, tool_resources=resources)
    made(alice, name=None, instructions=None, tools=[])
    before = alice.get("/assistants").json()["data"]
    text = written(Assistant.objects.all())
    Assistant.objects.all().delete()
    assert did(text) == ["made", "made"]
    after = alice.get("/assistants").json()["data"]
    for shown in (*before, *after):
        del shown["created_at"]
    assert sorted(after, key=lambda one: one["id"]) == sorted(before, key=lambda one: one["id"])
    assert list(AssistantVersion.objects.values_list("number", "author", "note")) == [(1, "me", "From a file")] * 2
    assert did(text) == ["unchanged", "unchanged"]
    assert AssistantVersion.objects.count() == 2


def test_what_is_written_depends_on_nothing_else(alice: ApiClient) -> None:
    one, other = made(alice), made(alice, name="Other")
    text = written([other, one])
    assert text == written(Assistant.objects.all())
    assert "  - project: Atlas\n    id: " + one.pk in text
    assert "    instructions: |\n      # Rules\n\n      Be kind.  \n" in text
    assert "created_at" not in text


def test_only_what_differs_is_changed(alice: ApiClient) -> None:
    one, other = made(alice), made(alice, name="Other")
    text = written([one, other]).replace("name: Other", "name: Renamed")
    assert did(text, dry_run=True) == ["unchanged", "changed"]
    assert Assistant.objects.get(pk=other.pk).name == "Other"
    outcome = apply(text, author="me")[1]
    assert (outcome.before["name"], outcome.after["name"]) == ("Other", "Renamed")
    other.refresh_from_db()
    assert (other.name, other.version) == ("Renamed", 2)
    assert (one.versions.count(), other.versions.count()) == (1, 2)


def test_what_an_entry_leaves_out_is_at_its_default(alice: ApiClient) -> None:
    one = made(alice)
    assert did(f"{{id: {one.pk}, model: other}}") == ["changed"]
    one.refresh_from_db()
    assert versions.same(versions.body_of(one), versions.body_of(Assistant(model="other")))


def test_one_broken_entry_leaves_all_as_it_was(alice: ApiClient) -> None:
    one = made(alice)
    good = f"{{id: {one.pk}, model: other}}, {{name: new, model: a}}"
    text = f"[{good}, {{name: x, model: ''}}, {{name: y, model: a, top_p: 2}}]"
    with pytest.raises(Refused) as refused:
        apply(text, author="me")
    assert [fault.partition(":")[0] for fault in refused.value.faults] == ["Entry 3 (x)", "Entry 4 (y)"]
    one.refresh_from_db()
    assert (one.model, Assistant.objects.count(), AssistantVersion.objects.count()) == ("scripted", 1, 1)


def test_an_answer_of_the_api_is_a_file_too(alice: ApiClient) -> None:
    one = made(alice)
    for path in (f"/assistants/{one.pk}", "/assistants"):
        assert did(alice.get(path).content.decode()) == ["unchanged"]


def test_without_its_id_an_assistant_is_found_by_its_name(alice: ApiClient) -> None:
    one = made(alice)
    assert did("{name: Searcher, model: other}") == ["changed"]
    (outcome,) = apply("{name: Searcher, model: third, id: asst_of_elsewhere}", author="me")
    assert (outcome.did, outcome.assistant.pk) == ("changed", one.pk)
    assert outcome.remark == "found by its name, not as asst_of_elsewhere"


def test_a_name_that_two_have_needs_an_id(alice: ApiClient) -> None:
    one, other = made(alice), made(alice)
    with pytest.raises(Refused, match="2 assistants have this name"):
        apply("{name: Searcher, model: other}", author="me")
    assert did(written([one, other])) == ["unchanged", "unchanged"]


def test_namesakes_with_ids_are_made_apart(alice: ApiClient) -> None:
    text = "[{id: asst_1, name: a, model: x}, {id: asst_2, name: a, model: y}]"
    assert did(text) == ["made", "made"]
    assert did(text) == ["unchanged", "unchanged"]
    assert set(Assistant.objects.values_list("pk", flat=True)) == {"asst_1", "asst_2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[{name: a, model: x}, {name: a, model: y}]",
            "Entry 2 (a): another entry has the same name. Give each an id.",
        ),
        ("[{id: asst_1, model: x}, {id: asst_1, model: y}]", "Entry 2 (asst_1): entry 1 has the same id."),
    ],
)
def test_two_entries_for_one_are_refused(alice: ApiClient, text: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        apply(text, author="me")
    assert str(refused.value) == said


def test_a_file_reaches_its_project_and_no_other(alice: ApiClient, charlie: ApiClient) -> None:
    hers = made(alice)
    text = written([hers])
    with pytest.raises(Refused, match="It does not say which project it belongs to"):
        apply("{name: a, model: x}", author="me")
    (outcome,) = apply(text, author="me", project=charlie.project)
    assert outcome.did == "made"
    assert outcome.assistant.pk != hers.pk
    assert outcome.remark == f"{hers.pk} belongs to another project, so it has a new id"
    assert did(text, project=charlie.project) == ["unchanged"]
    assert alice.get("/assistants").json()["data"][0]["id"] == hers.pk
    nameless = written([made(alice, name=None)])
    with pytest.raises(Refused, match="belongs to another project, and there is no name"):
        apply(nameless, author="me", project=charlie.project)
    resources = {"file_search": {"vector_store_ids": [charlie.make("/vector_stores", {})["id"]]}}
    with pytest.raises(Refused, match="No vector store found"):
        apply(json.dumps({"name": "a", "model": "x", "project": "Atlas", "tool_resources": resources}), author="me")


def test_a_trial_is_neither_written_nor_found(alice: ApiClient) -> None:
    trial = made(alice)
    Assistant.objects.filter(pk=trial.pk).update(scratch_of=alice.user)
    assert did(f"{{name: Searcher, id: {trial.pk}, model: other}}") == ["made"]
    assert Assistant.objects.get(pk=trial.pk).model == "scripted"
    assert trial.pk not in printed("export")


def test_secrets_are_not_written_and_stay(alice: ApiClient) -> None:
    one = made(alice, metadata={"api_key": "sk-secret", "team": "a"})
    text = written([one])
    assert "sk-secret" not in text
    assert did(text) == ["unchanged"]
    assert did(text.replace("team: a", "team: b")) == ["changed"]
    one.refresh_from_db()
    assert one.metadata == {"api_key": "sk-secret", "team": "b"}
    assert did(text.replace("team: a", "API_KEY: other")) == ["changed"]


def test_what_pages_hide_within_metadata_is_not_written_and_stays(alice: ApiClient) -> None:
    hidden = {
        "note": "Authorization: Bearer sk-secret",
        "config": '{"api_key":"sk-secret"}',
        "value": "sk-secret",
    }
    shown = {"name": "OPENAI_API_KEY", "json": '{"a":1,"b":2.50}', "team": "a"}
    one = made(alice, metadata={**hidden, **shown})
    text = written([one])
    assert "sk-secret" not in text
    assert yaml_text.read(text)["assistants"][0]["metadata"] == shown
    assert [outcome.did for outcome in apply(text, author="test")] == ["unchanged"]
    apply(text.replace("team: a", "team: b"), author="test")
    one.refresh_from_db()
    assert one.metadata == {**hidden, **shown, "team": "b"}


def test_a_file_cannot_bare_a_secret_by_renaming_what_it_stands_beside(alice: ApiClient) -> None:
    one = made(alice, metadata={"name": "OPENAI_API_KEY", "value": "sk-secret"})
    apply(written([one]).replace("OPENAI_API_KEY", "x"), author="test")
    one.refresh_from_db()
    assert one.metadata == {"name": "x"}


# The commands --------------------------------------------------------------------------------------------------------


def printed(*arguments: str) -> str:
    out = io.StringIO()
    call_command("assistants", *arguments, stdout=out)
    return out.getvalue()


def test_what_export_prints_apply_takes(alice: ApiClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = made(alice), made(alice, name="Other")
    file = tmp_path / "assistants.yaml"
    file.write_text(printed("export", "--project", "Atlas").replace("name: Other", "name: Renamed"))
    line = f"{other.pk}  Renamed  in Atlas\n          Name: Other → Renamed\n"
    assert printed("apply", "-f", str(file), "--dry-run").endswith(f"{line}A dry run: nothing was changed.\n")
    assert printed("apply", "-f", str(file)) == f"unchanged {one.pk}  Searcher  in Atlas\nchanged   {line}"
    newest = other.versions.first()
    assert newest is not None
    assert newest.author == "manage.py"
    entry = LogEntry.objects.select_related("user").get()
    (part,) = audit.parts_of(entry)
    assert (entry.user.username, entry.object_id) == ("manage.py", other.pk)
    assert [(change.label, change.old, change.new) for change in part.changes] == [("name", "Other", "Renamed")]
    monkeypatch.setattr("sys.stdin", io.StringIO(printed("export", other.pk)))
    assert printed("apply", "-f", "-") == f"unchanged {other.pk}  Renamed  in Atlas\n"


def test_export_writes_what_was_asked_for(alice: ApiClient, charlie: ApiClient) -> None:
    one, other = made(alice), made(charlie, name="Other")
    assert {item["id"] for item in yaml_text.read(printed("export"))["assistants"]} == {one.pk, other.pk}
    for arguments in (["--project", "Comet"], ["--project", charlie.project.pk], [other.pk]):
        assert [item["name"] for item in yaml_text.read(printed("export", *arguments))["assistants"]] == ["Other"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "asst_none"], "There is no assistant asst_none."),
        (["export", "--project", "Nowhere"], "There is no project “Nowhere”."),
        (["apply", "-f", "/nowhere.yaml"], "/nowhere.yaml cannot be read: No such file or directory."),
        (["apply", "-f", __file__, "--project", "Nowhere"], "There is no project “Nowhere”."),
        (["apply", "-f", __file__], "Nothing was changed."),
        (["apply"], "required: -f/--file"),
    ],
)
def test_commands_say_what_is_wrong(alice: ApiClient, arguments: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=r".") as error:
        printed(*arguments)
    assert said in str(error.value)


@pytest.mark.django_db(transaction=True)
def test_a_file_is_parsed_before_anything_waits_for_it(alice: ApiClient, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a: [")
    with CaptureQueriesContext(connection) as asked, pytest.raises(CommandError, match="This is not YAML"):
        printed("apply", "-f", str(tmp_path / "a.yaml"))
    assert not [query for query in asked.captured_queries if query["sql"].startswith("BEGIN")]


def test_bytes_that_are_no_text(alice: ApiClient, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CommandError, match=r"a\.yaml is not text in UTF-8"):
        printed("apply", "-f", str(tmp_path / "a.yaml"))


def test_json_is_taken_as_well(alice: ApiClient) -> None:
    assert did(json.dumps({"assistants": [WHOLE]})) == ["made"]
    assert assistant_files.in_yaml({"model": "a"}) == "model: a\n"
    assert Project.objects.count() == 1
