"""The search of a vector store on the wire: query, filters, ranking options, results (contract 5.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from assistants.retrieval.condition import ORDERS
from assistants.retrieval.search import Passage
from assistants.serializers.fields import (
    Array,
    Boolean,
    ClosedSerializer,
    Enum,
    Integer,
    Number,
    String,
    Variant,
    WireField,
)
from assistants.serializers.refusals import refusal, wrong_type

RESULTS_MAX = 50
QUERIES_MAX = 32
FILTER_DEPTH_MAX = 10
"""How deep `and` and `or` may stand in each other. A bound of this server: it keeps a hostile filter cheap."""
COMPARISONS_MAX = 512
"""How many filters, and values of `in` and `nin`, there may be in all: each is compared with each file of the store."""


class Query(WireField):
    """A string or several; the outcome is always a list."""

    expected = "one of a string or array of strings"

    def to_internal_value(self, data: Any) -> list[str]:
        if isinstance(data, str):
            return [String(min=1).run_validation(data)]
        if not isinstance(data, list):
            raise wrong_type(self.expected, data)
        return list(Array(String(min=1), of="strings", min=1, max=QUERIES_MAX).run_validation(data))


class Scalar(WireField):
    """A value that an attribute can be compared with."""

    def __init__(self, expected: str, *kinds: type, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.expected = expected
        self.kinds = kinds

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, self.kinds) or (isinstance(data, bool) and bool not in self.kinds):
            raise wrong_type(self.expected, data)
        return data


def AnyValue() -> Scalar:
    return Scalar("one of a string, decimal, or boolean", str, int, float, bool)


class Equality(ClosedSerializer):
    key = String()
    value = AnyValue()


class Order(ClosedSerializer):
    key = String()
    value = Scalar("one of a string or decimal", str, int, float)


class Membership(ClosedSerializer):
    key = String()
    value = Array(AnyValue(), of="strings, decimals, or booleans")


class Filters(WireField):
    """One filter. `and` and `or` hold more of them."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        return dict(FILTER.run_validation(data))


class Compound(ClosedSerializer):
    filters = Array(Filters(), min=1)


FILTER = Variant(
    {
        **dict.fromkeys(("eq", "ne"), Equality),
        **dict.fromkeys(ORDERS, Order),
        **dict.fromkeys(("in", "nin"), Membership),
        **dict.fromkeys(("and", "or"), Compound),
    }
)


class OuterFilter(Filters):
    def to_internal_value(self, data: Any) -> dict[str, Any]:
        depth, size = extent_of(data)
        if depth > FILTER_DEPTH_MAX:
            raise refusal(
                "invalid_value",
                f"Invalid '{{param}}': nested too deeply. Expected at most {FILTER_DEPTH_MAX} levels of filters.",
            )
        if size > COMPARISONS_MAX:
            raise refusal(
                "invalid_value",
                f"Invalid '{{param}}': too many comparisons. Expected at most {COMPARISONS_MAX} filters and values,"
                f" but got {size} instead.",
            )
        return super().to_internal_value(data)


def extent_of(filter: Any) -> tuple[int, int]:
    """How many levels of filters there are, this one included, and how many filters and values of `in` in all.

    Level by level: the depth is the client's choice.
    """
    depth = size = 0
    level = [filter]
    while level:
        depth += 1
        objects = [one for one in level if isinstance(one, Mapping)]
        size += len(level) + sum(len(values) for one in objects if isinstance(values := one.get("value"), list))
        level = [inner for one in objects if isinstance(filters := one.get("filters"), list) for inner in filters]
    return depth, size


class SearchRanking(ClosedSerializer):
    ranker = Enum("none", "auto", "default-2024-11-15", required=False, allow_null=True)
    score_threshold = Number(min=0, max=1, required=False, allow_null=True)


class SearchInput(ClosedSerializer):
    query = Query()
    max_num_results = Integer(min=1, max=RESULTS_MAX, required=False, allow_null=True)
    rewrite_query = Boolean(required=False, allow_null=True)
    filters = OuterFilter(required=False, allow_null=True)
    ranking_options = SearchRanking(required=False, allow_null=True)


class ShownPassage(TypedDict):
    """A piece of a file's text, here and wherever else passages are shown."""

    type: Literal["text"]
    text: str


class SearchResult(TypedDict):
    file_id: str
    filename: str
    score: float
    attributes: dict[str, str | float | bool]
    content: list[ShownPassage]


class SearchResultsObject(TypedDict):
    object: Literal["vector_store.search_results.page"]
    search_query: list[str]
    data: list[SearchResult]
    has_more: Literal[False]
    next_page: None


def search_results_object(queries: Sequence[str], passages: Sequence[Passage]) -> SearchResultsObject:
    """All results there are: a second page never follows."""
    return {
        "object": "vector_store.search_results.page",
        "search_query": list(queries),
        "data": [
            {
                "file_id": passage.file_id,
                "filename": passage.filename,
                "score": passage.score,
                "attributes": dict(passage.attributes),
                "content": [{"type": "text", "text": passage.text}],
            }
            for passage in passages
        ],
        "has_more": False,
        "next_page": None,
    }
