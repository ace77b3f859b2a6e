"""What an API key may do: scopes, and which of them a request needs. People who are logged in need none.

Every view of /v1 says `within` which area it is; a request that only reads needs the area's `.read`, any other its
`.write`. Neither includes the other: what a POST makes is in its own answer. A view that says nothing is closed to
every key that is limited (and a test fails).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Any

from django.db.models import TextChoices
from django.http import HttpRequest


class Scope(TextChoices):
    ASSISTANTS_READ = "assistants.read", "Read assistants"
    ASSISTANTS_WRITE = "assistants.write", "Make, change and delete assistants"
    THREADS_READ = "threads.read", "Read threads, messages, runs and their streams"
    THREADS_WRITE = "threads.write", "Write messages, start and cancel runs, share and delete threads"
    FILES_READ = "files.read", "Read files and vector stores, search in them"
    FILES_WRITE = "files.write", "Upload and delete files, make and change vector stores"


READING = [scope.value for scope in Scope if scope.endswith(".read")]


class Area(StrEnum):
    ASSISTANTS = "assistants"
    THREADS = "threads"
    FILES = "files"
    ANY = ""
    """Every key may, whatever its scopes: what is the same for everybody."""


CLOSED = "(none: this address is closed to limited keys)"


def within[View: Callable[..., Any]](area: Area) -> Callable[[View], View]:
    """Marks a viewset, or a view that is a function."""

    def mark(view: View) -> View:
        view.area = area  # type: ignore[attr-defined]
        return view

    return mark


def area_of(view: Any) -> Area | None:
    """What `within` said of a view as URL patterns have it."""
    area: Area | None = getattr(getattr(view, "cls", view), "area", None)
    return area


def reads_only(view: Any, method: str) -> bool:
    """Whether a request is one that looks: GET, or a POST whose action says that it `only_reads`."""
    if method in ("GET", "HEAD", "OPTIONS"):
        return True
    action = getattr(getattr(view, "cls", None), getattr(view, "actions", {}).get(method.lower(), ""), None)
    return bool(getattr(getattr(action, "taken", None), "only_reads", False))


def needed(request: HttpRequest) -> str:
    """The scope that the request needs of its key; nothing, where every key will do."""
    view = request.resolver_match.func if request.resolver_match else None
    area = area_of(view)
    if area is None:
        return CLOSED
    if area is Area.ANY:
        return ""
    return f"{area}.{'read' if reads_only(view, request.method or '') else 'write'}"


def allows(scopes: Collection[str], wanted: str) -> bool:
    """Whether a key with these scopes has the `wanted` one. No scopes at all mean every scope."""
    return not scopes or not wanted or wanted in scopes


def in_words(scopes: Collection[str]) -> str:
    """For a list: "Everything", "Read only", a scope or two by their names, or how many of all."""
    if not scopes:
        return "Everything"
    if set(scopes) == set(READING):
        return "Read only"
    return ", ".join(sorted(scopes)) if len(scopes) < 3 else f"{len(scopes)} of {len(Scope)} scopes"
