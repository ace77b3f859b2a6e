"""Text → passages of a bounded number of tokens that overlap (contract 5.2: 800 and 400 unless told otherwise).

Cuts fall at the end of a paragraph, else of a sentence or line, else between two words. Nothing here knows a database.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from assistants.tokens import count_tokens, token_ends

MAX_CHUNK_SIZE_TOKENS = 800
CHUNK_OVERLAP_TOKENS = 400
SIZE_MIN = 16
"""Far below the wire's minimum; a single character takes up to four tokens."""

BORDERS: Final = (
    re.compile(r"(?<=\S)(?=[ \t]*\r?\n[ \t]*\r?\n)"),  # the end of a paragraph
    re.compile(
        r"(?<=[.!?…])[\"'”’)\]]*(?=\s)|(?<=[。！？])[\"'”’)\]]*|(?<=\S)(?=[ \t]*\r?\n)"
    ),  # of a sentence or line
    re.compile(r"(?<=\S)(?=\s)"),  # of a word
)
"""Where to cut, best first: each matches up to the place itself."""
LOOK_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Slice:
    """A passage with the white space around it. Its first `repeated` characters are the end of the one in front."""

    text: str
    repeated: int = 0


def spans(
    text: str, max_tokens: int = MAX_CHUNK_SIZE_TOKENS, overlap_tokens: int = CHUNK_OVERLAP_TOKENS
) -> Iterator[tuple[int, int]]:
    """Start and end of each passage; together they cover the text.

    Each is at most `max_tokens` long, without the white space around it, and begins at most `overlap_tokens` (and at
    least half of that) before the end of the one in front. `overlap_tokens` must be at most half of `max_tokens`.
    """
    if not 0 <= overlap_tokens * 2 <= max_tokens or max_tokens < SIZE_MIN:
        raise ValueError(f"the overlap must be between 0 and half of the size, and the size at least {SIZE_MIN}")
    if len(text.encode(errors="replace")) <= max_tokens:
        # A token is at least a byte long, so this is one passage. The vocabulary is not even loaded: half the cost.
        if text:
            yield 0, len(text)
        return
    ends = token_ends(text)
    start = 0
    while start < len(text):
        first = bisect_right(ends, start)
        size = max_tokens
        while True:
            end = passage_end(text, ends, first, size)
            excess = count_tokens(text[start:end].strip()) - max_tokens
            if excess <= 0:
                break
            size -= excess  # words cut off from their neighbours may take a token more
        yield start, end
        if end == len(text):
            return
        last = bisect_right(ends, end)  # so many tokens end here or before
        if overlap_tokens:
            earliest = max(ends[last - overlap_tokens - 1], start + 1)
            latest = max(ends[last - (overlap_tokens + 1) // 2 - 1], earliest)
            start = first_border(text, earliest, latest)
        else:
            start = end


def slices(
    text: str, max_tokens: int = MAX_CHUNK_SIZE_TOKENS, overlap_tokens: int = CHUNK_OVERLAP_TOKENS
) -> Iterator[Slice]:
    """The passages themselves; those that are nothing but white space are left out."""
    reached = 0
    for start, end in spans(text, max_tokens, overlap_tokens):
        if text[start:end].strip():
            yield Slice(text[start:end], max(reached - start, 0))
            reached = end


def passage_end(text: str, ends: Sequence[int], first: int, size: int) -> int:
    """Where a passage of up to `size` tokens from the token `first` on had best end: in its last third."""
    if len(ends) - first <= size:
        return len(text)
    return last_border(text, ends[first + size * 2 // 3], ends[first + size - 1])


def last_border(text: str, earliest: int, latest: int) -> int:
    """The last of the best borders in the range; its end where there is none."""
    for border in BORDERS:
        found = border.finditer(text, earliest, min(latest + LOOK_AHEAD, len(text)))
        if places := [match.end() for match in found if match.end() <= latest]:
            return places[-1]
    return latest


def first_border(text: str, earliest: int, latest: int) -> int:
    """The first of the best borders in the range; its start where there is none."""
    for border in BORDERS:
        match = border.search(text, earliest, min(latest + LOOK_AHEAD, len(text)))
        if match and match.end() <= latest:
            return match.end()
    return earliest
