"""What nobody reads in the admin, and no file holds: values that are secrets by their name.

A secret is told by the name it stands under (`secret_names.py`): as a key of JSON at any depth, of JSON within strings,
in a pair of "name" and "value", and in plain text that looks like a setting or a header ("PASSWORD=…",
"Authorization: …"). Each text is judged alone: where it was cut between a name and its value, the value is not known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from assistants.secret_names import is_secret, squeezed

MASK = "•••"
TOO_DEEP = "(nested too deep to be shown)"
PIECES = {"arguments": "the arguments", "value": "the text", "input": "the code", "logs": "the output"}
"""What comes in pieces in a delta, under its name there."""

NEAR = 500
"""Characters that are surely more than lie between the beginning of a secret's name and its value."""


def masked(value: Any) -> Any:
    """`value` with MASK in place of what is named by KUMOS_MASKED_FIELDS, at any depth, also in JSON within strings."""
    try:
        return _masked(value, piece=False)
    except RecursionError:
        return TOO_DEEP


def so_far(text: str) -> str:
    """A text that is still being written. JSON is judged when it is whole: a name may come behind its value."""
    return f"(JSON that is being written, {len(text)} characters)" if begins_like_json(text) else str(masked(text))


@dataclass(slots=True)
class Unfolding:
    """A text that is shown while it is written: as long as all of it is, and no longer once something is masked.

    What is masked is so from the first character of its value on, which stands close behind its name.
    """

    tail: str = ""
    begun: bool = False
    open: bool = True

    def shown(self, piece: str) -> str:
        """The piece that comes next; nothing where it may not be shown."""
        near = self.tail + piece
        if not self.begun and near.strip():
            self.begun = True
            self.open = not begins_like_json(near)
        self.open = self.open and masked(near) == near
        self.tail = near if len(near) <= NEAR else f"…{near[-NEAR:]}"  # it may begin within a line
        return piece if self.open else ""


def hidden_in(metadata: Mapping[str, Any]) -> set[str]:
    """The names under which something is masked."""
    shown = masked(metadata)
    return {name for name, value in metadata.items() if shown[name] != value}


def unmasked(value: Any, was: Mapping[str, Any]) -> Any:
    """The metadata that a form means which showed `masked(was)`: what is as it was shown there stays what it was."""
    if not isinstance(value, dict):
        return value
    shown = masked(was)
    return joined(value, was, {name for name in value if name in was and value[name] == shown[name]})


def joined(new: Mapping[str, Any], old: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """`new` with what `old` has under `names`; but nothing of it that was masked beside the rest of `old` and would be
    shown beside the rest of `new`: "value" is a secret by the "name" it stands beside."""
    shown, kept = masked(old), set(names)
    while True:
        whole = {**new, **{name: old[name] for name in old if name in kept}}
        now = masked(whole)
        bared = {name for name in kept if now[name] != shown[name]}
        if not bared:
            return whole
        kept -= bared


def _masked(value: Any, piece: bool) -> Any:
    """`piece`: inside a delta, whose texts are pieces of what only together can be judged."""
    match value:
        case dict():
            named = [value[name] for name in ("name", "key") if isinstance(value.get(name), str)]
            is_pair = "value" in value and any(map(is_secret, named))
            return {name: _of_member(str(name), inner, piece, is_pair) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner, piece) for inner in value]
        case str():
            return _text(value)
    return value


def _of_member(name: str, value: Any, piece: bool, is_pair: bool) -> Any:
    if is_secret(name) or (is_pair and name == "value"):
        return value if value is None or value == "" or isinstance(value, bool) else MASK
    if piece and name in PIECES and isinstance(value, str) and value and not (name == "arguments" and is_json(value)):
        return f"(a piece of {PIECES[name]}, {len(value)} characters)"  # the name of a secret may be in another piece
    return _masked(value, piece or name == "delta")


def begins_like_json(text: str) -> bool:
    return text.lstrip()[:1] in ("{", "[", '"')


def is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _text(text: str) -> str:
    if begins_like_json(text):
        repeats: list[str] = []

        def of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            value = dict(pairs)
            if len(value) < len(pairs):
                repeats.append(text)
            return value

        try:
            value = json.loads(text, object_pairs_hook=of_pairs)
            shown = _masked(value, piece=False)
            # As it was written, if there is no secret in it, also none under a name that comes again.
            return text if shown == value and not repeats else json.dumps(shown, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass  # a piece of JSON, or something that only begins like it
    for pattern in _patterns(tuple(settings.KUMOS_MASKED_FIELDS)) if is_secret(text) else ():  # hinted at anywhere
        text = pattern.sub(lambda found: f"{found[1]}{MASK}", text)
    return text


@lru_cache(maxsize=8)
def _patterns(words: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """Finds what stands under one of `words` in plain text; every part of them is bounded, or ends where it began."""
    named = "(?:" + "|".join(r"[_\-. ]?".join(map(re.escape, squeezed(word))) for word in words) + r")[\w.\-]{0,60}"
    quoted = r"""\\{0,8}"(?:[^"\\]|\\.)*(?:"|\Z)|'[^'\n]*(?:'|\Z)"""
    header = rf"""^([ \t]{{0,20}}(?:[-*][ ])?[\w.\-]{{0,40}}?{named}[ ]?:[ \t]{{1,9}})[^\s"'{{\[][^\n]*"""
    member = rf"""({named}(?:\\{{0,8}}["']\s{{0,20}}:\s{{0,20}}|[ ]?=[ ]?|:[ \t]{{0,9}}(?=["'{{\[])))"""
    value = rf"""(?:{quoted}|[{{\[].*|[^\s,;&}}\]]+)"""
    mark, space = r"""\\{0,8}["']""", r"\s{0,20}"
    pair = (
        rf"((?:name|key){mark}{space}:{space}{mark}[\w.\- ]{{0,60}}?{named}{mark}"
        rf"{space},{space}{mark}value{mark}{space}:{space})"
    )
    flags = re.IGNORECASE | re.MULTILINE | re.DOTALL
    return re.compile(header, flags), re.compile(member + value, flags), re.compile(pair + value, flags)
