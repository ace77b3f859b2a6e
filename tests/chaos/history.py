"""What happened in a run of a chaos test, as a directory: `history.jsonl` from the clients and the injector, the tables
as they were at the end, the servers' logs. The checker needs nothing else, so a kept history can be checked again.

Lines of `history.jsonl` are objects with `t` (seconds since the epoch), `kind` and, by kind:

    answer    method, path, status, seconds                   a request was answered
    accepted  prompt, run, thread, model                      a 2xx for a run; with a streamed one, `run` may be ""
    follows   who, run, thread, place                         a subscriber: place is "start", "late" or "cut"
    open      who, after                                      one connection of it, from that cursor (null for none)
    event     who, id, name, sha                              what it received; sha: SHA-256 of the data
    end       who, how                                        of a connection: "done", "clean" (without done), "lost"
                                                              (transport error), "left" (by the client), "error", "odd"
    told      prompt, status, sha                             what a driver with the official SDK ended with
    owed      prompt, status, code, calls, reason             how the run must end: status, last_error.code, how many
                                                              calls of the upstream, why its open message is incomplete
    cancel    prompt, run, status                             a cancel was answered
    fault     what, …                                         the injector did something
    stranger  path, status, found                             what the other tenant saw
    process   name, pid, when, files, threads, memory         a server, when it was "ready" and at the "end"
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, TextIO

HISTORY = "history.jsonl"
TABLES = "tables.json"
ABOUT = "about.json"


class History:
    """Appends lines; a context manager. For one event loop."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = (directory / HISTORY).open("a", buffering=1 << 16)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()

    def write(self, kind: str, **fields: Any) -> None:
        self._file.write(json.dumps({"t": time.time(), "kind": kind, **fields}) + "\n")

    def note(self, name: str, content: Any) -> None:
        """A file of its own beside the history."""
        (self.directory / name).write_text(json.dumps(content))


def lines(directory: Path) -> Iterator[dict[str, Any]]:
    with (directory / HISTORY).open() as file:
        for line in file:
            yield json.loads(line)


def noted(directory: Path, name: str) -> Any:
    return json.loads((directory / name).read_text())
