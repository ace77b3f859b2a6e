"""One served demo for all tests over HTTP, and a maker of servers for those that kill or configure theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.process import KumosProcess

MakeServer = Callable[..., KumosProcess]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("kumos")) as process:
        yield process


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[MakeServer]:
    """`make_server(OPENAI_BASE_URL=…)`: a server of its own for one test, stopped after it."""
    with ExitStack() as stack:

        def make(**settings: str) -> KumosProcess:
            return stack.enter_context(KumosProcess(tmp_path, **settings))

        yield make
