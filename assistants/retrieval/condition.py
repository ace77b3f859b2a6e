"""Does a file meet the `filters` of a search (contract 5.5)? Their form is checked in assistants/serializers/search.py.

Values compare within their kind: numbers with numbers, strings with strings, true and false with each other. An
attribute that a file does not have, or has in another kind, equals nothing and is neither above nor below anything.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

Filter = Mapping[str, Any]
"""`{"type": comparison, "key", "value"}` or `{"type": "and" | "or", "filters": [Filter, …]}`."""

ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


def holds(condition: Filter, attributes: Mapping[str, Any]) -> bool:
    """Whether `attributes` meet a validated filter."""
    match condition["type"]:
        case "and":
            return all(holds(part, attributes) for part in condition["filters"])
        case "or":
            return any(holds(part, attributes) for part in condition["filters"])
    found, value = attributes.get(condition["key"]), condition["value"]
    match condition["type"]:
        case "eq":
            return equal(found, value)
        case "ne":
            return not equal(found, value)
        case "in":
            return any(equal(found, one) for one in value)
        case "nin":
            return not any(equal(found, one) for one in value)
        case order:
            return kind_of(found) == kind_of(value) and ORDERS[order](found, value)


def equal(one: Any, other: Any) -> bool:
    return kind_of(one) == kind_of(other) and bool(one == other)


def kind_of(value: Any) -> type:
    return float if type(value) is int else type(value)
