"""The assistant as a form. It builds the body an API client would send; the API's own serializer judges it.

So there is one source of rules: what is refused here is refused there, with the same words beside the right field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.widgets import AdminTextareaWidget, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from rest_framework.exceptions import ValidationError as Refusal

from assistants import stores, versions
from assistants.errors import ApiError, first_error
from assistants.masking import MASK, masked, unmasked
from assistants.models import Assistant, Project
from assistants.serializers.assistant import AssistantInput
from assistants.serializers.options import ReasoningEffort
from assistants.serializers.refusals import PLACE

from . import function_tools, suggestions
from .assistant_versions import address_of
from .inputs import JSONText, JSONTexts, SuggestingInput, Suggestion
from .markup import page_of

if TYPE_CHECKING:
    AssistantModelForm = forms.ModelForm[Assistant]
else:
    AssistantModelForm = forms.ModelForm

FUNCTIONS_EXAMPLE = (
    "Functions the client carries out, one a box. For example: "
    '<code>{"name": "get_weather", "description": "Current weather of a city", "parameters": {"type": "object",'
    ' "properties": {"city": {"type": "string"}}, "required": ["city"]}}</code>'
)
FORM_FIELD = {"response_format": "response_kind", "response_format.json_schema": "response_schema"}
"""Where the error of a wire field is shown, if not beside the field of the same name."""


def number(low: float, high: float, step: str) -> forms.NumberInput:
    return forms.NumberInput(attrs={"min": low, "max": high, "step": step})


class BasedOn(forms.CharField):
    """The number of the version that the form was filled from. Nobody types into it, so it is no change."""

    widget = forms.HiddenInput(attrs={"autocomplete": "off"})

    def has_changed(self, initial: Any, data: Any) -> bool:
        return False


class AssistantForm(AssistantModelForm):
    based_on = BasedOn(required=False)
    model = forms.CharField(
        label="Model",
        widget=SuggestingInput,
        help_text="The name as its provider knows it, for example <code>scripted</code>, <code>gpt-4o</code> or"
        " <code>llama3.2</code>. Suggestions appear while you type; any other name may be used.",
    )
    instructions = forms.CharField(
        required=False,
        strip=False,
        widget=AdminTextareaWidget(attrs={"rows": 16, "class": "vLargeTextField kumos-big"}),
        help_text="Who the assistant is and how it answers. For example: <em>You search our documents and answer in"
        " three sentences, with citations.</em> Up to 256,000 characters.",
    )
    file_search = forms.BooleanField(
        required=False, label="Search files", help_text="Finds passages in uploaded files and cites them."
    )
    max_num_results = forms.IntegerField(
        required=False,
        label="Passages at most",
        widget=number(1, 50, "1"),
        help_text="1 to 50. Empty: 20.",
    )
    score_threshold = forms.FloatField(
        required=False,
        label="Score at least",
        widget=number(0, 1, "0.05"),
        help_text="0 to 1. Passages below it are left out, for example 0.3. Empty: all.",
    )
    vector_store = forms.CharField(
        required=False,
        label="Vector store",
        widget=SuggestingInput,
        help_text="The store to search, for example <code>vs_6ad0…</code>. Empty: the thread's own store, else every"
        " file of the project with the purpose “assistants”.",
    )
    code_interpreter = forms.BooleanField(
        required=False,
        label="Run code",
        help_text="Kept with the assistant, as code_interpreter. This server cannot run code yet, so models are not"
        " offered it.",
    )
    code_files = forms.CharField(
        required=False,
        label="Files for the code",
        widget=forms.Textarea(attrs={"rows": 2, "cols": 40, "class": "kumos-code"}),
        help_text="Ids of up to 20 files, one a line, for example <code>file-abc…</code>.",
    )
    functions = JSONTexts(rows=12, called="Function", help_text=FUNCTIONS_EXAMPLE)
    temperature = forms.FloatField(
        required=False,
        initial=1.0,
        widget=number(0, 2, "0.1"),
        help_text="0 to 2. Low is sober (0.2), high is inventive. Empty: 1.",
    )
    top_p = forms.FloatField(
        required=False,
        initial=1.0,
        label="Top p",
        widget=number(0, 1, "0.05"),
        help_text="0 to 1. Change this or the temperature, not both. Empty: 1.",
    )
    response_kind = forms.ChoiceField(
        label="Response format",
        choices=[
            ("auto", "Auto: as the model likes"),
            ("text", "Text"),
            ("json_object", "Any JSON object"),
            ("json_schema", "JSON that follows the schema below"),
        ],
    )
    response_schema = JSONText(
        rows=8,
        blank=lambda: None,
        label="Response schema",
        help_text="Only for the last choice. For example: "
        '<code>{"name": "answer", "schema": {"type": "object", "properties": {"text": {"type": "string"}}}}</code>',
    )
    reasoning_effort = forms.ChoiceField(
        required=False,
        label="Reasoning effort",
        choices=[("", "The model's own"), *((level, level) for level in ReasoningEffort().choices)],
        help_text="For models that reason.",
    )
    metadata = JSONText(
        rows=6,
        blank=dict,
        help_text='Up to 16 pairs of strings, for example <code>{"team": "support"}</code>. Names up to 64, values up'
        " to 512 characters.",
    )

    version_note = forms.CharField(
        required=False,
        max_length=200,
        label="Note",
        widget=AdminTextInputWidget,
        help_text="What this save is for, shown in the list of versions, for example <em>Shorter answers</em>.",
    )

    class Meta:
        model = Assistant
        fields = ("project", "name", "description", "model", "instructions", "temperature", "top_p", "reasoning_effort")
        help_texts = {
            "project": "Whose keys and members may use it. It stays in this project.",
            "name": "What people pick it by, for example <em>Document Searcher</em>.",
            "description": "One line for people, for example <em>Answers from our handbook</em>. No model sees it.",
        }

    original: Assistant | None = None
    """What this new one is a copy of: from it comes what the form does not show."""
    is_tried = False
    """What comes of it is asked and not saved."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        instance = kwargs.get("instance")
        if instance is not None:
            given = {**shown(instance), "based_on": instance.version}
            kwargs["initial"] = {**given, **(kwargs.get("initial") or {})}
        super().__init__(*args, **kwargs)
        self.stored = versions.body_of(self.instance)
        self.suggest("model", suggestions.models)
        self.suggest("vector_store", lambda: suggestions.vector_stores(self.instance.project_id or ""))
        self.was = self.instance if instance is not None else self.original
        if not self.instance._state.adding and "project" in self.fields:
            self.fields["project"].widget = forms.HiddenInput()  # posted along, so that "save as new" knows it

    def suggest(self, name: str, suggest: Callable[[], Iterable[Suggestion]]) -> None:
        if name in self.fields:  # view-only people get a form without it
            widget = self.fields[name].widget
            assert isinstance(widget, SuggestingInput)
            widget.suggest = suggest

    def clean_project(self) -> Project:
        project: Project = self.cleaned_data["project"]
        if not self.instance._state.adding and project.pk != self.instance.project_id:
            raise ValidationError("An assistant stays in its project. Make a new one in the other.")
        return project

    def clean_instructions(self) -> str:
        """Browsers send their line ends, whatever was there before; nobody has changed anything by that."""
        instructions: str = self.cleaned_data["instructions"]
        return instructions.replace("\r\n", "\n")

    def clean_metadata(self) -> Any:
        """What is left as it was shown stays, in a copy as well, but not in a copy for another project, whose people
        would read it. A mask that is left where its secret cannot stay is no value to keep."""
        if self.is_tried:  # no run reads it
            return self.cleaned_data["metadata"]
        project = self.cleaned_data.get("project")
        was: Mapping[str, Any] = {}
        if self.was is not None and (project is None or project.pk == self.was.project_id):
            was = self.was.metadata
        meant = unmasked(self.cleaned_data["metadata"], was)
        names = [name for name in meant if MASK in str(meant[name])] if isinstance(meant, dict) else []
        if lost := [name for name in names if meant[name] != was.get(name)]:
            raise ValidationError(
                f"“{lost[0]}”: what {MASK} hides is kept only where the text around it, its name and what it is a pair"
                " with stay as they were. Write it anew."
            )
        return meant

    def clean_functions(self) -> list[Any]:
        return function_tools.check(function_tools.as_tools(self.cleaned_data["functions"]))

    def clean_response_schema(self) -> Any:
        schema = self.cleaned_data["response_schema"]
        if isinstance(schema, Mapping) and (fault := function_tools.schema_fault(schema.get("schema") or {})):
            raise ValidationError(f"schema: {fault}")
        return schema

    def clean(self) -> None:
        body = self.body()
        try:
            serializer = AssistantInput(data=body)
            serializer.is_valid(raise_exception=True)
        except Refusal as refusal:
            self.take(refusal, body["tools"])
            return
        self.instance.tool_resources = self.resources(body["tool_resources"])
        valid = serializer.validated_data
        for name in ("name", "description", "instructions", "reasoning_effort"):
            self.cleaned_data[name] = valid[name]
        for name in ("temperature", "top_p"):
            self.cleaned_data[name] = 1.0 if valid[name] is None else valid[name]
        self.instance.tools = valid["tools"]
        self.instance.response_format = valid["response_format"]

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's hook, which its stubs leave out
        assistant, based_on = self.instance, self.cleaned_data.get("based_on")
        if assistant._state.adding or not based_on or based_on == str(assistant.version):
            return
        if not versions.same(self.stored, versions.body_of(assistant)):  # else the same was saved twice
            self.add_error(None, changed_meanwhile(assistant, based_on))
            given: Any = self.data.copy()  # type: ignore[attr-defined]
            given["based_on"] = str(assistant.version)  # who saves again has been told
            self.data = given

    def body(self) -> dict[str, Any]:
        """What POST /v1/assistants would carry. A field that is wrong already is left at its default."""
        given = self.cleaned_data.get
        search = given("vector_store", "").strip()
        return {
            "model": given("model") or "unnamed",
            **{name: given(name) or None for name in ("name", "description", "instructions", "reasoning_effort")},
            "tools": [*self.switches(), *given("functions", [])],
            "tool_resources": {
                "file_search": {"vector_store_ids": [search] if search else []},
                "code_interpreter": {"file_ids": given("code_files", "").split()},
            },
            "metadata": given("metadata", {}),
            "temperature": given("temperature"),
            "top_p": given("top_p"),
            "response_format": self.response_format(),
        }

    def switches(self) -> list[dict[str, Any]]:
        """The tools with a checkbox. What the form does not show of file_search's options is kept."""
        tools: list[dict[str, Any]] = []
        given = self.cleaned_data.get
        if given("file_search"):
            tools_before = self.was.tools if self.was is not None else []
            old: Mapping[str, Any] = next(
                (tool.get("file_search", {}) for tool in tools_before if tool["type"] == "file_search"), {}
            )
            ranking = {**old.get("ranking_options", {}), "score_threshold": given("score_threshold") or 0}
            options: dict[str, Any] = {"ranking_options": ranking}
            if given("max_num_results") is not None:
                options["max_num_results"] = given("max_num_results")
            tools.append({"type": "file_search", "file_search": options})
        if given("code_interpreter"):
            tools.append({"type": "code_interpreter"})
        return tools

    def response_format(self) -> Any:
        kind = self.cleaned_data.get("response_kind", "auto")
        if kind == "auto":
            return "auto"
        if kind != "json_schema":
            return {"type": kind}
        if self.cleaned_data.get("response_schema") is None:
            if "response_schema" not in self.errors:
                self.add_error("response_schema", "Describe the JSON here, or choose another response format.")
            return "auto"
        return {"type": kind, "json_schema": self.cleaned_data["response_schema"]}

    def take(self, refusal: Refusal, tools: list[Any]) -> None:
        """Put what the API's serializer refused beside the fields of this form, one message a field."""
        assert isinstance(refusal.detail, dict)
        for name, detail in refusal.detail.items():
            path, text = first_error({name: detail})
            field, said = self.placed(path, str(text), tools)
            if field not in self.errors:
                self.add_error(field, said)

    def placed(self, path: str, text: str, tools: list[Any]) -> tuple[str, str]:
        """The form's field for a wire path, and the message with the path as people of this form know it."""
        if at := re.fullmatch(r"tools\[(\d+)\]\.?(.*)", path):
            index, inner = int(at[1]), at[2]
            text = text.replace(PLACE, inner.removeprefix("function."))
            leaf = inner.rpartition(".")[2]
            if tools[index].get("type") == "file_search" and leaf in self.fields:
                return leaf, text
            place = index - len(self.switches())
            return "functions", f"{function_tools.called(place + 1, tools[index])}: {text}"
        if path == "tools":
            return "functions", text.replace(PLACE, path)
        if path.startswith("tool_resources"):
            return ("vector_store" if "file_search" in path else "code_files"), text.replace(PLACE, path)
        if path.startswith("response_format.json_schema"):
            return "response_schema", text.replace(PLACE, path.removeprefix("response_format."))
        field = path.partition(".")[0]
        return FORM_FIELD.get(field, field), text.replace(PLACE, path)

    def resources(self, wanted: dict[str, dict[str, list[str]]]) -> dict[str, Any]:
        """What the assistant keeps: the store and the files must be there, in its own project."""
        kept: dict[str, Any] = {}
        for tool, field in (("file_search", "vector_store"), ("code_interpreter", "code_files")):
            if "project" in self.cleaned_data and any(wanted[tool].values()):
                try:
                    kept |= stores.resolve_tool_resources(self.cleaned_data["project"], {tool: wanted[tool]})
                except ApiError as error:
                    self.add_error(field, str(error))
        return kept


