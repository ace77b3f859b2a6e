"""Which models there are (contract 6): those in the box and in the settings, and what the providers list themselves.

A provider is asked for little, not for long, and not again for a minute; one that has no list hides nothing: its models
work all the same.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import httpx
import orjson

from runs.completers import CompleterError, providers
from runs.completers.openai_compatible import tls
from runs.completers.providers import Server

logger = logging.getLogger(__name__)

ASK_SECONDS = 3.0
AT_ONCE = 8
KEPT_SECONDS = 60.0
LIST_BYTES_MAX = 1024 * 1024
MODELS_MAX = 1000
KEYLESS = (401, 403)
"""Answers to a key that is not taken."""
ID_MAX = 256
BOXED = 1_767_225_600
"""When models were made of which nobody says it: the first day of 2026, as unix seconds."""

_lists: dict[tuple[str, str], tuple[float, Listing]] = {}
"""(base URL, key) → until when it holds, and what it is."""
_asking: set[tuple[str, str]] = set()
_changed = threading.Condition()


@dataclass(frozen=True, slots=True)
class Model:
    """`created` in unix seconds."""

    id: str
    created: int = BOXED
    owned_by: str = "kumos"


@dataclass(frozen=True, slots=True)
class Listing:
    """What a server said when it was asked for its models: None and `problem`, in words, where it gave no list."""

    models: Sequence[Model] | None
    problem: str = ""
    seconds: float = 0.0
    away: bool = False
    """Whether it cannot be reached or refuses the key: then its models do not work either."""


def models() -> list[Model]:
    """All that are known, the default first. May ask the providers and take some seconds."""
    found = {id: Model(id) for id in providers.models()}
    listings = asked()
    prefixes = tuple(server.prefix for server, _ in listings if server.prefix)
    for server, listing in listings:
        for model in listing.models or ():
            id = f"{server.prefix}{model.id}"
            if not server.prefix and id.startswith(prefixes):
                continue  # under that name another one answers
            if id != providers.SCRIPTED:  # which never leaves this process
                found[id] = replace(model, id=id)
    return list(found.values())


def find(id: str) -> Model | None:
    """The model called `id`; one that no provider lists is believed in only where its provider has no list."""
    for model in models():
        if model.id == id:
            return model
    try:
        server, _ = providers.server_for(id)
        server.completer()
    except CompleterError:
        return None
    return Model(id) if listing_of(server).models is None else None


def asked() -> list[tuple[Server, Listing]]:
    """All that may be asked, each with its list. Several at once: together they take no longer than the slowest."""
    servers = providers.servers()
    if len(servers) < 2:
        return [(server, listing_of(server)) for server in servers]
    with ThreadPoolExecutor(min(len(servers), AT_ONCE)) as pool:
        return list(zip(servers, pool.map(listing_of, servers), strict=True))


def listing_of(server: Server, *, anew: bool = False) -> Listing:
    """The server's list, maybe KEPT_SECONDS old, unless it is to be asked `anew`."""
    if server.problem:
        return Listing(None, server.problem)
    place = (server.base_url, server.api_key)
    known = _lists.get(place)
    if known and known[0] > time.monotonic() and not anew:
        return known[1]
    # One asks. Who comes meanwhile gets what was known, if anything was: requests have few threads to wait on.
    with _changed:
        if place in _asking and not anew:
            if known:
                return known[1]
            _changed.wait_for(lambda: place in _lists, timeout=2 * ASK_SECONDS)
            return _lists[place][1] if place in _lists else Listing(None, "It does not answer.")
        _asking.add(place)
    try:
        listing = listed_by(server)
        _lists[place] = time.monotonic() + KEPT_SECONDS, listing
        return listing
    finally:
        with _changed:
            _asking.discard(place)
            _changed.notify_all()


def listed_by(server: Server) -> Listing:
    """Asks it now."""
    began = time.monotonic()
    try:
        models = read_list(orjson.loads(fetched(server.base_url, server.api_key)))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        logger.warning("the provider %s gives no list of its models: %s", server.name, type(error).__name__)
        away = isinstance(error, httpx.HTTPError | TooSlow) or (isinstance(error, Refused) and error.status in KEYLESS)
        return Listing(None, in_words(error, server), time.monotonic() - began, away)
    return Listing(models, "", time.monotonic() - began)


class Refused(ValueError):
    """It answered with a status that is no success."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def in_words(error: Exception, server: Server) -> str:
    """Why there is no list, and what to do. Never a key, nor what a stranger's server says."""
    match error:
        case Refused(status=status) if status in KEYLESS:
            which = server.key_place if server.api_key else "it was sent none"
            return f"It refuses the key ({status}): {which}."
        case Refused(status=404):
            return "It has no list of models there (404). Does the base URL end as it should (…/v1)?"
        case Refused(status=status) if 300 <= status < 400:
            return f"It redirects ({status}). Set its final address as base URL."
        case Refused(status=status):
            return f"It answered {status} when it was asked for its models."
        case httpx.TimeoutException() | TooSlow():
            return f"It did not answer within {ASK_SECONDS:g} seconds."
        case httpx.ConnectError():
            return "It cannot be reached. Is it running, and is its base URL right?"
        case httpx.HTTPError():
            return "The connection to it broke."
        case httpx.InvalidURL():
            return "Its base URL is not an address."
    return "What it answered is no list of models. Does the base URL end as it should (…/v1)?"


class TooSlow(ValueError):
    """It went on answering for longer than anybody waits."""


def fetched(base_url: str, api_key: str) -> bytes:
    """GET {base_url}/models. Raises httpx.HTTPError, and ValueError for an answer that is too large or too slow."""
    headers = {b"Accept-Encoding": b"identity"}
    if api_key:
        headers[b"Authorization"] = b"Bearer " + api_key.encode()
    give_up_at = time.monotonic() + ASK_SECONDS
    content = bytearray()
    with (
        httpx.Client(verify=tls(), timeout=ASK_SECONDS, follow_redirects=False) as client,
        client.stream("GET", f"{base_url}/models", headers=headers) as response,
    ):
        if not response.is_success:
            raise Refused(response.status_code)
        for piece in response.iter_raw():
            content += piece
            if time.monotonic() > give_up_at:
                raise TooSlow
            if len(content) > LIST_BYTES_MAX:
                raise ValueError("too much")
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
