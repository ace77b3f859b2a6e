"""What tokens cost, in millionths of a US dollar: the operator's own prices first, then the table of `genai-prices`.

The table is a package that is kept up by others and comes with every update of ours; nothing is fetched. It takes half
a second and 30 MB, so it is read when a price is first asked for that nothing else knows. Nobody's run fails for want
of a price: what cannot be found is None, "no price known", which is not 0.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection, transaction

from runs.completers import providers
from runs.models import ModelPrice, Provider

logger = logging.getLogger(__name__)

BOOK_SECONDS = 5.0
"""How long a process keeps the operator's prices before it looks again."""
WAYS_KEPT = 1024


class NotRead(Exception):
    """The table is not in memory yet, and whoever asks has no time to wait for it."""


@dataclass(frozen=True, slots=True)
class Own:
    """A price of the operator's: US dollars a million tokens, so millionths of a dollar a token."""

    prompt: Decimal
    cached: Decimal
    completion: Decimal

    def cost(self, prompt: int, cached: int, completion: int) -> Decimal:
        return (prompt - cached) * self.prompt + cached * self.cached + completion * self.completion


@dataclass(frozen=True, slots=True)
class Book:
    """The operator's prices by the model's name in small letters, and the addresses of his providers by theirs."""

    prices: Mapping[str, Own] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)

    def named(self, model: str) -> str | None:
        """The name in `prices` that holds for a model: its own as it stands, else what follows the provider in it."""
        whole = model.lower()
        return next((name for name in (whole, whole.partition("/")[2]) if name in self.prices), None)

    def price(self, model: str) -> Own | None:
        name = self.named(model)
        return None if name is None else self.prices[name]


class Way(NamedTuple):
    """How the table may know a model: by its name at a provider, which is told by its id or its address."""

    name: str
    provider: str | None = None
    address: str | None = None


_book: tuple[float, Book] = (0.0, Book())
_read = False
_complained = False


def cost_of(model: str, prompt: int, cached: int, completion: int, *, read: bool = True) -> int | None:
    """What these tokens cost, None where no price is known. `cached`: the part of `prompt` that a cache had.

    With `read=False` it never takes long: it raises NotRead where it would have to read the table first.
    """
    if prompt <= 0 and completion <= 0:
        return 0
    cached = max(0, min(cached, prompt))
    try:
        model = settings.KUMOS_DEFAULT_MODEL if model in {"", "default"} else model
        book = own_book()
        if own := book.price(model):
            return rounded(own.cost(prompt, cached, completion))
        if is_free(model, book):
            return 0
        if not (read or _read):
            raise NotRead
        return listed(ways_of(model, book), prompt, cached, completion)
    except NotRead:
        raise
    except Exception:  # whatever is wrong with a table of others: a run that ended has ended
        complain()
        return None


def complain() -> None:
    global _complained
    if not _complained:
        _complained = True
        logger.exception("prices cannot be told; runs are kept without their cost, and this is said only once")


def rounded(millionths: Decimal) -> int:
    return int(millionths.quantize(Decimal(1), ROUND_HALF_UP))


def own_book() -> Book:
    global _book
    until, book = _book
    if until > time.monotonic():
        return book
    # In a transaction of others a savepoint, so that a query that fails does not take it along.
    with transaction.atomic() if connection.in_atomic_block else nullcontext():
        prices = {
            name.lower(): Own(prompt, prompt if cached is None else cached, completion)
            for name, prompt, cached, completion in ModelPrice.objects.values_list(
                "model", "prompt", "cached", "completion"
            )
        }
        book = Book(prices, dict(Provider.objects.values_list("name", "base_url")))
    _book = time.monotonic() + BOOK_SECONDS, book
    return book


def forget() -> None:
    """The operator changed something: this process looks again, others within BOOK_SECONDS."""
    global _book
    _book = 0.0, Book()


def is_free(model: str, book: Book) -> bool:
    """What answers on the operator's own machines: the model in the box, and those of the Ollama of the settings.

    A provider may be called "ollama" and be anything: it is taken for one on this machine alone, by its address.
    """
    prefix = model.partition("/")[0]
    local = bool(providers.ollama_base())
    if model == "scripted":
        return True
    if prefix == "ollama":
        return local or prefix not in book.addresses or is_loopback(book.addresses[prefix])
    elsewhere = prefix in book.addresses or prefix == "openai" or providers.openai_base()
    return local and not elsewhere


def is_loopback(address: str) -> bool:
    host = urlsplit(address).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def ways_of(model: str, book: Book) -> tuple[Way, ...]:
    """The nearest first. A gateway that the table does not know is taken to ask what the model's maker asks."""
    prefix, slash, name = model.partition("/")
    ways = []
    if slash and prefix in book.addresses:
        ways.append(Way(name, address=book.addresses[prefix]))
    elif base := providers.openai_base():
        ways.append(Way(name if prefix == "openai" and providers.is_openai_itself() else model, address=base))
    if slash:
        ways += [Way(name, provider=prefix), Way(name)]
    return *ways, Way(model)


def listed(ways: tuple[Way, ...], prompt: int, cached: int, completion: int) -> int | None:
    way = known_way(ways)
    if way is None:
        return None
    return rounded(asked(way, prompt, cached, completion) * 1_000_000)


@lru_cache(WAYS_KEPT)
def known_way(ways: tuple[Way, ...]) -> Way | None:
    """The first that leads to a price."""
    for way in ways:
        try:
            asked(way, 1, 0, 1)
        except LookupError:
            continue
        return way
    return None


def asked(way: Way, prompt: int, cached: int, completion: int) -> Decimal:
    """US dollars, by the table. LookupError where it does not know the model."""
    global _read
    from genai_prices import Usage, calc_price  # heavy: see above

    usage = Usage(input_tokens=prompt, cache_read_tokens=cached, output_tokens=completion)
    if way.address is not None:
        answer = calc_price(usage, way.name, provider_api_url=way.address)
    else:
        answer = calc_price(usage, way.name, provider_id=way.provider)
    _read = True
    return answer.total_price
