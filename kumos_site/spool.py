"""The folder of half-received uploads, below KUMOS_DATA_DIR: a process that is killed leaves some, the next sweeps it.

Most bodies lie in files without a name, which the system forgets with their process. Django's uploads and the copies
that are read for vector stores have names.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

LOCK = "lock"
STALE_SECONDS = 3600.0
"""What is older belongs to nobody, even where other processes share the folder."""


def occupy(folder: Path) -> IO[str]:
    """Sweeps the folder. The file that comes back must stay open as long as this process uses it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (folder / LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sweep(folder, time.time())  # nobody else is here
    except BlockingIOError:
        sweep(folder, time.time() - STALE_SECONDS)
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def sweep(folder: Path, before: float) -> None:
    """Removes what was last changed before the moment `before`, in unix seconds."""
    for left in folder.iterdir():
        with suppress(FileNotFoundError):  # others sweep, too
            if left.name == LOCK or left.stat().st_mtime > before:
                continue
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()
