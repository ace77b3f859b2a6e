"""Which failures are the same: an error's code, and its message without what differs from run to run. Pure functions.

Two runs that failed because one provider was slow say so with other ids, numbers and addresses. Here these are taken
out, so that what is left can be counted.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

READ_CHARACTERS = 2000
"""Of a message; what upstreams send can be a whole page."""
KEPT_CHARACTERS = 300

_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]{0,20}://[^\s\"'<>()\[\],;]+", re.IGNORECASE)
_MAIL = re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_HOST = re.compile(r"\b(?:\d{1,3}(?:\.\d{1,3}){3}|localhost|(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,63})(?::\d{1,5})\b", re.I)
_IP = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_IP6 = re.compile(r"\[[0-9a-f:]{2,45}\](?::\d{1,5})?", re.IGNORECASE)
# A prefix and a random rest, as ours and most providers' are: run_4cF…, req_0011…, call-…, chatcmpl-….
_ID = re.compile(r"\b[A-Za-z]{2,20}[_-](?=[A-Za-z0-9]*[0-9A-Z])[A-Za-z0-9]{12,}\b")
_HEX = re.compile(r"\b(?=[0-9a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{8,}\b", re.IGNORECASE)
_MOMENT = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")
_NUMBER = re.compile(r"(?<!\w)(?<![A-Za-z][-_])(?<!\d[.,])\d+(?:[.,]\d+)*")  # not those of "gpt-3.5"
_SPACE = re.compile(r"\s+")
_STATUS = re.compile(r"[45]\d\d")
_BEFORE_STATUS = re.compile(r"(?:\(|\b(?:status|code|error|http)[ :=]{1,2})$", re.IGNORECASE)

_TAKEN_OUT = (
    (_ADDRESS, "<address>"),
    (_MAIL, "<address>"),
    (_UUID, "<id>"),
    (_IP6, "<address>"),
    (_HOST, "<address>"),
    (_IP, "<address>"),
    (_ID, "<id>"),
    (_HEX, "<id>"),
    (_MOMENT, "<time>"),
)


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """`code` as the wire has it, `message` with <id>, <n>, <time> and <address> in the place of such."""

    code: str
    message: str

    @property
    def key(self) -> str:
        """Short enough for an address, the same on every server."""
        return hashlib.sha256(f"{self.code}\n{self.message}".encode(errors="replace")).hexdigest()[:16]


def _number(found: re.Match[str]) -> str:
    """What HTTP says of a failure tells more than any word: 401 and 503 are not the same."""
    before = found.string[max(0, found.start() - 10) : found.start()]
    return found[0] if _STATUS.fullmatch(found[0]) and _BEFORE_STATUS.search(before) else "<n>"


@lru_cache(maxsize=4096)
def normal(message: str) -> str:
    """`message` in one line, without ids, numbers, times and addresses."""
    text = _SPACE.sub(" ", message[:READ_CHARACTERS]).strip()
    for pattern, stands_for in _TAKEN_OUT:
        text = pattern.sub(stands_for, text)
    text = _NUMBER.sub(_number, text)
    return text if len(text) <= KEPT_CHARACTERS else f"{text[:KEPT_CHARACTERS]}…"


def group_of(error: Any) -> ErrorGroup:
    """The group of a run's `last_error`, whatever is in it."""
    known = error if isinstance(error, Mapping) else {}
    return ErrorGroup(str(known.get("code") or "unknown"), normal(str(known.get("message") or "")))
