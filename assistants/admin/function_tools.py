"""Function tools as people write them, checked before they are saved. The wire's own rules are the serializers'.

What this adds to them: a bare function is accepted in place of the whole tool, names must differ, and `parameters` must
be a JSON Schema that can be followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import orjson
from django.core.exceptions import ValidationError
from jsonschema import Draft202012Validator, SchemaError
from rest_framework.exceptions import ValidationError as Refusal

from assistants.errors import ApiError, first_error
from assistants.parsers import inspect, parse_value
from assistants.serializers.assistant import AssistantInput
from assistants.serializers.refusals import PLACE


class Fault(TypedDict):
    """What is wrong with one text, and where; 0 where the place is in the words."""

    message: str
    line: int
    column: int


class Verdict(TypedDict):
    """On the text of one editor: what its functions are called, and what is wrong with them."""

    names: list[str]
    faults: list[Fault]


def as_tools(value: Any) -> list[Any]:
    """`value` as a list of tools: one function alone, or functions without their `type`, are wrapped."""
    items = value if isinstance(value, list) else [value]
    return [
        {"type": "function", "function": item} if isinstance(item, Mapping) and "name" in item else item
        for item in items
    ]


def bare(tools: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The functions of `tools`, in the short form the form shows."""
    return [tool["function"] for tool in tools if tool["type"] == "function"]


def called(number: int, tool: Any) -> str:
    """How messages speak of the tool in place `number` (from 1): "Tool 2 (get_weather)"."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return f"Tool {number} ({name})" if isinstance(name, str) and name else f"Tool {number}"


def schema_fault(schema: Any) -> str:
    """What is wrong with a JSON Schema, and where; nothing if it is one."""
    try:
        inspect({"tools": [{"function": {"parameters": schema}}]})  # where it is nested deeper than in its own box
        Draft202012Validator.check_schema(schema)
    except ApiError as error:
        return str(error)
    except SchemaError as error:
        place = ".".join(str(step) for step in error.absolute_path)
        return f"{place}: {error.message}" if place else error.message
    except RecursionError:
        return "nested too deep"
    return ""


def parameters_fault(parameters: Any) -> str:
    if not isinstance(parameters, Mapping):
        return ""  # absent, or the serializer has something to say
    if fault := schema_fault(parameters):
        return fault
    if parameters and parameters.get("type") != "object":
        return 'a function takes named arguments, so the schema must say "type": "object"'
    return ""


def check(tools: list[Any]) -> list[Any]:
    """`tools`, if their schemas hold and their names differ. Raises ValidationError with a message for each fault."""
    faults = []
    names: Counter[str] = Counter()
    for number, tool in enumerate(tools, 1):
        function = tool.get("function") if isinstance(tool, Mapping) else None
        if not isinstance(function, Mapping):
            faults.append(f"{called(number, tool)}: expected an object with a “name” and “parameters”.")
            continue
        if fault := parameters_fault(function.get("parameters")):
            faults.append(f"{called(number, tool)}: parameters: {fault}")
        if isinstance(name := function.get("name"), str):
            names[name] += 1
            if names[name] == 2:
                faults.append(f"{called(number, tool)}: another tool has this name already.")
    if faults:
        raise ValidationError(faults)
    return tools


def verdicts(texts: Sequence[str]) -> list[Verdict]:
    """On each of several editors' texts, before anything is saved. An empty one has no functions and no faults."""
    seen: Counter[str] = Counter()
    return [verdict(text, seen) for text in texts]


def verdict(text: str, seen: Counter[str]) -> Verdict:
    """`seen` are the names that came before; those of `text` are added to it."""
    found = Verdict(names=[], faults=[])
    if not text.strip():
        return found
    try:
        tools = as_tools(parse_value(text.encode()))
    except orjson.JSONDecodeError as error:
        found["faults"].append(Fault(message=f"This is not JSON: {error.msg}", line=error.lineno, column=error.colno))
        return found
    except ApiError as error:
        found["faults"].append(Fault(message=str(error), line=0, column=0))
        return found
    for number, tool in enumerate(tools, 1):
        name, message = judged(tool)
        if name:
            found["names"].append(name)
            seen[name] += 1
            if seen[name] > 1:
                message = message or "another function has this name already."
        if message:
            place = f"{called(number, tool)}: " if len(tools) > 1 else ""
            found["faults"].append(Fault(message=f"{place}{message}", line=0, column=0))
    return found


def judged(tool: Any) -> tuple[str, str]:
    """The tool's name, and the first thing that is wrong with it; each may be empty."""
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        return "", "Expected an object with a “name” and “parameters”."
    name = function.get("name")
    named = name if isinstance(name, str) else ""
    if fault := parameters_fault(function.get("parameters")):
        return named, f"parameters: {fault}"
    try:
        AssistantInput(data={"model": "unnamed", "tools": [tool]}).is_valid(raise_exception=True)
    except Refusal as refusal:
        path, text = first_error(refusal.detail)
        return named, str(text).replace(PLACE, path.removeprefix("tools[0].").removeprefix("function."))
    return named, ""
