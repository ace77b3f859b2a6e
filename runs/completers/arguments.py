"""A value for a JSON schema, filled from what the user wrote: the arguments of a scripted function call.

Covers what function tools use: types, enum, const, default, local $ref, anyOf, nested objects and arrays. Patterns are
not solved. Nothing here knows of models or messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

NAME = r"[A-ZÀ-ÖØ-Þ][\w'’.-]*\w(?:\s+[A-ZÀ-ÖØ-Þ][\w'’-]*\w)*(?:,\s+[A-Z]{2}\b)?"
PLACES = re.compile(rf"\b(?:in|at|for|of|to|from|near)\s+({NAME}(?:(?:\s*,\s*(?:and\s+)?|\s+(?:and|or)\s+){NAME})*)")
PROPER = re.compile(rf"(?<=[\w,;:]\s){NAME}")
QUOTED = re.compile(r"“([^”]+)”|‘([^’]+)’|\"([^\"]+)\"|(?<!\w)'([^']+)'(?!\w)|«([^»]+)»|`([^`]+)`")
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])")
FREE_TEXT = re.compile(r"query|question|text|prompt|message|content|body|expression|code|input|sentence", re.IGNORECASE)
FORMATS = {
    "date": (re.compile(r"\b\d{4}-\d{2}-\d{2}\b"), "2026-01-01"),
    "date-time": (re.compile(r"\b\d{4}-\d{2}-\d{2}T[\d:.]+(?:Z|[+-]\d{2}:\d{2})"), "2026-01-01T00:00:00Z"),
    "time": (re.compile(r"\b\d{2}:\d{2}:\d{2}(?:Z|[+-]\d{2}:\d{2})"), "12:00:00Z"),
    "email": (re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+\w"), "somebody@example.com"),
    "uri": (re.compile(r"https?://\S+"), "https://example.com/"),
    "uuid": (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"), "00000000-0000-4000-8000-000000000000"),
}
DEPTH_MAX = 12
VALUES_MAX = 1000


def quoted_in(text: str) -> list[str]:
    """What stands in quotes, of any usual kind, in order."""
    return [next(filter(None, groups)).strip() for groups in QUOTED.findall(text)]


def places_in(text: str) -> list[str]:
    """Capitalised names behind in, at, for …: "weather in Paris, Rome and San Francisco, CA" gives three."""
    found: list[str] = []
    for match in PLACES.finditer(text):
        found += [name for name in re.findall(NAME, match[1]) if name not in found]
    return found


@dataclass(slots=True)
class Source:
    """The user's text, and what of it has not been used yet."""

    text: str
    place: str | None = None
    values_left: int = VALUES_MAX
    names: list[str] = field(init=False)
    quotes: list[str] = field(init=False)
    numbers: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self.quotes = quoted_in(self.text)
        self.names = [self.place] if self.place else places_in(self.text) or PROPER.findall(self.text)
        self.numbers = iter(NUMBER.findall(self.text))

    def string(self, name: str) -> str:
        if FREE_TEXT.search(name):
            return self.quotes.pop(0) if self.quotes else self.text
        if self.names:
            return self.names.pop(0) if len(self.names) > 1 else self.names[0]
        if self.quotes:
            return self.quotes.pop(0) if len(self.quotes) > 1 else self.quotes[0]
        return self.text


def instance_of(schema: Mapping[str, Any], text: str, *, place: str | None = None) -> Any:
    """A value that fits `schema`, with words and numbers of `text`; `place` is the one name to use.

    Never raises: a schema that is not one (`"minItems": "many"`) gets an empty object.
    """
    try:
        return value_for(schema, schema, Source(text, place), "", 0)
    except (TypeError, ValueError, AttributeError, ArithmeticError):
        return {}


def value_for(schema: Any, root: Mapping[str, Any], source: Source, name: str, depth: int) -> Any:
    source.values_left -= 1
    schema = plain(schema, root)
    if "const" in schema:
        return schema["const"]
    if choices := schema.get("enum"):
        return next((choice for choice in choices if mentioned(choice, source.text)), choices[0])
    if "default" in schema:
        return schema["default"]
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema or depth == 0 else "string"
    match kind:
        case "object":
            return object_for(schema, root, source, depth)
        case "array":
            return array_for(schema, root, source, name, depth)
        case "integer" | "number":
            return number_for(schema, source, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
    return string_for(schema, source, name)


def plain(schema: Any, root: Mapping[str, Any], *, merge: bool = True) -> Mapping[str, Any]:
    """`schema` with its local $ref followed, its first useful alternative chosen, and its allOf merged (one deep)."""
    for _ in range(DEPTH_MAX):
        if not isinstance(schema, Mapping):
            return {}
        if isinstance(reference := schema.get("$ref"), str):
            target: Any = root
            for key in reference.removeprefix("#").strip("/").split("/"):
                target = target.get(key, {}) if key and isinstance(target, Mapping) else target
            schema = target
        elif alternatives := schema.get("anyOf") or schema.get("oneOf"):
            schema = next((one for one in alternatives if one != {"type": "null"}), {})
        elif parts := schema.get("allOf"):
            merged = {key: value for key, value in schema.items() if key != "allOf"}
            for part in parts if merge else ():
                merged |= plain(part, root, merge=False)
            schema = merged
        else:
            return schema
    return {}


def mentioned(choice: Any, text: str) -> bool:
    return isinstance(choice, str) and bool(re.search(rf"\b{re.escape(choice)}\b", text, re.IGNORECASE))


def object_for(schema: Mapping[str, Any], root: Mapping[str, Any], source: Source, depth: int) -> dict[str, Any]:
    """Required properties; all of them where none is required; optional ones only where the text names their value."""
    properties = schema.get("properties") or {}
    required = schema.get("required") or ([] if depth else list(properties))
    if depth >= DEPTH_MAX or source.values_left < 0:
        return {}
    found = {}
    for key, inner in properties.items():
        choices = plain(inner, root).get("enum") or ()
        if key in required or any(mentioned(choice, source.text) for choice in choices):
            found[key] = value_for(inner, root, source, key, depth + 1)
    return found


def array_for(schema: Mapping[str, Any], root: Mapping[str, Any], source: Source, name: str, depth: int) -> list[Any]:
    least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", 100))
    if depth >= DEPTH_MAX or source.values_left < 0 or most == 0:
        return []
    items = plain(schema.get("items") or {"type": "string"}, root)
    listed = source.names if items.get("type") == "string" and "enum" not in items else []
    count = min(most, max(least, len(listed), 1), 100)
    return [value_for(items, root, source, name, depth + 1) for _ in range(count)]


def number_for(schema: Mapping[str, Any], source: Source, *, whole: bool) -> int | float:
    number: float = float(next(source.numbers, "1"))
    if "minimum" in schema:
        number = max(number, schema["minimum"])
    if "exclusiveMinimum" in schema:
        number = max(number, schema["exclusiveMinimum"] + 1)
    if "maximum" in schema:
        number = min(number, schema["maximum"])
    if step := schema.get("multipleOf"):
        number = round(number / step) * step
    return int(number) if whole or number.is_integer() else number


def string_for(schema: Mapping[str, Any], source: Source, name: str) -> str:
    if known := FORMATS.get(schema.get("format", "")):
        pattern, example = known
        return match[0] if (match := pattern.search(source.text)) else example
    text = source.string(name) or "text"
    text += "." * max(0, min(int(schema.get("minLength", 0)), 10_000) - len(text))
    return text[: int(schema.get("maxLength", len(text)))]
