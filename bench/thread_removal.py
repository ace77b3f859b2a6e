"""How long others wait for the database while a thread with a long log is removed (the bar: 0.3 s at the most).

    python -m bench.thread_removal [--events 100000] [--postgres]

Somebody adds a message to another thread every few milliseconds, first alone and then beside the removal, which goes on
in the process of the deletion and then as a runner's sweep does. On SQLite there is one writer, so the longest of these
waits is the longest step of the removal.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from itertools import batched

from django.core.management import call_command
from django.db import connection

from assistants.conversation import add_message, delete_thread, remove_departed
from assistants.models import Project, Thread
from bench.apart import measure_apart
from streaming.models import Event

BAR_SECONDS = 0.3
ALONE_SECONDS = 5.0
PAUSE_SECONDS = 0.005
BATCH = 5_000
DELTA = '{"id": "msg_bench", "object": "thread.message.delta", "delta": {"content": [{"index": 0, "type": "text"}]}}'


def long_thread(project: Project, events: int) -> Thread:
    thread = Thread.objects.create(project=project, last_seq=events)
    for numbers in batched(range(1, events + 1), BATCH):
        made = [
            Event(thread=thread, seq=seq, run_id="run_bench", name="thread.message.delta", data=DELTA)
            for seq in numbers
        ]
        Event.objects.bulk_create(made)
    return thread


class Writer(threading.Thread):
    """Adds messages until it is told to stop; what each took, in seconds."""

    def __init__(self, thread: Thread) -> None:
        super().__init__()
        self.thread = thread
        self.over = threading.Event()
        self.took: list[float] = []

    def run(self) -> None:
        while not self.over.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            add_message(self.thread, {"role": "user", "content": [], "metadata": {}})
            self.took.append(time.perf_counter() - began)
        connection.close()

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.over.set()
        self.join()


def remove(thread: Thread) -> float:
    """Seconds until nothing of it is left."""
    began = time.perf_counter()
    delete_thread(thread)
    while Thread._base_manager.filter(pk=thread.pk).exists():
        remove_departed()
    return time.perf_counter() - began


def measure(events: int) -> bool:
    call_command("migrate", verbosity=0)
    project = Project.objects.create(name="Bench")
    thread, other = long_thread(project, events), Thread.objects.create(project=project)
    with Writer(other) as alone:
        time.sleep(ALONE_SECONDS)
    with Writer(other) as beside:
        seconds = remove(thread)
    longest = max(beside.took)
    verdict = "ok" if longest <= BAR_SECONDS else "MISSED"
    before, during = (statistics.median(writer.took) * 1000 for writer in (alone, beside))
    print(
        f"{connection.vendor}: {events:,} events removed in {seconds:.1f} s; a message took"
        f" {before:.1f} ms at the median and {max(alone.took) * 1000:.0f} at most without,"
        f" {during:.1f} and {longest * 1000:.0f} beside it"
        f" ({len(beside.took)} messages) {verdict}"
    )
    return verdict == "ok"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--postgres", action="store_true", help="a private PostgreSQL instead of SQLite")
    given = parser.parse_args()
    measure_apart("bench.thread_removal", lambda: measure(given.events), postgres=given.postgres)


if __name__ == "__main__":
    main()
