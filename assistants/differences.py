"""How two states of an assistant differ: in a few words for lists, and line by line, with its words, for reading.

A state is the body of a version (versions.py). Nothing here is HTML. The work is bounded, whatever somebody stored:
what is too long to be compared line by line is shown as taken away and put in its place.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any, Literal

from assistants import versions

LABELS = {
    "name": "Name",
    "description": "Description",
    "model": "Model",
    "instructions": "Instructions",
    "tools": "Tools",
    "tool_resources": "Files and stores",
    "metadata": "Metadata",
    "temperature": "Temperature",
    "top_p": "Top p",
    "response_format": "Response format",
    "reasoning_effort": "Reasoning effort",
}
TEXTS = ("name", "description", "model", "instructions", "reasoning_effort")
WORD_SHOWN = 60
CONTEXT = 3
"""Unchanged lines that are shown around a change."""
LINES_SHOWN = 1000
LINES_COMPARED = 1_000_000
"""How many pairs of lines may be looked at, and how many of words in one pair of lines."""
WORDS_COMPARED = 100_000
LINES_MARKED = 200
ALIKE = 0.3
"""Lines that share less are not the same line changed."""

Kind = Literal["same", "gone", "new", "gap"]


@dataclass(frozen=True, slots=True)
class Piece:
    text: str
    marked: bool = False
    """Whether it is what changed within its line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the one state, of the other or of both, with its number in each. A gap says what is left out."""

    kind: Kind
    pieces: tuple[Piece, ...]
    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    field: str
    label: str
    lines: list[Line]
    """Empty where only what nobody may see has changed."""


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Of one that was not there before: the fields that say something."""
    return [
        name
        for name in LABELS
        if not versions.same_value(name, before.get(name), after.get(name))
        and (before or after.get(name) not in (None, "", [], {}))
    ]


# In words -------------------------------------------------------------------------------------------------------------


