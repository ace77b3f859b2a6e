"""Every scenario with every version of the official SDKs: code written for OpenAI runs here as it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.contract.sdks import SDKS, Play, Sdk

pytestmark = pytest.mark.contract


def cases_of(sdk: Sdk) -> list[object]:
    reason = f"{sdk.name} is not installed as pinned; `bin/sdks` does that where it can"
    missing = pytest.mark.skipif(not sdk.is_installed, reason=reason)
    together = pytest.mark.xdist_group(sdk.name)  # one worker plays them all, at once
    marks = [missing, together, *([] if sdk.is_newest else [pytest.mark.any_database])]
    # The short form: the newest, and the oldest in one of its modes. `make contract-all` plays everything.
    short = [case for case in sdk.cases if sdk.is_newest or (sdk.is_oldest and case.startswith(sdk.cases[0][:5]))]
    return [
        pytest.param(
            *(sdk, case), id=f"{sdk.name}-{case}", marks=marks if case in short else [*marks, pytest.mark.slow]
        )
        for case in sdk.cases
    ]


@pytest.mark.parametrize(("sdk", "case"), [case for sdk in SDKS for case in cases_of(sdk)])
def test_scenario(sdk: Sdk, case: str, played: Callable[[Sdk], Play]) -> None:
    failure = played(sdk).failure_of(case)
    if failure:
        pytest.fail(failure, pytrace=False)
