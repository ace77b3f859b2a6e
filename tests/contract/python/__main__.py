"""`python -m tests.contract.python openai|langchain [MODE:SCENARIO …]`: plays those scenarios, or all of them.

Prints a JSON line for each that ended: {"mode", "scenario", "seconds", "failure": null or the traceback}. Several are
played at once: most of the time they wait. Each thread has its own clients, for an asynchronous one belongs to a loop.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor

from tests.contract.python import SCENES
from tests.contract.python.stage import MODES, SCENARIOS, Kumos

PLAYED_AT_ONCE = 4

here = threading.local()
printing = threading.Lock()


def play(mode: str, name: str) -> None:
    kumos = here.__dict__.get(mode) or here.__dict__.setdefault(mode, Kumos(mode, os.environ["CONTRACT_KEY"]))
    started = time.monotonic()
    failure = None
    try:
        SCENARIOS[name](kumos)
    except Exception as error:
        failure = report(error)
    ended = {"mode": mode, "scenario": name, "seconds": round(time.monotonic() - started, 2), "failure": failure}
    with printing:
        sys.stdout.write(json.dumps(ended) + "\n")
        sys.stdout.flush()


def report(error: BaseException) -> str:
    """The traceback with the values of our own frames. No pytest here, so nothing else says what was compared."""
    found = traceback.TracebackException.from_exception(error, capture_locals=True)
    found.stack[:] = [frame for frame in found.stack if "/tests/contract/" in frame.filename] or found.stack
    cause = f"{error.__cause__}\n" if error.__cause__ else ""
    return cause + "".join(found.format(chain=False))


def main(scene: str, asked: list[str]) -> None:
    warnings.simplefilter("ignore")  # the SDKs' own: that the Assistants API is to end
    for module in SCENES[scene]:
        importlib.import_module(f"tests.contract.python.{module}")
    cases = asked or [f"{mode}:{name}" for mode in MODES for name in SCENARIOS]
    with ThreadPoolExecutor(PLAYED_AT_ONCE) as pool:
        for ended in [pool.submit(play, *case.split(":")) for case in cases]:
            ended.result()


main(sys.argv[1], sys.argv[2:])