def changed_meanwhile(assistant: Assistant, based_on: str) -> SafeString:
    """Why a form that was filled from an older version is not saved, and how to go on without losing either."""
    newest = assistant.versions.first()
    by = f" by {newest.author}" if newest and newest.author else ""
    numbers = {"from": based_on, "to": str(assistant.version)}
    is_known = based_on.isdecimal() and len(based_on) < 10 and assistant.versions.filter(number=based_on).exists()
    return format_html(
        "Not saved: changed{} meanwhile. It is version {} now, and what stands below began as version {}. {}"
        '<a href="{}" target="_blank">Open it as it is now</a> beside this page, or save again: that puts what stands'
        " below in its place.",
        by,
        assistant.version,
        based_on,
        format_html(
            '<a href="{}?{}" target="_blank">Compare the two</a>, ', address_of(assistant.pk), urlencode(numbers)
        )
        if is_known
        else "",
        page_of(Assistant, assistant.pk),
    )


def shown(assistant: Assistant) -> dict[str, Any]:
    """The form's own fields as the stored assistant has them."""
    search = next((tool for tool in assistant.tools if tool["type"] == "file_search"), None)
    options = (search or {}).get("file_search", {})
    resources = assistant.tool_resources
    chosen = assistant.response_format
    return {
        "file_search": search is not None,
        "max_num_results": options.get("max_num_results"),
        "score_threshold": options.get("ranking_options", {}).get("score_threshold"),
        "vector_store": next(iter(resources.get("file_search", {}).get("vector_store_ids", ())), ""),
        "code_interpreter": any(tool["type"] == "code_interpreter" for tool in assistant.tools),
        "code_files": "\n".join(resources.get("code_interpreter", {}).get("file_ids", ())),
        "functions": function_tools.bare(assistant.tools),
        "response_kind": chosen if isinstance(chosen, str) else chosen["type"],
        "response_schema": None if isinstance(chosen, str) else chosen.get("json_schema"),
        "metadata": masked(assistant.metadata),
    }