def in_words(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One sentence for each field that changed, without any value that may be long or nobody's business."""
    return [
        f"{LABELS[name]}: {change_of(name, before.get(name), after.get(name))}"
        for name in changed_fields(before, after)
    ]


def change_of(name: str, old: Any, new: Any) -> str:
    match name:
        case "instructions":
            return lines_in_words(lines_of(name, old), lines_of(name, new))
        case "tools":
            return keys_in_words(by_name(old or []), by_name(new or [])) or "in another order"
        case "metadata" | "tool_resources":
            return keys_in_words(old or {}, new or {})
        case "response_format":
            kinds = [value if isinstance(value, str) else value["type"] for value in (old or "auto", new or "auto")]
            return "changed" if kinds[0] == kinds[1] else " → ".join(kinds)
    return f"{short(old)} → {short(new)}"


def lines_in_words(old: Sequence[str], new: Sequence[str]) -> str:
    added, removed = Counter(new) - Counter(old), Counter(old) - Counter(new)
    counts = ((added.total(), "added"), (removed.total(), "removed"))
    said = [f"{count:,} line{'' if count == 1 else 's'} {what}" for count, what in counts if count]
    return ", ".join(said) or "lines in another order"


def keys_in_words(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    said = [f"{key} added" for key in new if key not in old]
    said += [f"{key} removed" for key in old if key not in new]
    said += [f"{key} changed" for key in new if key in old and old[key] != new[key]]
    return short(", ".join(said), 4 * WORD_SHOWN)


def by_name(tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {tool["function"]["name"] if tool["type"] == "function" else tool["type"]: tool for tool in tools}


def short(value: Any, limit: int = WORD_SHOWN) -> str:
    if value is None or value == "":
        return "none" if value is None else "empty"
    text = str(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


# Line by line ---------------------------------------------------------------------------------------------------------


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any], shown: Callable[[Any], Any] = lambda value: value
) -> list[Difference]:
    """The fields that changed. JSON goes through `shown` first, which may hide values."""
    found = []
    for name in changed_fields(before, after):
        sides = [value if name in TEXTS else shown(value) for value in (before.get(name), after.get(name))]
        old, new = (lines_of(name, side) for side in sides)
        found.append(Difference(name, LABELS[name], bounded(with_gaps(compare(old, new))) if old != new else []))
    return found


def lines_of(name: str, value: Any) -> list[str]:
    """`value` in lines: text as it is, anything else as JSON. Carriage returns, which nobody would see, are drawn."""
    if value is None:
        return []
    text = value if name in TEXTS else json.dumps(value, indent=2, ensure_ascii=False)
    return text.replace("\r\n", "␍\n").replace("\r", "␍").split("\n")


def compare(old: Sequence[str], new: Sequence[str]) -> list[Line]:
    """Every line of both, in order; a line that was changed stands twice, with what changed in it marked."""
    lines: list[Line] = []
    marked = 0
    for same, a, b, c, d in blocks(old, new):
        if same:
            lines += [Line("same", (Piece(text),), a + n + 1, c + n + 1) for n, text in enumerate(old[a:b])]
            continue
        pairs = max(0, min(b - a, d - c, LINES_MARKED - marked))
        marked += pairs
        words = [mark(old[a + n], new[c + n]) for n in range(pairs)]
        gone = [*(pair[0] for pair in words), *((Piece(text),) for text in old[a + pairs : b])]
        come = [*(pair[1] for pair in words), *((Piece(text),) for text in new[c + pairs : d])]
        lines += [Line("gone", pieces, before=a + n + 1) for n, pieces in enumerate(gone)]
        lines += [Line("new", pieces, after=c + n + 1) for n, pieces in enumerate(come)]
    return lines


def blocks(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[bool, int, int, int, int]]:
    """(same?, old from, old to, new from, new to). What both begin and end with is not looked at twice."""
    most = min(len(old), len(new))
    head = next((n for n in range(most) if old[n] != new[n]), most)
    tail = next((n for n in range(most - head) if old[-1 - n] != new[-1 - n]), most - head)
    olds, news = len(old) - tail, len(new) - tail
    yield True, 0, head, 0, head
    if (olds - head) * (news - head) > LINES_COMPARED:
        yield False, head, olds, head, news
    else:
        matcher = SequenceMatcher(None, old[head:olds], new[head:news])
        for tag, a, b, c, d in matcher.get_opcodes():
            yield tag == "equal", head + a, head + b, head + c, head + d
    yield True, olds, len(old), news, len(new)


def mark(old: str, new: str) -> tuple[tuple[Piece, ...], tuple[Piece, ...]]:
    """Both lines in pieces. Unmarked where they are too different, or too long, to be read as one line changed."""
    olds, news = (re.findall(r"\w+(?:[.'’]\w+)*|\s+|[^\w\s]", text) for text in (old, new))
    whole = (Piece(old),), (Piece(new),)
    if len(olds) * len(news) > WORDS_COMPARED:
        return whole
    matcher = SequenceMatcher(None, olds, news)
    if matcher.ratio() < ALIKE:
        return whole
    codes = matcher.get_opcodes()
    return (
        tuple(Piece("".join(olds[a:b]), tag != "equal") for tag, a, b, _, _ in codes if b > a),
        tuple(Piece("".join(news[c:d]), tag != "equal") for tag, _, _, c, d in codes if d > c),
    )


def with_gaps(lines: Sequence[Line]) -> Iterator[Line]:
    """The changes and a few lines around each."""
    near = set[int]()
    for n, line in enumerate(lines):
        if line.kind != "same":
            near.update(range(n - CONTEXT, n + CONTEXT + 1))
    left_out = 0
    for n, line in enumerate(lines):
        if n not in near:
            left_out += 1
            continue
        if left_out:
            yield gap(f"{left_out:,} unchanged line{'' if left_out == 1 else 's'}")
            left_out = 0
        yield line
    if left_out:
        yield gap(f"{left_out:,} unchanged line{'' if left_out == 1 else 's'}")


def gap(text: str) -> Line:
    return Line("gap", (Piece(text),))


def bounded(lines: Iterator[Line]) -> list[Line]:
    found = list(lines)
    if len(found) <= LINES_SHOWN:
        return found
    return [*found[:LINES_SHOWN], gap(f"{len(found) - LINES_SHOWN:,} more lines")]
