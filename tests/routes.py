"""Every route of /v1, read from the URL patterns, and every place of its body, read from its serializer.

Tests that must hold everywhere are made from these, so a new route or field is tested from the day it exists.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from django.urls import URLPattern, URLResolver, get_resolver

from assistants.answers import is_page
from assistants.parsers import UploadParser
from assistants.serializers.fields import (
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
)
from assistants.serializers.message import PARTS, Content
from assistants.serializers.search import FILTER, OuterFilter
from assistants.serializers.vector_store import FileBatchInput
from assistants.views.resource import taken

CURSORS = ("after", "before")
Ids = Mapping[str, str]
"""Kind of object ("thread", "vector_store", …) → the id to use where one of that kind is asked for."""


@dataclass(frozen=True)
class Route:
    """One method on one path, such as GET and "/threads/{thread_id}"."""

    method: str
    path: str
    action: Callable[..., Any]
    is_upload: bool = False

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def body(self) -> type[ClosedSerializer] | None:
        """The serializer of its body; None where it reads none."""
        return taken(self.action).body

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)

    @property
    def is_list(self) -> bool:
        return is_page(get_type_hints(self.action)["return"])

    @property
    def query_names(self) -> list[str]:
        named = list(taken(self.action).query)
        return [*named, *CURSORS] if self.is_list else named

    def at(self, ids: Ids) -> str:
        """The path with the ids of these kinds."""
        given = {**EXAMPLES, **ids}
        return self.path.format(**{name: given[kind_of(name) or name] for name in self.path_names})


UNNAMED = {"family": "thread", "up_to": "message", "before": "message"}
"""What holds an id and does not say so."""


def kind_of(name: str) -> str:
    """What a parameter or field of this name holds the id of: "vector_store_ids" → "vector_store"; "" if no id."""
    if name in UNNAMED:
        return UNNAMED[name]
    match = re.fullmatch(r"(?:file_)?(\w+?)_ids?", name)
    return match[1] if match else ""


def found(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[Route]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from found(pattern.url_patterns, path)
        elif path.startswith("v1/"):
            below = "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", path.removeprefix("v1/"))
            view = pattern.callback
            actions: dict[str, str] = getattr(view, "actions", {})
            for method, name in actions.items():
                viewset = view.cls  # type: ignore[attr-defined]
                if method != "head":
                    is_upload = UploadParser in viewset.parser_classes and method == "post"
                    yield Route(method.upper(), below, getattr(viewset, name), is_upload)
            if not actions:
                yield Route("GET", below, view)  # the streams, which are plain functions


ROUTES = sorted(found(get_resolver().url_patterns), key=str)
LISTS = [route for route in ROUTES if route.is_list]
BODIES = [route for route in ROUTES if route.body and not route.is_upload]


# Bodies --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """A place in a body: its path as errors name it, what is expected there, and the smallest body that has it."""

    path: str
    field: Any
    fill: Callable[[Any], Any]

    @property
    def kind(self) -> str:
        """What it holds the id of, if it does."""
        if not isinstance(self.field, String | Id):
            return ""
        return kind_of(re.sub(r"\[\d+\]$", "", self.path).rpartition(".")[2])


EXAMPLES: dict[str, Any] = {
    "model": "scripted",
    "url": "https://example.com/cat.png",
    "query": "cats",
    "value": 1,
    "filters": {"type": "eq", "key": "kind", "value": 1},
}
"""Where a field says less than the server wants to know."""


def example(field: Any, name: str, ids: Ids) -> Any:
    """The smallest valid value of a field of this name."""
    match field:
        case FileBatchInput():  # exactly one of two
            return {"file_ids": [ids["file"]]}
        case ClosedSerializer():
            return {inner: example(child, inner, ids) for inner, child in field.fields.items() if child.required}
        case Variant():
            kind, shape = next(iter(field.shapes.items()))
            return {"type": kind, **(example(shape(), "", ids) if shape else {})}
        case Array():
            return [example(field.child, name, ids)] * max(field.min, field.required)
        case Id() | String() if kind_of(name):
            return ids[kind_of(name)]
        case String():
            return EXAMPLES.get(name, "x")
        case Enum():
            return field.choices[0]
        case Integer() | Number():
            return field.min or 0
        case Boolean():
            return False
        case Content():
            return "Hello"
        case Pairs() | AnyObject():
            return {}
        case _:
            return EXAMPLES[name]


def places(serializer: type[ClosedSerializer], ids: Ids) -> Iterator[Place]:
    """Every place of a body, the inner ones included; `ids` fill those that a valid body needs."""
    yield from _below(serializer(), "", lambda value: value, ids)


def _below(field: Any, path: str, fill: Callable[[Any], Any], ids: Ids) -> Iterator[Place]:
    if path:
        yield Place(path, field, fill)
    match field:
        case ClosedSerializer():
            yield from _members(field, path, fill, example(field, "", ids), ids)
        case Variant() | OuterFilter():
            shapes = field.shapes if isinstance(field, Variant) else FILTER.shapes
            for kind, shape in shapes.items():
                if shape:
                    around = {"type": kind, **example(shape(), "", ids)}
                    yield from _members(shape(), path, fill, around, ids)
        case Array():
            yield from _below(field.child, f"{path}[0]", lambda value: fill([value]), ids)
        case Content():
            yield from _below(PARTS.child, f"{path}[0]", lambda value: fill([value]), ids)


def _members(
    serializer: ClosedSerializer, path: str, fill: Callable[[Any], Any], around: dict[str, Any], ids: Ids
) -> Iterator[Place]:
    for name, child in serializer.fields.items():

        def fill_member(value: Any, name: str = name) -> Any:
            rest = {} if isinstance(serializer, FileBatchInput) else around
            return fill({**rest, name: value})

        yield from _below(child, f"{path}.{name}" if path else name, fill_member, ids)
