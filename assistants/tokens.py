"""Text → tokens, for budgets (contract 2.8), passages (5.2) and usage where a model reports none. Works offline.

The vocabulary is cl100k_base: what OpenAI's embedding models read, and what many open models' vocabularies grew from.
Another model counts a little differently, so a budget is kept to within a few per cent. Special tokens are plain text.
Nothing is loaded before the first call, which takes a fifth of a second and 50 MB; after that a megabyte of prose takes
a tenth of a second, and no text of that length more than a second.
"""

from __future__ import annotations

import hashlib
from array import array
from base64 import b64decode
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from tiktoken import Encoding

VOCABULARY: Final = Path(__file__).parent / "vendor" / "cl100k_base.tiktoken"
SHA256: Final = "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7"
PIECES: Final = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
"""How cl100k_base splits text before it merges bytes; part of the vocabulary's definition, as tiktoken has it."""
BLOCK_CHARACTERS: Final = 50_000
"""Text goes to the tokenizer in blocks: a megabyte of white space in one piece overflows its regular expression."""

CONTINUATION: Final = bytes(range(0x80, 0xC0))
"""The bytes of UTF-8 that begin no character."""

_loading = Lock()


def count_tokens(text: str) -> int:
    """How many tokens `text` has. Its cost is proportional to its length, whatever stands in it."""
    encode = encoding().encode_ordinary
    return sum(len(encode(block)) for block in blocks(text))


def token_ends(text: str) -> array[int]:
    """Where each token ends: `text[: ends[i]]` is what the first i + 1 tokens hold, in whole characters.

    A character may take several tokens; it counts as reached with the last of them.
    """
    ends = array("I")
    place = 0
    for block in blocks(text):
        pieces = encoding().decode_tokens_bytes(encoding().encode_ordinary(block))
        for piece, following in pairwise([*pieces, b""]):
            place += len(piece.translate(None, CONTINUATION))
            inside_a_character = bool(following) and following[0] in CONTINUATION
            ends.append(place - inside_a_character)
    return ends


def blocks(text: str) -> Iterator[str]:
    """The text in pieces, parted where a word begins after a space, which changes no count; else wherever they end."""
    start = 0
    while len(text) - start > BLOCK_CHARACTERS:
        end = text.rfind(" ", start + 1, start + BLOCK_CHARACTERS)
        if end < 0 or text[end - 1].isspace():
            end = start + BLOCK_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:]


def encoding() -> Encoding:
    """The tokenizer. RuntimeError where the vocabulary is not the one that it should be.

    Whoever comes while it is loaded waits. A worker's first runs end at about the same time: each loading its own, they
    would take seconds in which no other thread gets anywhere, and tens of megabytes each.
    """
    with _loading:
        return _load()


@cache
def _load() -> Encoding:
    from tiktoken import Encoding

    content = VOCABULARY.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise RuntimeError(f"{VOCABULARY} is damaged")
    ranks = {b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines())}
    return Encoding("cl100k_base", pat_str=PIECES, mergeable_ranks=ranks, special_tokens={})
