"""Citations in streamed text: the markers a model copies from search results become annotations (contract 2.7, 3.9).

A marker reaches clients whole, in one piece with its annotation, even if the model's tokens cut it: text is held back
from its first bracket until it is complete or cannot be one any more. Positions are characters of the whole message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runs.story import Piece

OPENING = "【"
MARKER = re.compile(r"【(\d{1,6}):(\d{1,6})†[^【】]{0,100}】")
LONGEST = 120


def marker(step_number: int, result_number: int) -> str:
    """What the model is told to write behind a claim taken from that result."""
    return f"{OPENING}{step_number}:{result_number}†source】"


def without_markers(text: str) -> str:
    """For the prompt: markers of earlier answers point at results that the model does not see any more."""
    return MARKER.sub("", text)


class CitationReader:
    """Turns the text of one message into pieces. `sources` gives the file id behind (step number, result number)."""

    def __init__(self, sources: Mapping[tuple[int, int], str]) -> None:
        self._sources = sources
        self._held = ""
        self._position = 0
        self.value: list[str] = []
        self.annotations: list[dict[str, Any]] = []

    def read(self, text: str) -> list[Piece]:
        pieces: list[Piece] = []
        self._held += text
        while self._held:
            start = self._held.find(OPENING)
            if start:  # plain text up to the next bracket, or all of it
                pieces.append(self._take(len(self._held) if start < 0 else start))
            elif (found := MARKER.match(self._held)) is not None:
                pieces.append(self._cite(found))
            elif "】" in self._held or self._held.find(OPENING, 1) > 0 or len(self._held) > LONGEST:
                pieces.append(self._take(1))  # a bracket like any other
            else:
                break
        return pieces

    def end(self) -> list[Piece]:
        """What was held back and turned out to be no marker."""
        return [self._take(len(self._held))] if self._held else []

    def content(self) -> list[dict[str, Any]]:
        """All that was read, as the content of a finished message."""
        return [{"type": "text", "text": {"value": "".join(self.value), "annotations": self.annotations}}]

    def _take(self, length: int) -> Piece:
        text, self._held = self._held[:length], self._held[length:]
        self._position += len(text)
        self.value.append(text)
        return Piece(text)

    def _cite(self, found: re.Match[str]) -> Piece:
        start = self._position
        piece = self._take(found.end())
        file_id = self._sources.get((int(found[1]), int(found[2])))
        if file_id is None:
            return piece
        annotation = {
            "type": "file_citation",
            "text": piece.text,
            "start_index": start,
            "end_index": self._position,
            "file_citation": {"file_id": file_id},
        }
        self.annotations.append(annotation)
        return Piece(piece.text, annotation)
