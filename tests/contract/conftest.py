"""One served Kumos for all SDKs, each in a project of its own; beside it one whose database fails on command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache

import pytest

from tests.contract.sdks import SDKS, Play, Sdk, play
from tests.process import KumosProcess

PACE = {"KUMOS_SCRIPTED_TOKENS_PER_SECOND": "25", "KUMOS_HEARTBEAT_SECONDS": "0.02"}
"""A word every 40 ms, and a heartbeat after 20 ms of silence: no stream is without heartbeats (test_heartbeats)."""


@pytest.fixture(scope="session")
def kumos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("contract"), **PACE) as process:
        yield process


@pytest.fixture(scope="session")
def fragile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("fragile")) as process:
        yield process


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, kumos: KumosProcess, fragile: KumosProcess) -> Callable[[Sdk], Play]:
    """All cases of an SDK that this session asks for, played when the first of them is."""
    asked: dict[str, list[str]] = {sdk.name: [] for sdk in SDKS}
    for item in request.session.items:
        params = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        if isinstance(sdk := params.get("sdk"), Sdk):
            asked[sdk.name].append(str(params["case"]))

    @cache
    def of(name: str) -> Play:
        (sdk,) = [sdk for sdk in SDKS if sdk.name == name]
        return play(
            sdk,
            asked[name],
            CONTRACT_URL=f"{kumos.url}/v1",
            CONTRACT_KEY=kumos.manage("createkey", "--project", name),
            CONTRACT_DEMO_KEY=kumos.key,
            CONTRACT_FRAGILE_URL=f"{fragile.url}/v1",
            CONTRACT_FRAGILE_DATABASE=fragile.database_url,
            CONTRACT_FRAGILE_LOCK=str(fragile.data_dir / "outage.lock"),
            CONTRACT_PYTHON=sys.executable,
        )

    return lambda sdk: of(sdk.name)
