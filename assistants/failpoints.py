"""Places at which a test can make this process die, fail or stand still. For tests only: without `KUMOS_FAILPOINTS`
none of them does anything, and nothing but that variable, read at the start, can arm one.

`name:count[:action]`, several with commas between: what happens when the process comes by for the count-th time.
Actions: `crash` (SIGKILL for itself, the default), `raise` (Tripped), `stall` (SIGSTOP, until somebody sends SIGCONT).
The places and what they stand for are listed in tests/chaos/test_f04_failpoints.py.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.db import transaction

logger = logging.getLogger(__name__)

ACTIONS = ("crash", "raise", "stall")

_lock = threading.Lock()


class Tripped(Exception):
    """What `raise` raises: an error that nobody expects."""


@dataclass(slots=True)
class Armed:
    left: int
    """How many times the process has yet to come by."""
    action: str


def parse(raw: str) -> dict[str, Armed]:
    """The value of KUMOS_FAILPOINTS. ValueError for one that is not understood."""
    armed = {}
    for word in filter(None, raw.replace(" ", "").split(",")):
        name, count, action = [*word.split(":"), "crash"][:3]
        if action not in ACTIONS or not count.isdecimal() or int(count) < 1:
            raise ValueError("expected name:count[:crash|raise|stall], …")
        armed[name] = Armed(int(count), action)
    return armed


def failpoint(name: str) -> None:
    """Something may happen here."""
    if settings.KUMOS_FAILPOINTS:
        _come_by(name)


def failpoint_on_commit(name: str) -> None:
    """Something may happen once the surrounding transaction has committed, before what is registered after this."""
    if settings.KUMOS_FAILPOINTS:
        transaction.on_commit(partial(_come_by, name), robust=True)


def _come_by(name: str) -> None:
    with _lock:
        point = settings.KUMOS_FAILPOINTS.get(name)
        if point is None:
            return
        point.left -= 1
        if point.left:
            return
    logger.warning("failpoint %s: %s", name, point.action)
    if point.action == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "stall":
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)  # this thread first, so it goes no step further
    else:
        raise Tripped(name)
