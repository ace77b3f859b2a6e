"""The model names the assistant's form suggests."""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings


def known_models() -> Iterable[str]:
    """What the environment names; any other name the provider knows works as well."""
    return filter(None, ("scripted", settings.KUMOS_DEFAULT_MODEL, settings.OLLAMA_MODEL))
