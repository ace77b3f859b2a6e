"""The assistant's form: what it saves is what the API would keep, what it refuses is what the API would refuse."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from assistants.admin.markup import page_of
from assistants.models import Assistant, File, Project, VectorStore

from .conftest import HOSTILE, Talk

ADD = "/admin/assistants/assistant/add/"
WEATHER = {
    "name": "get_weather",
    "description": "Current weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def form(project: Project, **more: Any) -> dict[str, Any]:
    filled = {"project": project.pk, "model": "scripted", "name": "Searcher", "response_kind": "auto", **more}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in filled.items()}


def save(client: Client, filled: dict[str, Any]) -> Assistant:
    answer = client.post(ADD, filled)
    assert answer.status_code == 302, said(answer)
    return Assistant.objects.get()


def said(answer: Any) -> dict[str, list[str]]:
    """Field → messages of a refused form."""
    return {name: list(errors) for name, errors in answer.context["adminform"].form.errors.items()}


def refused(client: Client, filled: dict[str, Any]) -> dict[str, list[str]]:
    answer = client.post(ADD, filled)
    assert answer.status_code == 200
    assert not Assistant.objects.exists()
    page = html.unescape(answer.content.decode())
    errors = said(answer)
    for messages in errors.values():
        for message in messages:
            assert message in page
    return errors


def test_the_least_form_makes_what_the_least_request_makes(root: Client, dragons: Project) -> None:
    made = save(root, form(dragons, name=""))
    assert (made.project, made.model) == (dragons, "scripted")
    assert (made.name, made.description, made.instructions, made.reasoning_effort) == (None, None, None, None)
    assert (made.tools, made.tool_resources, made.metadata) == ([], {}, {})
    assert (made.temperature, made.top_p, made.response_format) == (1.0, 1.0, "auto")


def test_everything_is_kept_and_shown_again(root: Client, dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons)
    file = File.objects.create(project=dragons, filename="a.csv", purpose="assistants")
    schema = {"name": "answer", "schema": {"type": "object"}}
    filled = form(
        dragons,
        instructions="  Two lines,\nkept as they are.  ",
        file_search="on",
        max_num_results="7",
        score_threshold="0.25",
        vector_store=store.pk,
        code_interpreter="on",
        code_files=f" {file.pk} \n",
        functions=[WEATHER],
        temperature="0",
        top_p="0.5",
        response_kind="json_schema",
        response_schema=schema,
        reasoning_effort="low",
        metadata={"team": "support"},
    )
    made = save(root, filled)
    assert made.instructions is not None
    assert made.instructions.splitlines() == ["  Two lines,", "kept as they are.  "]
    assert [tool["type"] for tool in made.tools] == ["file_search", "code_interpreter", "function"]
    assert made.tools[0]["file_search"]["max_num_results"] == 7
    assert made.tools[0]["file_search"]["ranking_options"]["score_threshold"] == 0.25
    assert made.tools[2]["function"] == {**WEATHER, "strict": False}
    assert made.tool_resources == {
        "file_search": {"vector_store_ids": [store.pk]},
        "code_interpreter": {"file_ids": [file.pk]},
    }
    assert (made.temperature, made.top_p, made.reasoning_effort) == (0.0, 0.5, "low")
    assert made.response_format == {"type": "json_schema", "json_schema": schema}
    assert made.metadata == {"team": "support"}

    before = Assistant.objects.filter(pk=made.pk).values().get()
    shown = root.get(page_of(Assistant, made.pk)).context["adminform"].form
    again = {
        bound.html_name: bound.value() for bound in shown if bound.value() is not None and bound.value() is not False
    }
    assert root.post(page_of(Assistant, made.pk), again).status_code == 302
    assert Assistant.objects.filter(pk=made.pk).values().get() == before


def test_options_the_form_does_not_show_survive_it(root: Client, dragons: Project) -> None:
    ranking = {"ranker": "auto", "score_threshold": 0.1, "hybrid_search": None}
    tool = {"type": "file_search", "file_search": {"ranking_options": ranking}}
    made = Assistant.objects.create(project=dragons, model="scripted", tools=[tool])
    filled = form(dragons, file_search="on", score_threshold="0.2")
    assert root.post(page_of(Assistant, made.pk), filled).status_code == 302
    made.refresh_from_db()
    assert made.tools[0]["file_search"]["ranking_options"] == {**ranking, "score_threshold": 0.2}


DEEP = "[" * 600 + "]" * 600


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model", "", "This field is required."),
        ("temperature", "2.5", "decimal above maximum value. Expected a value <= 2, but got 2.5 instead."),
        ("top_p", "-1", "decimal below minimum value"),
        ("temperature", "NaN", "Enter a number."),
        ("response_kind", "poem", "Select a valid choice"),
        ("reasoning_effort", "enormous", "Select a valid choice"),
        ("metadata", "{", "This is not JSON"),
        ("metadata", "[]", "Invalid type for 'metadata': expected an object, but got an array instead."),
        ("metadata", {"k": 1}, "Invalid type for 'metadata.k': expected a string, but got an integer instead."),
        ("metadata", {str(n): "v" for n in range(17)}, "too many properties"),
        ("metadata", {"k" * 65: "v"}, "is too long. Expected a string with maximum length 64"),
        ("metadata", {"k": "v" * 513}, "maximum length 512"),
        ("metadata", '{"k": "\\ud800"}', "This is not JSON"),
        ("metadata", '{"k": NaN}', "This is not JSON"),
        ("metadata", r'{"k": "a\u0000b"}', "contains a NUL character"),
        ("metadata", '{"k": 18446744073709551616}', "an integer that does not fit into 64 bits"),
        ("response_schema", f'{{"name": "a", "schema": {{"enum": {DEEP}}}}}', "nested too deeply"),
        ("vector_store", "shelf", "Expected an ID that begins with 'vs'."),
        ("vector_store", "vs_unknown", "vs_unknown"),
        ("code_files", "file-unknown", "No such File object: file-unknown"),
        ("code_files", " ".join(f"file-{n}" for n in range(21)), "maximum length 20"),
    ],
)
def test_what_the_api_refuses_is_refused_beside_the_field(
    root: Client, dragons: Project, field: str, value: Any, message: str
) -> None:
    errors = refused(root, form(dragons, **{field: value}))
    assert list(errors) == [field]
    assert message in " ".join(errors[field])


@pytest.mark.parametrize(
    ("option", "value"), [("max_num_results", "51"), ("max_num_results", "0"), ("score_threshold", "1.5")]
)
def test_search_options_have_their_limits(root: Client, dragons: Project, option: str, value: str) -> None:
    errors = refused(root, form(dragons, file_search="on", **{option: value}))
    assert list(errors) == [option]
    assert f"but got {value} instead" in errors[option][0]


TYPO = {**WEATHER, "parameters": {"type": "objekt"}}
BAD_FUNCTIONS: list[tuple[Any, str]] = [
    ("[{]", "This is not JSON: "),
    ("\n\n  nonsense", "at line 3, column 3"),
    (["get_weather"], "Tool 1: expected an object with a “name” and “parameters”."),
    ([{"description": "nameless"}], "Tool 1: expected an object"),
    ([{"type": "function", "function": {"description": "x"}}], "Tool 1: Missing required parameter: 'name'."),
    ([WEATHER, {**WEATHER, "name": "get weather"}], "Tool 2 (get weather): Invalid 'name': string does not match"),
    ([{**WEATHER, "name": "n" * 65}], "string too long. Expected a string with maximum length 64"),
    ([{**WEATHER, "name": 5}], "Tool 1: Invalid type for 'name': expected a string, but got an integer instead."),
    ([{"name": "a"}, {**TYPO, "name": "b"}], "Tool 2 (b): parameters: type: 'objekt' is not valid"),
    ([{**WEATHER, "parameters": {"type": "array"}}], 'the schema must say "type": "object"'),
    ([{**WEATHER, "parameters": []}], "Tool 1 (get_weather): Invalid type for 'parameters': expected an object"),
    (
        [{**WEATHER, "parameters": {"type": "object", "required": "city"}}],
        "Tool 1 (get_weather): parameters: required: 'city' is not of type 'array'",
    ),
    ([WEATHER, WEATHER], "Tool 2 (get_weather): another tool has this name already."),
    ([{**WEATHER, "strict": "yes"}], "Tool 1 (get_weather): Invalid type for 'strict': expected a boolean"),
    ([{**WEATHER, "colour": 1}], "Tool 1 (get_weather): Unknown parameter: 'colour'."),
    ([{"type": "function", "function": WEATHER, "x": 1}], "Tool 1 (get_weather): Unknown parameter: 'x'."),
    ([{**WEATHER, "name": f"f{n}"} for n in range(129)], "Expected an array with maximum length 128"),
    ('[{"name": "deep", "parameters": ' + '{"not": ' * 900 + "{}" + "}" * 900 + "}]", ""),
    (f'{{"name": "deep", "parameters": {{"type": "object", "enum": {DEEP}}}}}', "nested too deeply"),
    ({"name": "deep", "parameters": {"type": "object", "enum": [json.loads(DEEP[540:660])]}}, "nested too deeply"),
    ([{**WEATHER, "description": "a\0b"}], "contains a NUL character"),
    ('{"name": "a", "parameters": {"type": "object", "enum": [18446744073709551616]}}', "does not fit into 64 bits"),
]


@pytest.mark.parametrize(("functions", "message"), BAD_FUNCTIONS)
def test_function_tools_are_checked_with_words(root: Client, dragons: Project, functions: Any, message: str) -> None:
    errors = refused(root, form(dragons, functions=functions, file_search="on"))
    assert list(errors) == ["functions"]
    assert message in " ".join(errors["functions"])


def test_every_bad_tool_is_named_at_once(root: Client, dragons: Project) -> None:
    errors = refused(root, form(dragons, functions=[TYPO, {**TYPO, "name": "other"}]))
    assert [message.split(":")[0] for message in errors["functions"]] == ["Tool 1 (get_weather)", "Tool 2 (other)"]


def test_a_refused_form_keeps_what_was_typed(root: Client, dragons: Project) -> None:
    typed = '[{"name": "half",'
    page = root.post(ADD, form(dragons, functions=typed, instructions=HOSTILE)).content.decode()
    assert html.escape(typed) in page
    assert HOSTILE not in page


@pytest.mark.parametrize("schema", ["", {"schema": {}}, {"name": "a", "schema": {"type": "objekt"}}, [1]])
def test_a_json_schema_answer_needs_its_schema(root: Client, dragons: Project, schema: Any) -> None:
    errors = refused(root, form(dragons, response_kind="json_schema", response_schema=schema))
    assert list(errors) == ["response_schema"]


def test_one_function_alone_is_taken_as_well(root: Client, dragons: Project) -> None:
    assert [tool["function"]["name"] for tool in save(root, form(dragons, functions=WEATHER)).tools] == ["get_weather"]


def test_a_store_of_another_project_is_as_unknown_as_none(root: Client, dragons: Project) -> None:
    foreign = VectorStore.objects.create(project=Project.objects.create(name="Elves"))
    errors = refused(root, form(dragons, vector_store=foreign.pk))
    there_is_none = refused(root, form(dragons, vector_store="vs_unknown"))
    assert errors["vector_store"][0].replace(foreign.pk, "vs_unknown") == there_is_none["vector_store"][0]


def test_an_assistant_stays_in_its_project(root: Client, talk: Talk) -> None:
    other = Project.objects.create(name="Elves")
    answer = root.post(page_of(Assistant, talk.assistant.pk), form(other))
    assert "project" in said(answer)
    talk.assistant.refresh_from_db()
    assert talk.assistant.project == talk.thread.project


def test_save_as_new_makes_a_second_assistant_with_the_same_tools(root: Client, dragons: Project) -> None:
    first = save(root, form(dragons, functions=[WEATHER], file_search="on", metadata={"a": "b"}))
    filled = form(dragons, name="Copy", functions=[WEATHER], file_search="on", metadata={"a": "b"}, _saveasnew="1")
    assert root.post(page_of(Assistant, first.pk), filled).status_code == 302
    copy = Assistant.objects.get(name="Copy")
    assert copy.pk != first.pk
    assert (copy.tools, copy.metadata, copy.project) == (first.tools, first.metadata, first.project)
    first.refresh_from_db()
    assert first.name == "Searcher"


def test_the_form_suggests_models_stores_and_the_only_project(root: Client, dragons: Project) -> None:
    store = VectorStore.objects.create(project=dragons, name="Handbook")
    Assistant.objects.create(project=dragons, model="odd-model")
    page = root.get(ADD)
    text = page.content.decode()
    for option in ("scripted", "odd-model", store.pk):
        assert f'<option value="{option}">' in text
    assert page.context["adminform"].form.initial["project"] == dragons.pk
    assert page.context["adminform"].form.initial["model"]


def test_the_page_leads_to_the_chat(root: Client, talk: Talk) -> None:
    assert (
        f'href="/chat/?assistant={talk.assistant.pk}"'
        in root.get(page_of(Assistant, talk.assistant.pk)).content.decode()
    )


def test_view_only_staff_read_the_tools_too(staff: Callable[..., Client], dragons: Project) -> None:
    tools = [{"type": "function", "function": {**WEATHER, "strict": False}}]
    made = Assistant.objects.create(project=dragons, model="scripted", tools=tools, instructions="Be kind.")
    page = staff("view_assistant").get(page_of(Assistant, made.pk)).content.decode()
    assert "get_weather" in page
    assert "Be kind." in page


def test_an_assistant_is_deleted_here_too(root: Client, talk: Talk) -> None:
    root.post(page_of(Assistant, talk.assistant.pk).replace("/change/", "/delete/"), {"post": "yes"})
    assert not Assistant.objects.exists()
    assert talk.assistant.pk in root.get(page_of(type(talk.run), talk.run.pk)).content.decode()


@pytest.mark.parametrize("id", ["asst_3Axyz", "asst_5Fxyz", "asst_xyz"])
def test_an_id_is_found_as_it_is_written_too(root: Client, dragons: Project, id: str) -> None:
    """Django's admin reads `_3A` in an address as a quoted colon; people, and the chat page, write ids as they are."""
    Assistant.objects.create(pk=id, project=dragons, model="scripted", name="Searcher")
    for address in (f"/admin/assistants/assistant/{id}/change/", page_of(Assistant, id)):
        assert root.get(address).status_code == 200, address
