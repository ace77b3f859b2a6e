"""Function tools as people write them, checked before they are saved. The wire's own rules are the serializers'.

What this adds to them: a bare function is accepted in place of the whole tool, names must differ, and `parameters` must
be a JSON Schema that can be followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from jsonschema import Draft202012Validator, SchemaError


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
        Draft202012Validator.check_schema(schema)
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
