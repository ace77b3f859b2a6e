"""Which models there are (contract 6): those in the box and in the settings, and what the providers list themselves.

A provider is asked for little, not for long, and not again for a minute; one that has no list hides nothing: its models
work all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson
from django.conf import settings

from runs.completers import CompleterError, providers
from runs.completers.openai_compatible import tls

logger = logging.getLogger(__name__)

ASK_SECONDS = 3.0
KEPT_SECONDS = 60.0
LIST_BYTES_MAX = 1024 * 1024
MODELS_MAX = 1000
ID_MAX = 256
BOXED = 1_767_225_600
"""When models were made of which nobody says it: the first day of 2026, as unix seconds."""

_lists: dict[tuple[str, str], tuple[float, list[Model] | None]] = {}
_asking = threading.Lock()


@dataclass(frozen=True, slots=True)
class Model:
    """`created` in unix seconds."""

    id: str
    created: int = BOXED
    owned_by: str = "kumos"


def models() -> list[Model]:
    """All that are known, the default first. May ask the providers and take some seconds."""
    found = {id: Model(id) for id in providers.models()}
    for listed, prefix in asked():
        for model in listed or ():
            id = f"{prefix}{model.id}"
            if id != "scripted":  # which never leaves this process
                found[id] = replace(model, id=id)
    return list(found.values())


def find(id: str) -> Model | None:
    """The model called `id`; one that no provider lists is believed in only where a provider has no list."""
    for model in models():
        if model.id == id:
            return model
    try:
        providers.completer_for(id)
    except CompleterError:
        return None
    return Model(id) if any(listed is None for listed, _ in asked()) else None


def asked() -> Iterator[tuple[list[Model] | None, str]]:
    """For each provider: its list, or None where it has none, and what its names begin with here."""
    if base := providers.openai_base():
        yield provider_list(base, settings.OPENAI_API_KEY), ""
    if base := providers.ollama_base():
        yield provider_list(base, ""), "ollama/"


def provider_list(base_url: str, api_key: str) -> list[Model] | None:
    """The provider's list, maybe KEPT_SECONDS old; None where it gives none."""
    place = (base_url, api_key)
    until, listed = _lists.get(place, (0.0, None))
    if until > time.monotonic():
        return listed
    # One asks. Who comes meanwhile gets what was known, if anything was: requests have few threads to wait on.
    if not _asking.acquire(blocking=place not in _lists):
        return listed
    try:
        until, listed = _lists.get(place, (0.0, None))
        if until < time.monotonic():
            try:
                listed = read_list(orjson.loads(fetched(base_url, api_key)))
            except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
                logger.warning("a provider gives no list of its models: %s", type(error).__name__)
                listed = None
            _lists[place] = time.monotonic() + KEPT_SECONDS, listed
        return listed
    finally:
        _asking.release()


def fetched(base_url: str, api_key: str) -> bytes:
    """GET {base_url}/models. Raises httpx.HTTPError, and ValueError for an answer that is too large or too slow."""
    headers = {"Accept-Encoding": "identity"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    give_up_at = time.monotonic() + ASK_SECONDS
    content = bytearray()
    with (
        httpx.Client(verify=tls(), timeout=ASK_SECONDS, follow_redirects=False) as client,
        client.stream("GET", f"{base_url}/models", headers=headers) as response,
    ):
        if not response.is_success:
            raise ValueError(f"status {response.status_code}")
        for piece in response.iter_raw():
            content += piece
            if len(content) > LIST_BYTES_MAX or time.monotonic() > give_up_at:
                raise ValueError("too much, or too slow")
    return bytes(content)


def read_list(body: Any) -> list[Model]:
    """What is usable of a list as OpenAI, Ollama, vLLM … send it. ValueError where it is none."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list):
        raise ValueError("no list")
    found = []
    for item in data[:MODELS_MAX]:
        id = item.get("id") if isinstance(item, dict) else None
        if isinstance(id, str) and 0 < len(id) <= ID_MAX and id.isprintable():
            created, owner = item.get("created"), item.get("owned_by")
            whole = isinstance(created, int) and not isinstance(created, bool) and 0 <= created < 2**53
            found.append(Model(id, created if whole else BOXED, str(owner)[:ID_MAX] if owner else "provider"))
    return found
