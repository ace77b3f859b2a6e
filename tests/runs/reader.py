"""A follower without its waiting: a cursor, and what its process has heard (streaming/follow.py)."""

from __future__ import annotations

from collections.abc import Iterable

from streaming import journal
from streaming.follow import Watched
from streaming.journal import Entry
from streaming.models import DELTAS, Event


class Reader:
    """It reads when it is told to, and compares what came with what the log has."""

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        self.watched = Watched(thread_id)
        self.cursor = 0

    def reconnect(self) -> None:
        """With its cursor, to another process, which has heard nothing yet."""
        self.watched = Watched(self.thread_id)

    def hear(self, events: Iterable[Event]) -> None:
        for event in events:
            self.watched.heard(Entry(self.thread_id, event.seq, event.run_id, event.name, event.data))

    def read(self) -> None:
        """To the end, as `follow` does after a poll; what came must be what the log has."""
        log = Event.objects.filter(thread_id=self.thread_id)
        self.watched.reached(journal.last_seqs([self.thread_id])[self.thread_id])
        wanted = list(log.filter(seq__gt=self.cursor).order_by("seq").values_list("seq", flat=True))
        got: list[int] = []
        while True:
            batch = self.watched.after(self.cursor)
            if batch is None:
                batch = journal.read_after(self.thread_id, self.cursor)
            if not batch:
                break
            got += [entry.seq for entry in batch]
            self.cursor = got[-1]
        deltas = log.filter(name__in=DELTAS).values_list("seq", flat=True)
        assert [seq for seq in got if seq in set(wanted)] == wanted
        assert got == sorted(set(got))
        assert len(got) == len(wanted) or not set(got) - set(wanted) & set(deltas)
