"""A value that is made once and kept in a file, as a secret: processes that start together agree on one.

Imports nothing of Django: the settings need it, too.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def kept(path: Path, make: Callable[[], str]) -> str:
    """What `path` holds, which is what `make` gave whoever came first."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # what people say and upload may be in there, too
        mine = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
        mine.touch(mode=0o600)
        mine.write_text(make())
        with suppress(FileExistsError):
            path.hardlink_to(mine)  # whole, or not at all
        mine.unlink()
    return path.read_text().strip()
