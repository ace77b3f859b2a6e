"""What can be wrong with a value, in the contract's words (4.3). errors.py knows the path and puts it in its place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework.exceptions import ValidationError

PLACE = "\0place\0"
HOLDER = "\0holder\0"
"""Where errors.py writes the path, and that of the object around it. A client's text holds no NUL (parsers.py)."""


def refusal(code: str, text: str, **given: object) -> ValidationError:
    """The error of one place. `text` names it as `{param}`, what holds it as `{holder}`, and each of `given` likewise.

    What a client sent belongs into `given`: there it is text, whatever it looks like.
    """
    words = {"param": PLACE, "holder": HOLDER, **given}
    return ValidationError(re.sub(r"\{(\w+)\}", lambda match: str(words.get(match[1], match[0])), text), code=code)


def at(place: str | int, error: ValidationError) -> ValidationError:
    """`error`, one level further in: at a key or an index of the value that holds it."""
    detail: Any = {place: error.detail}
    return ValidationError(detail)


def kind_of(value: Any) -> str:
    """What `value` is as JSON, with its article."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case _:
            return "an array"


def wrong_type(expected: str, value: Any) -> ValidationError:
    return refusal(
        "invalid_type", f"Invalid type for '{{param}}': expected {expected}, but got {kind_of(value)} instead."
    )


def spoken_list(words: Sequence[str], conjunction: str) -> str:
    """'a', 'a' and 'b', or 'a', 'b', and 'c': each word in quotes."""
    quoted = [f"'{word}'" for word in words]
    if len(quoted) < 3:
        return f" {conjunction} ".join(quoted)
    return f"{', '.join(quoted[:-1])}, {conjunction} {quoted[-1]}"


def unsupported_value(value: Any, choices: Sequence[str]) -> ValidationError:
    text = "Invalid value: '{value}'. Supported values are: {supported}."
    return refusal("invalid_value", text, value=value, supported=spoken_list(choices, "and"))


def wrong_id(value: str, prefix: str) -> ValidationError:
    text = "Invalid '{param}': '{value}'. Expected an ID that begins with '{prefix}'."
    return refusal("invalid_value", text, value=value, prefix=prefix)


def out_of_range(word: str, value: float, minimum: float | None, maximum: float | None) -> ValidationError | None:
    """The error of a number outside its limits; `word` is "integer" or "decimal"."""
    if maximum is not None and value > maximum:
        return refusal(
            f"{word}_above_max_value",
            f"Invalid '{{param}}': {word} above maximum value. Expected a value <= {maximum}, but got {value} instead.",
        )
    if minimum is not None and value < minimum:
        return refusal(
            f"{word}_below_min_value",
            f"Invalid '{{param}}': {word} below minimum value. Expected a value >= {minimum}, but got {value} instead.",
        )
    return None


def check_length(value: str, maximum: int | None, minimum: int = 0) -> str:
    if maximum is not None and len(value) > maximum:
        raise refusal(
            "string_above_max_length",
            f"Invalid '{{param}}': string too long. Expected a string with maximum length {maximum},"
            f" but got a string with length {len(value)} instead.",
        )
    if len(value) < minimum:
        raise refusal(
            "empty_string",
            f"Invalid '{{param}}': empty string. Expected a string with minimum length {minimum},"
            " but got an empty string instead.",
        )
    return value


def array_too_long(length: int, maximum: int) -> ValidationError:
    return refusal(
        "array_above_max_length",
        f"Invalid '{{param}}': array too long. Expected an array with maximum length {maximum},"
        f" but got an array with length {length} instead.",
    )
