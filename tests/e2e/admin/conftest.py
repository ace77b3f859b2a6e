"""A served Kumos with a model server that does as it is told, and an operator in a browser.

`page` is the page of somebody who came through the one-time link: the superuser, and a member of the demo project. It
fails its test if the browser complained of anything. `upstream` answers every model that is not `scripted`; the model's
name may be the mode (`400`, `gated:20`, `tool:f:{}`: tests/upstream.py).
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, StorageState

from tests.e2e.chat.browsing import Api, arrived, chromium, watched_page
from tests.process import KumosProcess
from tests.upstream import Upstream


@pytest.fixture(scope="package")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[KumosProcess]:
    data_dir = tmp_path_factory.mktemp("admin")
    settings = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": "sk-upstream"}
    with KumosProcess(data_dir, **settings) as process:
        yield process


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    yield from chromium()


@pytest.fixture(scope="package")
def api(server: KumosProcess) -> Iterator[Api]:
    api = Api(server)
    yield api
    api.http.close()


@pytest.fixture(scope="package")
def operator(browser: Browser, server: KumosProcess) -> StorageState:
    return arrived(browser, server)


@pytest.fixture
def page(
    browser: Browser, server: KumosProcess, operator: StorageState, complaints: list[str], excused: list[str]
) -> Iterator[Page]:
    yield from watched_page(browser, server, operator, complaints)
    assert [one for one in complaints if not any(part in one for part in excused)] == []
