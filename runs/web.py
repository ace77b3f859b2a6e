"""The public web, as this server dares to visit it for a client: public addresses only, little, and not for long.

A host is resolved once, every address of it is checked, and the connection goes to a checked address, so that no second
answer of a name server can change what is reached. Redirects are new visits. What the bytes are, `images.py` decides.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import httpx
from django.conf import settings

from runs.completers.openai_compatible import tls

REDIRECTS_MAX = 3
ADDRESSES_MAX = 4
"""How many addresses of one host are tried."""
CONNECT_SECONDS = 5.0
RESOLVERS = 8
"""Threads of their own for looking names up: one that does not resolve blocks its thread for many seconds."""
FORBIDDEN = frozenset({ipaddress.ip_address("168.63.129.16")})
"""Public by its number, but the inside of a cloud: Azure's metadata."""
TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""NAT64: an IPv4 address in IPv6's clothes (RFC 6052)."""
HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "Kumos"}

_resolvers = ThreadPoolExecutor(RESOLVERS, thread_name_prefix="kumos-resolver")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Fetched:
    """A body, and the media type that its server claims, in lower case and without parameters; maybe empty."""

    content: bytes
    kind: str


class Unfetchable(Exception):
    """Why there is nothing, as half a sentence. `passing`: the network or the other server is to blame."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.passing = passing


async def fetch(url: str, limit: int) -> Fetched:
    """What stands at `url`, at most `limit` bytes. Raises Unfetchable, at the latest after KUMOS_IMAGE_SECONDS."""
    seconds = settings.KUMOS_IMAGE_SECONDS
    try:
        async with asyncio.timeout(seconds):
            for _ in range(REDIRECTS_MAX + 1):
                found = await visit(url, limit)
                if isinstance(found, Fetched):
                    return found
                url = found
    except TimeoutError:
        raise Unfetchable(f"it did not arrive within {seconds:g} seconds", passing=True) from None
    raise Unfetchable(f"it is behind more than {REDIRECTS_MAX} redirects")


async def visit(url: str, limit: int) -> Fetched | str:
    """The body at `url`, or the address it redirects to."""
    try:
        place = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise Unfetchable("its address is none") from None
    if place.scheme not in {"http", "https"} or not place.host:
        raise Unfetchable("its address does not begin with http:// or https://")
    if place.port is not None and not 0 < place.port < 65536:
        raise Unfetchable("its address is none")
    broken: httpx.HTTPError | None = None
    for address in await checked_addresses(place):
        try:
            return await read(place, address, limit)
        except httpx.InvalidURL:  # httpx looks at redirects, too
            raise Unfetchable("it redirects to an address that is none") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            broken = error
        except httpx.HTTPError as error:
            broken = error
            break
    raise Unfetchable("its server cannot be reached, or broke off", passing=True) from broken


async def checked_addresses(place: httpx.URL) -> list[Address]:
    """The addresses of the host, all of which are public or, where the host is one of KUMOS_IMAGE_HOSTS, may be any."""
    loop = asyncio.get_running_loop()
    host = place.raw_host.decode("ascii")
    try:
        port = place.port or {"http": 80, "https": 443}[place.scheme]
        found = await loop.run_in_executor(_resolvers, look_up, host, port)
    except (OSError, ValueError):  # of which UnicodeError is one
        raise Unfetchable("its host has no address", passing=True) from None
    addresses = [ipaddress.ip_address(info[4][0]) for info in found]
    named = host.lower() in {name.lower() for name in settings.KUMOS_IMAGE_HOSTS}
    if not named and not all(is_public(address) for address in addresses):
        raise Unfetchable("its host is not on the public internet (KUMOS_IMAGE_HOSTS can name exceptions)")
    return list(dict.fromkeys(addresses))[:ADDRESSES_MAX]


def look_up(host: str, port: int) -> list[Any]:
    """The system's answer; a name server that is silent is waited for."""
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def is_public(address: Address) -> bool:
    """Whether `address`, or the IPv4 address that hides in it, belongs to the public internet."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour
        if address in TRANSLATED:
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if hidden is not None:
            return is_public(hidden)
    return address.is_global and not address.is_multicast and not address.is_reserved and address not in FORBIDDEN


async def read(place: httpx.URL, address: Address, limit: int) -> Fetched | str:
    """`visit` through one address. Raises httpx.HTTPError, too."""
    # A client of its own: a connection kept for one host must not serve another behind the same address.
    # `trust_env`: a proxy would look the name up again.
    timeout = httpx.Timeout(settings.KUMOS_IMAGE_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(verify=tls(), trust_env=False, follow_redirects=False, timeout=timeout) as client:
        request = client.build_request(
            "GET",
            place.copy_with(host=str(address), username="", password=""),
            headers={**HEADERS, "Host": place.netloc.decode("ascii")},
            extensions={"sni_hostname": place.raw_host.decode("ascii")},  # which the certificate must name, too
        )
        response = await client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return urljoin(str(place), response.headers["Location"])
            if not response.is_success:
                status = response.status_code
                raise Unfetchable(f"its server answered {status}", passing=status == 429 or status >= 500)
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Fetched(await body_of(response, limit), kind)
        finally:
            with suppress(httpx.HTTPError):
                await response.aclose()


async def body_of(response: httpx.Response, limit: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Unfetchable("its server compressed it, although it was asked not to")
    too_large = Unfetchable(f"it is larger than {limit} bytes (KUMOS_IMAGE_BYTES_MAX)")
    length = response.headers.get("Content-Length", "")
    if length.isdecimal() and int(length) > limit:
        raise too_large
    content = bytearray()
    async for piece in response.aiter_raw():
        content += piece
        if len(content) > limit:
            raise too_large
    return bytes(content)
