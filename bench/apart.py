"""A measurement on a database of its own. Django reads its settings before a measurement is imported, so the process
begins once more, with the right ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from typing import NoReturn

from tests.backends import Postgres

INNER = "KUMOS_BENCH_INNER"


def measure_apart(module: str, measure: Callable[[], bool], *, postgres: bool) -> NoReturn:
    """Ends the process: with 0 where `measure` found its bar kept. `module` is run again, with the same arguments."""
    if os.environ.get(INNER):
        sys.exit(not measure())
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {**os.environ, INNER: "1", "KUMOS_DATA_DIR": folder, "DATABASE_URL": ""}
        if postgres:
            environment["DATABASE_URL"] = stack.enter_context(Postgres()).url
        sys.exit(subprocess.call([sys.executable, "-m", module, *sys.argv[1:]], env=environment))
