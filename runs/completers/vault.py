"""Keys of model servers at rest: sealed with SECRET_KEY, and opened for the address that they were given for alone.

Whoever may change an address must not learn the key by having it sent to one of his own: a sealed key holds the origin
of its server, and does not open for another. A changed SECRET_KEY opens nothing that was sealed before.
"""

from __future__ import annotations

import base64
from urllib.parse import urlsplit

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

CONTEXT = b"kumos: keys of model servers, 1"
"""Makes the derived key another one than whatever else may ever be derived from SECRET_KEY."""
OTHER_SECRET = "The stored key cannot be opened: SECRET_KEY is not the one it was sealed with. Enter the key again."
OTHER_ADDRESS = "The stored key was given for another address. Enter the key again."


class Unopenable(Exception):
    """A sealed key that is of no use any more; its text says why and what to do."""


def seal(key: str, base_url: str) -> str:
    return _fernet().encrypt(f"{origin(base_url)}\n{key}".encode()).decode()


def unseal(sealed: str, base_url: str) -> str:
    """The key, to be sent to `base_url` only. Raises Unopenable."""
    try:
        given_for, _, key = _fernet().decrypt(sealed.encode()).decode().partition("\n")
    except InvalidToken:
        raise Unopenable(OTHER_SECRET) from None
    if given_for != origin(base_url):
        raise Unopenable(OTHER_ADDRESS)
    return key


def origin(base_url: str) -> str:
    """Scheme, host and port: who gets what is sent to `base_url`."""
    parts = urlsplit(base_url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{(parts.hostname or '').lower()}:{port}"


def _fernet() -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=CONTEXT).derive(settings.SECRET_KEY.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
