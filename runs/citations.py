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
BRACKET = re.compile("[【】]")
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
        text, self._held = self._held + text, ""
        place = 0
        while place < len(text):
            start = text.find(OPENING, place)
            if start != place:  # plain text up to the next bracket, or all of it
                end = len(text) if start < 0 else start
                pieces.append(self._take(text[place:end]))
            elif (found := MARKER.match(text, place)) is not None:
                end = found.end()
                pieces.append(self._cite(found))
            elif len(text) - place > LONGEST or BRACKET.search(text, place + 1):
                end = place + 1
                pieces.append(self._take(OPENING))  # a bracket like any other
            else:
                self._held = text[place:]
                break
            place = end
        return pieces

    def end(self) -> list[Piece]:
        """What was held back and turned out to be no marker."""
        rest, self._held = self._held, ""
        return [self._take(rest)] if rest else []

    def content(self) -> list[dict[str, Any]]:
        """All that was read, as the content of a finished message."""
        return [{"type": "text", "text": {"value": "".join(self.value), "annotations": self.annotations}}]

    def _take(self, text: str) -> Piece:
        self._position += len(text)
        self.value.append(text)
        return Piece(text)

    def _cite(self, found: re.Match[str]) -> Piece:
        start = self._position
        piece = self._take(found[0])
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
