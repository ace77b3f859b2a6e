"""What those remember who work on runs in the state machine, and how they do what may be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from django.db import transaction

from assistants.errors import ApiError
from runs.models import Run, RunStep
from runs.progress import OpenMessage


@dataclass
class Handle:
    """What a worker remembers of a run it once claimed. It stays when the worker died: then it is a zombie's."""

    run: Run
    message: OpenMessage | None = None
    step: RunStep | None = None
    calls: int = 0


def in_savepoint(work: Callable[[], Any]) -> None:
    with transaction.atomic():
        work()


@contextmanager
def refused(wanted: bool) -> Iterator[None]:
    if wanted:
        with pytest.raises(ApiError), transaction.atomic():
            yield
    else:
        with transaction.atomic():
            yield
