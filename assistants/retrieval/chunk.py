"""Text → passages of a bounded number of tokens that overlap (contract 5.2: 800 and 400 unless told otherwise).

Cuts fall at the end of a paragraph, else of a sentence or line, else between two words. Nothing here knows a database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice

MAX_CHUNK_SIZE_TOKENS = 800
CHUNK_OVERLAP_TOKENS = 400

# An atom stands for a token: up to eight letters or digits of an alphabetic script, or one other character, with a
# little white space in front. Every character belongs to exactly one atom, and no atom is longer than 15 characters.
ATOM = re.compile(r"\s{0,7}(?:[0-9A-Za-z_\u00aa-\u1fff]{1,8}|\S)|\s{1,8}")
PARAGRAPH_END = re.compile(r"[ \t]*\r?\n[ \t]*\r?\n")


def count_tokens(text: str) -> int:
    """An estimate: it counts short words, punctuation and each character of Chinese, Japanese or Korean as one.

    For English prose it stays within about a tenth of what current tokenizers give; for code it is on the high side.
    """
    return sum(1 for _ in ATOM.finditer(text))


def spans(
    text: str, max_tokens: int = MAX_CHUNK_SIZE_TOKENS, overlap_tokens: int = CHUNK_OVERLAP_TOKENS
) -> Iterator[tuple[int, int]]:
    """Start and end of each passage; together they cover the text.

    Each is at most `max_tokens` long and begins at most `overlap_tokens` (and at least half of that) before the end of
    the one in front, which it never reaches back beyond. `overlap_tokens` must be at most half of `max_tokens`.
    """
    if not 0 <= overlap_tokens * 2 <= max_tokens or max_tokens < 1:
        raise ValueError("the overlap must be between 0 and half of the passage size, and the size at least 1")
    start = 0
    while start < len(text):
        ends = [atom.end() for atom in islice(ATOM.finditer(text, start), max_tokens)]
        if ends[-1] == len(text):
            yield start, len(text)
            return
        last = best_cut(text, ends, first=max_tokens * 2 // 3)
        yield start, ends[last]
        if overlap_tokens == 0:
            start = ends[last]
        else:
            earliest = last - overlap_tokens  # an end before it would overlap by more
            latest = last - (overlap_tokens + 1) // 2
            start = ends[best_start(text, ends, max(earliest, 0), latest)]


def passages(
    text: str, max_tokens: int = MAX_CHUNK_SIZE_TOKENS, overlap_tokens: int = CHUNK_OVERLAP_TOKENS
) -> Iterator[str]:
    """The passages themselves, without white space around them; empty ones are left out."""
    for start, end in spans(text, max_tokens, overlap_tokens):
        if passage := text[start:end].strip():
            yield passage


def border(text: str, position: int) -> int:
    """How good a place to cut this is: 3 the end of a paragraph, 2 of a sentence or line, 1 of a word, 0 inside one."""
    if PARAGRAPH_END.match(text, position):
        return 3
    if ends_sentence(text, position) or text.startswith(("\n", "\r\n"), position):
        return 2
    return 1 if text[position].isspace() else 0


def ends_sentence(text: str, position: int) -> bool:
    tail = text[max(position - 4, 0) : position].rstrip("\"'”’)]")
    if tail.endswith(("。", "！", "？")):
        return True
    return tail.endswith((".", "!", "?", "…")) and text[position : position + 1].isspace()


def best_cut(text: str, ends: list[int], first: int) -> int:
    """Index into `ends` of the best border from `first` on, the latest of equals."""
    return max(range(min(first, len(ends) - 1), len(ends)), key=lambda index: (border(text, ends[index]), index))


def best_start(text: str, ends: list[int], earliest: int, latest: int) -> int:
    """Index into `ends` of the best border in the range, the earliest of equals."""
    return max(range(earliest, latest + 1), key=lambda index: (border(text, ends[index]), -index))
