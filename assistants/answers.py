"""Answers that say what they carry: mypy checks it, and the OpenAPI document is made from it (kumos_site/openapi)."""

from __future__ import annotations

from collections.abc import Mapping
from types import GenericAlias
from typing import Any, Literal, TypedDict, get_origin

from rest_framework.response import Response

POLL_HEADERS = {"openai-poll-after-ms": "200"}
"""On objects that clients ask for until they are done: without it the SDKs' helpers wait a second each time (7)."""

CURSORS = "Kumos-Cursors"
"""`thread_abc=12`: behind which event of its log a thread was read, or its stream begins (docs/extensions.md)."""


class Answer[Body](Response):
    """200 with a JSON body of the type `Body`. Views name it as what they return."""

    @classmethod
    def __class_getitem__(cls, body: Any) -> Any:
        return GenericAlias(cls, body)  # DRF's own forgets what stands in the brackets

    def __init__(self, body: Body, headers: Mapping[str, str] | None = None, *, kept: Body | None = None) -> None:
        """`kept` is what is stored in its place for the same Idempotency-Key, where `body` holds a secret."""
        super().__init__(body, headers=headers)
        self.kept = body if kept is None else kept


class Listed(TypedDict):
    id: str


class Page[Item: Listed](TypedDict):
    """The envelope of every list (contract 1.4)."""

    object: Literal["list"]
    data: list[Item]
    first_id: str | None
    last_id: str | None
    has_more: bool


def body_of(kind: Any) -> Any:
    """The type of the JSON that an answer of the type `kind` carries; None where it carries none."""
    return kind.__args__[0] if get_origin(kind) is Answer else None


def is_page(kind: Any) -> bool:
    """Whether answers of the type `kind` are pages of a list."""
    return get_origin(body_of(kind)) is Page


class Deletion[Kind: str](TypedDict):
    """The answer to every deletion; `Kind` is the literal of contract 1.5."""

    id: str
    object: Kind
    deleted: Literal[True]
