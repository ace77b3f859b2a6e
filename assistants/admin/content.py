"""Who may read what people and models wrote, and what nobody reads in the admin: values that are secrets by their name.

Every page of the admin that shows messages, instructions, arguments, outputs, events, passages or pieces of files asks
here. The API is not concerned: who has a key or is a member of the project reads what is his.

A secret is told by the name it stands under: as a key of JSON at any depth, of JSON within strings, in a pair of "name"
and "value", and in plain text that looks like a setting or a header ("PASSWORD=…", "Authorization: …").
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.http import HttpRequest

from assistants.secret_names import is_secret, squeezed

HIDDEN = "(hidden: reading content needs the permission “Can read what people and models wrote”)"
MASK = "•••"
TOO_DEEP = "(nested too deep to be shown)"
TITLE = "title"
"""What is written by people in the metadata of a thread: its title. Other labels are the clients' own."""


def may_read(request: HttpRequest) -> bool:
    return request.user.has_perm("assistants.read_content")


def shown(request: HttpRequest, value: Any) -> Any:
    """`value` without its secrets, for whom may read content; for others HIDDEN, if there is anything to hide."""
    if not value or may_read(request):
        return masked(value)
    return HIDDEN


def labels(request: HttpRequest, metadata: Mapping[str, Any]) -> Any:
    """Metadata without its secrets; for whom may not read content, without a title, too."""
    if TITLE in metadata and not may_read(request):
        metadata = {**metadata, TITLE: HIDDEN}
    return masked(metadata)


# Masking --------------------------------------------------------------------------------------------------------------


def masked(value: Any) -> Any:
    """`value` with MASK in place of what is named by KUMOS_MASKED_FIELDS, at any depth, also in JSON within strings."""
    try:
        return _masked(value, piece=False)
    except RecursionError:
        return TOO_DEEP


def unmasked(value: Any, was: Any) -> Any:
    """What a form means that showed `masked(was)`: where MASK stands as it stood there, the secret stays."""
    if value == MASK:
        return MASK if was is None else was
    if isinstance(value, dict) and isinstance(was, dict):
        return {name: unmasked(inner, was.get(name)) for name, inner in value.items()}
    return value


def _masked(value: Any, piece: bool) -> Any:
    """`piece`: inside a delta, whose `arguments` are a piece of what only together is JSON."""
    match value:
        case dict():
            named = next((value[name] for name in ("name", "key") if isinstance(value.get(name), str)), "")
            is_pair = "value" in value and is_secret(named)
            return {name: _of_member(str(name), inner, piece, is_pair) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner, piece) for inner in value]
        case str():
            return _text(value)
    return value


def _of_member(name: str, value: Any, piece: bool, is_pair: bool) -> Any:
    if is_secret(name) or (is_pair and name == "value"):
        return value if value is None or value == "" or isinstance(value, bool) else MASK
    if piece and name == "arguments" and isinstance(value, str) and value and not is_json(value):
        return f"(a piece of the arguments, {len(value)} characters)"  # the name of a secret may be in another piece
    return _masked(value, piece or name == "delta")


def is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _text(text: str) -> str:
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            return json.dumps(_masked(json.loads(text), piece=False), ensure_ascii=False)
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
    flags = re.IGNORECASE | re.MULTILINE | re.DOTALL
    return re.compile(header, flags), re.compile(member + value, flags)
