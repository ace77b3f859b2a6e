"""The operations of /v1: what the URL patterns lead to, with what each view takes and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from django.urls import URLPattern, URLResolver
from rest_framework.permissions import BasePermission

from assistants.serializers.file import Upload
from assistants.views.resource import Taken, taken

PREFIX = "v1/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`path` is below /v1, as in "/threads/{thread_id}"; `answers` are the types of its 200s."""

    method: str
    path: str
    name: str
    tag: str
    doc: str
    takes: Taken
    answers: Sequence[Any]
    is_open: bool

    @property
    def is_upload(self) -> bool:
        body = self.takes.body
        return body is not None and any(isinstance(field, Upload) for field in body().fields.values())

    def __str__(self) -> str:
        return f"{self.method.upper()} {self.path}"

    @property
    def path_names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.path)


def operations(patterns: Sequence[URLPattern | URLResolver], prefix: str = "") -> Iterator[Operation]:
    """Those of `patterns` and of what they include, in the order of the patterns."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from operations(pattern.url_patterns, route)
        elif route.startswith(PREFIX):
            yield from _of_view(template(route), pattern.callback)


def template(route: str) -> str:
    """A route of Django as a path of the document: "v1/threads/<str:thread_id>" is "/threads/{thread_id}"."""
    return "/" + re.sub(r"<\w+:(\w+)>", r"{\1}", route.removeprefix(PREFIX))


def _of_view(path: str, view: Any) -> Iterator[Operation]:
    actions: dict[str, str] | None = getattr(view, "actions", None)
    if actions is None:  # the streams, which are plain functions
        yield _operation("get", path, view, name=view.__name__, tag="Streams")
        return
    viewset = view.cls
    resource = viewset.__name__.removesuffix("ViewSet")
    permissions: Sequence[type[BasePermission]] = viewset.permission_classes
    for method, action in actions.items():
        if method != "head":
            yield _operation(
                method,
                path,
                getattr(viewset, action),
                name=f"{snake(resource)}_{action}",
                tag=f"{snake(resource).replace('_', ' ').capitalize()}s",
                is_open=not permissions,
            )


def _operation(
    method: str, path: str, view: Callable[..., Any], *, name: str, tag: str, is_open: bool = False
) -> Operation:
    returned = get_type_hints(view).get("return")
    answers = get_args(returned) if get_origin(returned) in (Union, UnionType) else (returned,)
    return Operation(
        method=method,
        path=path,
        name=name,
        tag=tag,
        doc=view.__doc__ or "",
        takes=taken(view),
        answers=answers,
        is_open=is_open,
    )


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
