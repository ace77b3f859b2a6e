"""JSON Schemas of answers and events, from their types: TypedDicts, literals, enums, unions, lists. All are closed."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, NotRequired, TypeAliasType, TypeVar, Union, get_args, get_origin, get_type_hints

from kumos_site.openapi.schemas import Schema, Schemas, object_schema, or_null

PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    NoneType: {"type": "null"},
    Any: {},
}


def answer_schema(kind: Any, schemas: Schemas) -> Schema:
    """Raises TypeError for a type that has no form on the wire."""
    return _schema(kind, schemas, {})


def _schema(kind: Any, schemas: Schemas, variables: Mapping[Any, Any]) -> Schema:
    if isinstance(kind, TypeVar):
        return _schema(variables[kind], schemas, {})
    if isinstance(kind, TypeAliasType):
        return _schema(kind.__value__, schemas, variables)
    if kind in PLAIN:
        return PLAIN[kind]
    origin, given = get_origin(kind) or kind, get_args(kind)
    if origin is NotRequired:
        return _schema(given[0], schemas, variables)
    if origin is Literal:
        return literal_schema(list(given))
    if origin in (Union, UnionType):
        return _union(given, schemas, variables)
    if origin is list:
        return {"type": "array", "items": _schema(given[0], schemas, variables)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(given[1], schemas, variables)}
    if isinstance(origin, type) and issubclass(origin, Enum):
        return literal_schema([member.value for member in origin])
    if hasattr(origin, "__required_keys__"):
        return _typed_dict(origin, given, schemas)
    raise TypeError(f"{kind} has no form on the wire.")


def literal_schema(values: list[Any]) -> Schema:
    words = {"const": values[0]} if len(values) == 1 else {"enum": values}
    return {"type": "boolean" if isinstance(values[0], bool) else "string", **words}


def _union(options: tuple[Any, ...], schemas: Schemas, variables: Mapping[Any, Any]) -> Schema:
    others = [_schema(option, schemas, variables) for option in options if option is not NoneType]
    if all(other.keys() == {"type"} for other in others):
        schema: Schema = {"type": [other["type"] for other in others]} if len(others) > 1 else others[0]
    else:
        schema = {"anyOf": others} if len(others) > 1 else others[0]
    return or_null(schema) if NoneType in options else schema


def _typed_dict(kind: Any, given: tuple[Any, ...], schemas: Schemas) -> Schema:
    """Generic ones are named after what they hold: Page[RunObject] is RunObjectPage."""
    variables = dict(zip(kind.__type_params__, given, strict=True))

    def make() -> Schema:
        hints = get_type_hints(kind, include_extras=True)
        properties = {name: _schema(hint, schemas, variables) for name, hint in hints.items()}
        # Where annotations are strings, the class itself does not see a NotRequired in them.
        optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired} | kind.__optional_keys__
        return object_schema(properties, [name for name in hints if name not in optional])

    if given and not all(isinstance(one, type) for one in given):
        return make()
    return schemas.refer("".join(one.__name__ for one in (*given, kind)), make)
