"""The named schemas of the document. What is defined twice under one name must be the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]


class Schemas:
    """Schemas by name, made when they are first referred to, so that one may refer to itself."""

    def __init__(self) -> None:
        self.made: dict[str, Schema] = {}
        self._open: set[str] = set()

    def refer(self, name: str, make: Callable[[], Schema]) -> Schema:
        """A reference to the schema `name`, which `make` makes. Raises ValueError for a name of two meanings."""
        if name not in self._open:
            self._open.add(name)
            schema = make()
            self._open.remove(name)
            if self.made.setdefault(name, schema) != schema:
                raise ValueError(f"Two schemas are named {name}.")
        return {"$ref": f"#/components/schemas/{name}"}


def object_schema(properties: Schema, required: list[str], *, closed: bool = True) -> Schema:
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = required
    if closed:
        schema["additionalProperties"] = False
    return schema


def or_null(schema: Schema) -> Schema:
    """`schema`, or null."""
    match schema:
        case {"type": str(kind), **rest} if "enum" not in rest and "const" not in rest:
            return {**schema, "type": [kind, "null"]}
        case {"anyOf": list(options)}:
            return schema if {"type": "null"} in options else {**schema, "anyOf": [*options, {"type": "null"}]}
        case {}:
            return schema if not schema else {"anyOf": [schema, {"type": "null"}]}
    raise AssertionError(schema)
