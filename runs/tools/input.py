"""One text argument of a tool call, read while the model still writes the call's JSON: code, for example.

What the model sends in pieces, clients see in pieces: neither waits for the end.
"""

from __future__ import annotations

import re

HALF = "[dD][89abAB][0-9a-fA-F]{2}"  # the first half of a character that JSON writes as two escapes
TEXT = re.compile(
    r'(?:[^"\\]|\\[^u]|\\u(?![dD][89abAB])[0-9a-fA-F]{4}'
    rf"|\\u{HALF}(?:\\u[0-9a-fA-F]{{4}}|(?=[^\\])|(?=\\[^u])))*+"
)
"""As much of a JSON string as is complete: it stops in front of the closing quote and of half an escape."""
ESCAPE = re.compile(rf"\\u{HALF}\\u[0-9a-fA-F]{{4}}|\\u[0-9a-fA-F]{{4}}|\\[^u]")
SHORT = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}


class InputReader:
    """`read(piece)` gives the text that `piece` adds to the argument `name`.

    Arguments that are no JSON object are the text themselves: some models write code where its JSON is due.
    """

    def __init__(self, name: str) -> None:
        self._opening = re.compile(rf'"{re.escape(name)}"\s*:\s*"')
        self._place = "start"  # then "object" in front of the text, "text", "end"; or "plain"
        self._rest = ""

    def read(self, piece: str) -> str:
        self._rest += piece
        if self._place == "start" and (begun := self._rest.lstrip()):
            self._place = "object" if begun.startswith("{") else "plain"
        if self._place == "object" and (found := self._opening.search(self._rest)):
            self._place, self._rest = "text", self._rest[found.end() :]
        if self._place not in ("text", "plain"):
            return ""
        end = len(self._rest)
        if self._place == "text":
            whole = TEXT.match(self._rest)
            end = whole.end() if whole else 0
        text, self._rest = self._rest[:end], self._rest[end:]
        if self._place == "plain":
            return text
        if self._rest.startswith('"'):
            self._place, self._rest = "end", ""
        return ESCAPE.sub(lambda escape: character(escape[0]), text)


def character(escape: str) -> str:
    if escape[1] != "u":
        return SHORT.get(escape[1], escape[1])
    units = b"".join(int(code, 16).to_bytes(2) for code in escape.split("\\u")[1:])
    return units.decode("utf-16-be", "replace")
