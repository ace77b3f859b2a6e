"""In every place of every body the error names that place, in the words of the shared validator (contract 4.3).

The places are read from the serializers; the texts with all their limits are in the tests of each resource.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from assistants.serializers.fields import Array, ClosedSerializer, Number
from assistants.serializers.search import Scalar
from tests.conftest import ApiClient
from tests.routes import BODIES, Place, Route, example, places
from tests.world import World, world_of


@pytest.fixture
def world(alice: ApiClient) -> World:
    return world_of(alice)


def error_of(world: World, route: Route, body: Any) -> dict[str, Any]:
    answer = world.client.post(route.at(world.ids_for(route)), body)
    assert answer.status_code == 400, answer.content
    error: dict[str, Any] = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    return error


def places_of(world: World, route: Route) -> Iterator[Place]:
    assert route.body is not None
    return places(route.body, world.ids_for(route))


def test_a_wrong_type(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            for place in places_of(world, route):
                takes_decimals = isinstance(place.field, Number | Scalar)
                wrong, called = ([], "an array") if takes_decimals else (1.5, "a decimal number")
                error = error_of(world, route, place.fill(wrong))
                assert error["code"] == "invalid_type"
                assert error["param"] == place.path
                assert error["message"].startswith(f"Invalid type for '{place.path}': expected ")
                assert error["message"].endswith(f", but got {called} instead.")


def test_null_where_null_means_nothing(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            for place in places_of(world, route):
                if not place.field.allow_null:
                    error = error_of(world, route, place.fill(None))
                    assert error["code"] == "invalid_type"
                    assert error["param"] == place.path
                    assert error["message"].endswith(", but got null instead.")


def test_an_unknown_parameter(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            outermost = Place("", route.body(), lambda value: value) if route.body else None
            for place in filter(None, [outermost, *places_of(world, route)]):
                if isinstance(place.field, ClosedSerializer) and place.field.closed:
                    name = f"{place.path}.foo".lstrip(".")
                    error = error_of(world, route, place.fill({"foo": 1}))
                    assert (error["code"], error["param"]) == ("unknown_parameter", name)
                    assert error["message"] == f"Unknown parameter: '{name}'."


def test_a_missing_parameter(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            ids = world.ids_for(route)
            for place in places_of(world, route):
                outer, _, name = place.path.rpartition(".")
                if place.field.required and name.isidentifier() and not outer:
                    body = {key: value for key, value in place.fill(1).items() if key != name}
                    error = error_of(world, route, body)
                    assert (error["code"], error["param"]) == ("missing_required_parameter", place.path)
                    assert error["message"] == f"Missing required parameter: '{place.path}'."
                if isinstance(place.field, ClosedSerializer):
                    for inner in example(place.field, "", ids):
                        rest = {key: value for key, value in example(place.field, "", ids).items() if key != inner}
                        error = error_of(world, route, place.fill(rest))
                        assert (error["code"], error["param"]) == (
                            "missing_required_parameter",
                            f"{place.path}.{inner}",
                        )


def test_an_array_that_is_too_long(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            for place in places_of(world, route):
                if isinstance(place.field, Array) and place.field.max is not None:
                    length = place.field.max + 1
                    error = error_of(world, route, place.fill([None] * length))
                    assert (error["code"], error["param"]) == ("array_above_max_length", place.path)
                    assert error["message"] == (
                        f"Invalid '{place.path}': array too long. Expected an array with maximum length"
                        f" {place.field.max}, but got an array with length {length} instead."
                    )


def test_an_array_that_is_empty(world: World, subtests: pytest.Subtests) -> None:
    for route in BODIES:
        with subtests.test(str(route)):
            for place in places_of(world, route):
                if isinstance(place.field, Array) and place.field.min:
                    error = error_of(world, route, place.fill([]))
                    assert (error["code"], error["param"]) == ("empty_array", place.path)
                    assert error["message"] == (
                        f"Invalid '{place.path}': empty array. Expected an array with minimum length 1,"
                        " but got an empty array instead."
                    )
