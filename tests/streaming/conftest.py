"""Threads with a log, and layers of chosen quality for the bells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from channels.layers import channel_layers
from pytest_django.fixtures import Settings

from assistants.models import Project, Thread
from streaming.journal import Draft


@pytest.fixture
def thread(transactional_db: None) -> Thread:
    return Thread.objects.create(project=Project.objects.create(name="Atlas"))


@pytest.fixture
def use_layer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """`use_layer(backend, **config)`: the default channel layer from now on."""

    def use(backend: str, **config: Any) -> None:
        settings.CHANNEL_LAYERS = {"default": {"BACKEND": backend, "CONFIG": config}}
        channel_layers.backends.clear()
        monkeypatch.setattr("assistants.layer._failed_at", None)  # what an earlier layer did is not its fault

    yield use
    channel_layers.backends.clear()


RUN = "run_" + "a" * 24


def drafts(count: int, *, run_id: str = RUN, name: str = "thread.message.delta") -> list[Draft]:
    return [Draft(name, f'{{"n":{number}}}', run_id) for number in range(count)]
