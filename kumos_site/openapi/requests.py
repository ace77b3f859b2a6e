"""JSON Schemas of what clients send, from the fields that check it: a field's limits are said once, there.

Two rules of a body hold beyond its schema, and are refused with 400 as well: no NUL, no integer beyond 64 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

from assistants.serializers.fields import (
    METADATA_KEY_MAX,
    METADATA_PAIRS_MAX,
    METADATA_VALUE_MAX,
    AnyObject,
    Array,
    Boolean,
    ClosedSerializer,
    Enum,
    Id,
    Integer,
    Number,
    Pairs,
    String,
    Variant,
    check_attribute_value,
    check_metadata_value,
)
from assistants.serializers.file import UPLOAD_PURPOSES, Upload, UploadPurpose
from assistants.serializers.message import PARTS, TEXT_MAX, Content
from assistants.serializers.search import FILTER, QUERIES_MAX, Filters, Query, Scalar
from kumos_site.openapi.schemas import Schema, Schemas, object_schema, or_null
from streaming.cursors import THREADS_MAX, Cursors

PAIR_VALUES: Mapping[Any, Schema] = {
    check_metadata_value: {"type": "string", "maxLength": METADATA_VALUE_MAX},
    check_attribute_value: {"type": ["string", "number", "boolean"], "maxLength": METADATA_VALUE_MAX},
}
KINDS = {str: "string", int: "number", float: "number", bool: "boolean"}


def request_schema(field: Any, schemas: Schemas) -> Schema:
    """Raises TypeError for a field that is not described here."""
    schema = _schema(field, schemas)
    return or_null(schema) if field.allow_null else schema


@singledispatch
def _schema(field: Any, schemas: Schemas) -> Schema:
    raise TypeError(f"{type(field).__name__} is not described in kumos_site/openapi/requests.py.")


def limits(**given: int | float | str | None) -> Schema:
    """Those that bound something."""
    return {name: value for name, value in given.items() if value}


@_schema.register
def _(field: String, schemas: Schemas) -> Schema:
    pattern = f"^{field.pattern}$" if field.pattern else ""
    return {"type": "string", **limits(minLength=field.min, maxLength=field.max, pattern=pattern)}


@_schema.register
def _(field: Integer, schemas: Schemas) -> Schema:
    return {"type": "integer", **bounds(field)}


@_schema.register
def _(field: Number, schemas: Schemas) -> Schema:
    return {"type": "number", **bounds(field)}


def bounds(field: Integer | Number) -> Schema:
    given = {"minimum": field.min, "maximum": field.max}
    return {name: value for name, value in given.items() if value is not None}


@_schema.register
def _(field: Boolean, schemas: Schemas) -> Schema:
    return {"type": "boolean"}


@_schema.register
def _(field: Enum, schemas: Schemas) -> Schema:
    return {"type": "string", "enum": list(field.choices)}


@_schema.register
def _(field: Id, schemas: Schemas) -> Schema:
    return {"type": "string", "pattern": f"^{field.prefix}"}


@_schema.register
def _(field: AnyObject, schemas: Schemas) -> Schema:
    return {"type": "object"}


@_schema.register
def _(field: Pairs, schemas: Schemas) -> Schema:
    return {
        "type": "object",
        "maxProperties": METADATA_PAIRS_MAX,
        "propertyNames": {"maxLength": METADATA_KEY_MAX},
        "additionalProperties": PAIR_VALUES[field.check],
    }


@_schema.register
def _(field: Cursors, schemas: Schemas) -> Schema:
    """As a deep object of the query."""
    cursor = {"type": "string", "pattern": "^[0-9]*$"}
    return {
        "type": "object",
        "maxProperties": THREADS_MAX,
        "propertyNames": {"pattern": "^thread"},
        "additionalProperties": cursor,
    }


@_schema.register
def _(field: Array, schemas: Schemas) -> Schema:
    items = request_schema(field.child, schemas)
    return {"type": "array", "items": items, **limits(minItems=field.min, maxItems=field.max)}


@_schema.register
def _(field: ClosedSerializer, schemas: Schemas) -> Schema:
    return schemas.refer(type(field).__name__, lambda: body_schema(field, schemas))


def body_schema(serializer: ClosedSerializer, schemas: Schemas, **first: Schema) -> Schema:
    """The object itself; `first` are properties that it has before those of its fields."""
    fields = {name: field for name, field in serializer.fields.items() if name not in first}
    properties = {name: request_schema(field, schemas) for name, field in fields.items()}
    required = [*first, *(name for name, field in fields.items() if field.required)]
    return object_schema({**first, **properties}, required, closed=serializer.closed)


@_schema.register
def _(field: Variant, schemas: Schemas) -> Schema:
    """One schema for each shape, with all the types that have it."""
    shapes: dict[type[ClosedSerializer], list[str]] = {}
    for kind, shape in field.shapes.items():
        shapes.setdefault(shape or ClosedSerializer, []).append(kind)
    options: list[Schema] = [{"type": "string", "enum": list(field.words)}] if field.words else []
    for shape, kinds in shapes.items():
        kind_schema: Schema = {"type": "string", "enum": kinds}

        def make(shape: type[ClosedSerializer] = shape, kind_schema: Schema = kind_schema) -> Schema:
            return body_schema(shape(), schemas, type=kind_schema)

        options.append(make() if shape is ClosedSerializer else schemas.refer(shape.__name__, make))
    return {"anyOf": options} if len(options) > 1 else options[0]


@_schema.register
def _(field: Content, schemas: Schemas) -> Schema:
    text = {"type": "string", "minLength": 1, "maxLength": TEXT_MAX}
    return {"anyOf": [text, request_schema(PARTS, schemas)]}


@_schema.register
def _(field: Query, schemas: Schemas) -> Schema:
    one = String(min=1)
    several = Array(one, of="strings", min=1, max=QUERIES_MAX)
    return {"anyOf": [request_schema(one, schemas), request_schema(several, schemas)]}


@_schema.register
def _(field: Scalar, schemas: Schemas) -> Schema:
    return {"type": list(dict.fromkeys(KINDS[kind] for kind in field.kinds))}


@_schema.register
def _(field: Filters, schemas: Schemas) -> Schema:
    return schemas.refer("Filter", lambda: request_schema(FILTER, schemas))


@_schema.register
def _(field: Upload, schemas: Schemas) -> Schema:
    return {"type": "string", "format": "binary"}


@_schema.register
def _(field: UploadPurpose, schemas: Schemas) -> Schema:
    return {"type": "string", "enum": [purpose.value for purpose in UPLOAD_PURPOSES]}
