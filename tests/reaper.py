"""Kills a server with all of its processes. As a program: waits until its starter is gone, then does that.

`python reaper.py [FOLDER]` reads its standard input to the end, that is until nobody holds the other end of the pipe;
kills what it was told there, and what `FOLDER/server.pid` names; removes the folder. Standard library only: it must
start fast.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path


def alive(pid: int) -> bool:
    """A zombie, which waits for its parent, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def family(pid: int) -> list[int]:
    """`pid` and the processes that it has started."""
    found = [pid]
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def signal_all(pid: int, number: signal.Signals) -> list[int]:
    """`number` for the family of `pid`; whom it reached."""
    pids = family(pid)
    for one in pids:
        with suppress(ProcessLookupError):
            os.kill(one, number)
    return pids


def kill_all(pid: int) -> None:
    """SIGKILL for the family of `pid`; returns when none of them holds anything any more."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)  # it starts no more
    pids = signal_all(pid, signal.SIGKILL)
    while any(alive(one) for one in pids):
        time.sleep(0.01)


def started_at(pid: int) -> str | None:
    """In ticks since the machine's start: tells a process from a later one with its number."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def bind(pid: int) -> None:
    """From now on `pid` is killed when this process has ended, whatever ended it."""
    told = own().stdin
    assert told is not None
    told.write(f"{pid} {started_at(pid)}\n".encode())
    told.flush()


@cache
def own() -> subprocess.Popen[bytes]:
    """The reaper of this process."""
    process = subprocess.Popen([sys.executable, "-I", "-S", __file__], stdin=subprocess.PIPE, start_new_session=True)
    atexit.register(process.communicate)  # an end in order is an end as well
    return process


def main(folder: Path | None) -> None:
    for line in sys.stdin.buffer.read().decode().splitlines():
        number, _, start = line.partition(" ")
        if started_at(int(number)) == start:
            kill_all(int(number))
    if folder is None:
        return
    pid = folder / "server.pid"
    if pid.exists():
        kill_all(int(pid.read_text()))
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
