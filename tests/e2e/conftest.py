"""One served demo for all tests over HTTP; those that kill or configure servers make their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.process import KumosProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("kumos")) as process:
        yield process
