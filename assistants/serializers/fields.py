"""Fields whose errors are the contract's texts (4.3). Strict as JSON is: "1" is no integer, true is no number.

A field says what is wrong and writes `{param}` where the path belongs; assistants/errors.py knows the path. Every field
stops at its first fault, so a hostile body costs no more than an honest one. What an assistant's tools, formats and
choices look like is in `tools.py` and `options.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from rest_framework import serializers
from rest_framework.exceptions import ValidationError

from assistants.serializers.refusals import (
    array_too_long,
    at,
    check_length,
    out_of_range,
    refusal,
    spoken_list,
    unsupported_value,
    wrong_id,
    wrong_type,
)

METADATA_PAIRS_MAX = 16
METADATA_KEY_MAX = 64
METADATA_VALUE_MAX = 512
INSTRUCTIONS_MAX = 256_000
INTEGER_MAX = 2**31 - 1
"""What the integer column of every database holds."""


class Strict:
    """The two errors that fields and objects share: absent, and null where null means nothing."""

    expected = "an object"

    def fail(self, key: str, **kwargs: Any) -> NoReturn:
        if key == "required":
            raise refusal("missing_required_parameter", "Missing required parameter: '{param}'.")
        assert key == "null", key
        raise wrong_type(self.expected, None)


def one_of(words: Sequence[str]) -> str:
    return f"one of {spoken_list(words, 'or')}"


class WireField(Strict, serializers.Field[Any, Any, Any, Any]):
    """A value of a request body. Subclasses say what they expect and check it in `to_internal_value`."""

    def to_representation(self, value: Any) -> NoReturn:
        raise TypeError("answers are written by the wire functions, not by serializers")


class String(WireField):
    expected = "a string"

    def __init__(self, *, max: int | None = None, min: int = 0, pattern: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.max = max
        self.min = min
        self.pattern = pattern

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise wrong_type(self.expected, data)
        check_length(data, self.max, self.min)
        if self.pattern and not re.fullmatch(self.pattern, data):
            raise refusal(
                "invalid_value",
                "Invalid '{param}': string does not match pattern."
                " Expected a string that matches the pattern '^{pattern}$'.",
                pattern=self.pattern,
            )
        return data


class Integer(WireField):
    expected = "an integer"

    def __init__(self, *, min: int | None = None, max: int | None = INTEGER_MAX, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min = min
        self.max = max

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise wrong_type(self.expected, data)
        if error := out_of_range("integer", data, self.min, self.max):
            raise error
        return data


class Number(WireField):
    expected = "a decimal"

    def __init__(self, *, min: float | None = None, max: float | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.min = min
        self.max = max

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            raise wrong_type(self.expected, data)
        if error := out_of_range("decimal", data, self.min, self.max):
            raise error
        return float(data)


class Boolean(WireField):
    expected = "a boolean"

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise wrong_type(self.expected, data)
        return data


class Enum(WireField):
    def __init__(self, *choices: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.choices = choices
        self.expected = one_of(choices)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise wrong_type(self.expected, data)
        if data not in self.choices:
            raise unsupported_value(data, self.choices)
        return data


class Id(WireField):
    """An id of the kind that `prefix` names ("file", "thread", …). Whether it exists is not asked here."""

    expected = "a string"

    def __init__(self, prefix: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.prefix = prefix

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise wrong_type(self.expected, data)
        if not data.startswith(self.prefix):
            raise wrong_id(data, self.prefix)
        return data


class AnyObject(WireField):
    """A JSON object that nobody reads closer, such as a JSON Schema."""

    expected = "an object"

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise wrong_type(self.expected, data)
        return dict(data)


class Array(WireField):
    """`of` names the items in the plural, as in "an array of strings"."""

    def __init__(
        self,
        child: serializers.Field[Any, Any, Any, Any],
        *,
        of: str = "objects",
        max: int | None = None,
        min: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.child = child
        self.max = max
        self.min = min
        self.expected = f"an array of {of}"

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            raise wrong_type(self.expected, data)
        if self.max is not None and len(data) > self.max:
            raise array_too_long(len(data), self.max)
        if len(data) < self.min:
            raise refusal(
                "empty_array",
                f"Invalid '{{param}}': empty array. Expected an array with minimum length {self.min},"
                " but got an empty array instead.",
            )
        items = []
        for index, item in enumerate(data):
            try:
                items.append(self.child.run_validation(item))
            except ValidationError as error:
                raise at(index, error) from None
        return items


class ClosedSerializer(Strict, serializers.Serializer[Any]):
    """An object that refuses keys it does not know (contract 1.3); `closed = False` ignores them instead."""

    closed = True

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise wrong_type(self.expected, data)
        if self.closed:
            for key in data:
                if key not in self.fields:
                    raise at(key, refusal("unknown_parameter", "Unknown parameter: '{param}'."))
        return dict(super().to_internal_value(data))

    def run_validation(self, data: Any = serializers.empty) -> Any:
        is_final, data = self.validate_empty_values(data)
        return data if is_final else self.validate(self.to_internal_value(data))


class Variant(WireField):
    """An object whose `type` decides its shape, or one of a few `words` in its place.

    `shapes` maps each type to the serializer of the whole object, or to None where `type` is all there is. A shape
    declares `type` itself only if it wants it in its result; Variant puts it there anyway.
    """

    def __init__(
        self, shapes: Mapping[str, type[ClosedSerializer] | None], *, words: Sequence[str] = (), **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.shapes = shapes
        self.words = words
        self.expected = f"one of {one_of(words)} or object" if words else "an object"

    def to_internal_value(self, data: Any) -> Any:
        if self.words and isinstance(data, str):
            if data not in self.words:
                raise unsupported_value(data, self.words)
            return data
        if not isinstance(data, Mapping):
            raise wrong_type(self.expected, data)
        try:
            kind = Enum(*self.shapes).run_validation(data.get("type", serializers.empty))
        except ValidationError as error:
            raise at("type", error) from None
        shape = self.shapes[kind] or ClosedSerializer
        rest = {key: value for key, value in data.items() if key != "type"}
        return {"type": kind, **shape().run_validation(rest)}


class Pairs(WireField):
    """Up to 16 pairs with short keys. `check` looks at each value and raises what is wrong with it."""

    expected = "an object"

    def __init__(self, check: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.check = check

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, Mapping):
            raise wrong_type(self.expected, data)
        if len(data) > METADATA_PAIRS_MAX:
            raise too_many_pairs(len(data))
        for key, value in data.items():
            try:
                if len(key) > METADATA_KEY_MAX:
                    raise refusal(
                        "property_name_above_max_length",
                        "Invalid property name in '{holder}': '{key}' is too long. Expected a string with maximum"
                        " length {maximum}, but got a string with length {length} instead.",
                        key=key,
                        maximum=METADATA_KEY_MAX,
                        length=len(key),
                    )
                self.check(value)
            except ValidationError as error:
                raise at(key, error) from None
        return dict(data)


def too_many_pairs(count: int) -> ValidationError:
    return refusal(
        "object_above_max_properties",
        f"Invalid '{{param}}': too many properties. Expected an object with at most {METADATA_PAIRS_MAX} properties,"
        f" but got an object with {count} properties instead.",
    )


def check_metadata_value(value: Any) -> None:
    if not isinstance(value, str):
        raise wrong_type("a string", value)
    check_length(value, METADATA_VALUE_MAX)


def check_attribute_value(value: Any) -> None:
    if isinstance(value, str):
        check_length(value, METADATA_VALUE_MAX)
    elif not isinstance(value, bool | int | float):
        raise wrong_type("one of a string, decimal, or boolean", value)


def Metadata() -> Pairs:
    """The `metadata` of every object: strings by string, null is the empty map (contract 1.3)."""
    return Pairs(check_metadata_value, required=False, allow_null=True)


def merge_metadata(stored: Mapping[str, str], given: Mapping[str, str] | None) -> dict[str, str]:
    """What a modification leaves: pairs are merged key by key, null clears (contract 9.2). Raises above 16 pairs."""
    if given is None:
        return {}
    merged = {**stored, **given}
    if len(merged) > METADATA_PAIRS_MAX:
        raise at("metadata", too_many_pairs(len(merged)))
    return merged
