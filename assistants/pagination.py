"""Cursor pages over `(created_at, id)`, both ways (contract 1.4).

A cursor is the id of an object of the same list, so objects made in between move nothing. Those deleted in between are
remembered for a day: a client that deletes what it walks through asks for what comes after the last one it deleted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import Model, Q, QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from assistants.answers import CURSORS, Answer, Listed, Page
from assistants.authentication import project_of
from assistants.clock import now
from assistants.models import Departed, Thread
from assistants.serializers.refusals import at, check_length, out_of_range, refusal, unsupported_value

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
REMEMBERED = timedelta(days=1)


def parse_limit(request: Request, default: int, maximum: int) -> int:
    raw = request.query_params.get("limit", "")
    if not raw:
        return default
    if not re.fullmatch(r"-?[0-9]{1,1000}", raw):
        text = "Invalid type for '{param}': expected an integer, but got a string instead."
        raise at("limit", refusal("invalid_type", text))
    if error := out_of_range("integer", int(raw), 1, maximum):
        raise at("limit", error)
    return int(raw)


def parse_choice(request: Request, name: str, choices: tuple[str, ...]) -> str:
    """The query parameter `name`, one of `choices`; the empty string where it is absent."""
    value = request.query_params.get(name, "")
    if value and value not in choices:
        raise at(name, unsupported_value(value, choices))
    return value


def parse_text(request: Request, name: str, maximum: int) -> str:
    """The query parameter `name`, at most so long; the empty string where it is absent."""
    try:
        return check_length(request.query_params.get(name, ""), maximum)
    except ValidationError as error:
        raise at(name, error) from None


def departed(request: Request, id: str) -> tuple[datetime, str] | None:
    """The place of an object that was deleted from the list at this address."""
    gone = Departed.objects.filter(project=project_of(request), list=request.path, object_id=id)
    return gone.order_by("-departed_at").values_list("created_at", "key").first()


class Dated(Protocol):
    """What a list is sorted by."""

    pk: Any
    created_at: datetime


def remember_place(request: Request, item: Dated) -> None:
    """Notes where `item` stands in its list, before this DELETE at its address removes it."""
    address, _, id = request.path.rpartition("/")
    moment = now()
    Departed.objects.filter(departed_at__lt=moment - REMEMBERED).delete()
    Departed.objects.create(
        project=project_of(request),
        list=address,
        object_id=id,
        created_at=item.created_at,
        key=str(item.pk),
        departed_at=moment,
    )


def beyond[M: Model](scope: QuerySet[M], request: Request, name: str, key: str, *, newer: bool) -> Q | None:
    """What lies on one side of the object that the cursor `name` gives; None without that cursor."""
    value = request.query_params.get(name, "")
    if not value:
        return None
    place = scope.filter(**{key: value}).values_list("created_at", "pk").first() or departed(request, value)
    if place is None:
        text = "Invalid '{param}': no object of this list has the ID '{value}'."
        raise at(name, refusal("invalid_value", text, value=value))
    created_at, pk = place
    if newer:
        return Q(created_at__gte=created_at) & (Q(created_at__gt=created_at) | Q(pk__gt=pk))
    return Q(created_at__lte=created_at) & (Q(created_at__lt=created_at) | Q(pk__lt=pk))


def page[M: Model](
    queryset: QuerySet[M],
    request: Request,
    *,
    scope: QuerySet[M] | None = None,
    key: str = "pk",
    default: int = LIMIT_DEFAULT,
    maximum: int = LIMIT_MAX,
) -> tuple[list[M], bool]:
    """The objects the request asks for, in its order, and whether more follow in the direction of travel.

    `scope` is where a cursor may point, if wider than `queryset`: an object that has left a filter still marks a place.
    `key` is the field that holds the id on the wire. Raises what is wrong with `limit`, `order`, `after`, `before`.
    """
    limit = parse_limit(request, default, maximum)
    descending = parse_choice(request, "order", ("asc", "desc")) != "asc"
    scope = queryset if scope is None else scope
    after = beyond(scope, request, "after", key, newer=not descending)
    before = beyond(scope, request, "before", key, newer=descending)
    for side in (after, before):
        if side is not None:
            queryset = queryset.filter(side)
    # With `before` alone the page is what ends there: walk backwards, then turn round.
    backwards = before is not None and after is None
    sign = "-" if descending != backwards else ""
    objects = list(queryset.order_by(f"{sign}created_at", f"{sign}pk")[: limit + 1])
    has_more = len(objects) > limit
    objects = objects[:limit]
    return (objects[::-1] if backwards else objects), has_more


def envelope[Item: Listed](data: list[Item], has_more: bool) -> Answer[Page[Item]]:
    return Answer(
        {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": has_more,
        }
    )


def paginate[M: Model, Item: Listed](
    queryset: QuerySet[M],
    request: Request,
    serialize: Callable[[M], Item],
    *,
    scope: QuerySet[M] | None = None,
    key: str = "pk",
    default: int = LIMIT_DEFAULT,
    maximum: int = LIMIT_MAX,
    thread: Thread | None = None,
) -> Answer[Page[Item]]:
    """The list answer for `queryset`; the parameters are those of `page`.

    `thread`, whose row was read before the list, makes the answer say behind which event of it the list stands.
    """
    objects, has_more = page(queryset, request, scope=scope, key=key, default=default, maximum=maximum)
    answer = envelope([serialize(item) for item in objects], has_more)
    if thread is not None:
        answer[CURSORS] = f"{thread.pk}={thread.last_seq}"
    return answer
