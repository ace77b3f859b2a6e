"""Settings, secrets, disk, limits and versions: what can be looked at without a database."""

from __future__ import annotations

import resource
import shutil
import stat
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path

import django
from django.conf import settings

from kumos_site import descriptors
from kumos_site.diagnosis import Check, Finding, Level
from kumos_site.settings import GIVEN

LOCAL = {"localhost", "127.0.0.1", "[::1]", "::1"}
SECRET_MIN = 32
"""Characters of a SECRET_KEY that nobody guesses."""
FREE_MIN, FREE_LOW = 100 * 2**20, 2**30
"""Bytes that should be free on the disk of the data directory: below the first nothing can go on."""
PACKAGES = (
    "django",
    "djangorestframework",
    "channels",
    "channels-redis",
    "redis",
    "daphne",
    "twisted",
    "asgiref",
    "httpx",
    "psycopg",
    "orjson",
    "cryptography",
    "tiktoken",
    "pypdf",
)


def debug() -> Iterator[Finding]:
    if settings.DEBUG:
        told = "DEBUG is on: errors show settings and code to whoever meets them, and memory grows."
        yield Finding("debug", Level.WARNING, "Debug", told, "Unset DEBUG and restart.")
    else:
        yield Finding("debug", Level.OK, "Debug", "DEBUG is off.")


def hosts() -> Iterator[Finding]:
    allowed = set(settings.ALLOWED_HOSTS)
    if "*" in allowed:
        told = "ALLOWED_HOSTS holds *: any web page can have its own name point here and ask as its visitor."
        yield Finding("hosts.any", Level.WARNING, "Host names", told, "Set ALLOWED_HOSTS to the names people use.")
    elif not is_loopback(settings.HOST) and allowed <= LOCAL:
        told = f"Kumos listens on {settings.HOST}, but answers to {', '.join(sorted(allowed))} only: others get 400."
        yield Finding("hosts.local", Level.WARNING, "Host names", told, "Add the names people use to ALLOWED_HOSTS.")
    else:
        yield Finding("hosts", Level.OK, "Host names", f"Answers to {', '.join(sorted(allowed))}.")


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def proxy() -> Iterator[Finding]:
    if settings.SECURE_PROXY_SSL_HEADER is None and any(
        one.startswith("https://") for one in settings.CSRF_TRUSTED_ORIGINS
    ):
        told = "CSRF_TRUSTED_ORIGINS names https addresses, but Kumos does not know that it is behind a proxy."
        fix = "Set KUMOS_BEHIND_PROXY=true if the proxy always sets X-Forwarded-Proto: then cookies are secure, too."
        yield Finding("proxy", Level.WARNING, "Proxy", told, fix)


def failpoints() -> Iterator[Finding]:
    if settings.KUMOS_FAILPOINTS:
        told = "KUMOS_FAILPOINTS is set: this process is made to die or to fail, as tests want it."
        yield Finding("failpoints", Level.BROKEN, "Failpoints", told, "Unset KUMOS_FAILPOINTS and restart.")


def secret_key() -> Iterator[Finding]:
    given = "SECRET_KEY" in GIVEN
    file = settings.DATA_DIR / "secret_key"
    if len(settings.SECRET_KEY) < SECRET_MIN:
        told = f"SECRET_KEY has {len(settings.SECRET_KEY)} characters: sessions can be forged by whoever guesses it."
        fix = f"Give {SECRET_MIN} random characters or more. All log in anew; keys of providers are to be entered anew."
        yield Finding("secret_key.short", Level.WARNING, "Secret key", told, fix)
    elif not given and file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        told = f"{file} can be read by other users of this machine."
        yield Finding("secret_key.readable", Level.BROKEN, "Secret key", told, f"chmod 600 {file}")
    else:
        source = "comes from the environment" if given else f"is kept in {file}"
        yield Finding("secret_key", Level.OK, "Secret key", f"It {source}.")


def data_directory() -> Iterator[Finding]:
    folder: Path = settings.DATA_DIR
    try:
        for place in (folder, settings.FILE_UPLOAD_TEMP_DIR):
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        told = f"{folder} cannot be written: {error.strerror}."
        fix = "Give the folder to the user that Kumos runs as, or name another one in KUMOS_DATA_DIR."
        yield Finding("data.unwritable", Level.BROKEN, "Data directory", told, fix)
        return
    if stat.S_IMODE(folder.stat().st_mode) & 0o007:
        told = f"{folder} is open to all users of this machine: what people say and upload is in there."
        yield Finding("data.open", Level.WARNING, "Data directory", told, f"chmod 700 {folder}")
    else:
        yield Finding("data", Level.OK, "Data directory", f"{folder} can be written.")


def disk() -> Iterator[Finding]:
    free = shutil.disk_usage(settings.DATA_DIR).free
    told = f"{spoken(free)} free where {settings.DATA_DIR} is"
    limit = settings.KUMOS_FILE_BYTES_MAX
    if free < FREE_MIN:
        fix = "Make room: without it, no message, event or file can be stored."
        yield Finding("disk.full", Level.BROKEN, "Disk", f"Only {told}.", fix)
    elif free < limit:
        fix = "Make room, or lower KUMOS_FILE_BYTES_MAX."
        yield Finding("disk.uploads", Level.WARNING, "Disk", f"{told}, but one upload may have {spoken(limit)}.", fix)
    elif free < FREE_LOW:
        yield Finding("disk.low", Level.WARNING, "Disk", f"Only {told}.", "Make room soon.")
    else:
        yield Finding("disk", Level.OK, "Disk", f"{told}.")


def spoken(size: int) -> str:
    return f"{size / 2**30:,.1f} GiB" if size >= 2**30 else f"{size / 2**20:,.0f} MiB"


def open_files() -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if complaint := descriptors.shortage(settings.KUMOS_STREAMS_MAX, limit):
        fix = "Raise the limit (LimitNOFILE= of systemd, --ulimit of Docker), or lower KUMOS_STREAMS_MAX."
        yield Finding("open_files", Level.WARNING, "Open files", complaint, fix)
    else:
        yield Finding("open_files", Level.OK, "Open files", f"Enough for {settings.KUMOS_STREAMS_MAX:,} streams.")


@cache
def kumos_version() -> str:
    """As pyproject.toml says; "unknown" where that was left behind."""
    try:
        return str(tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return "unknown"


def installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def package_versions() -> dict[str, str]:
    """Python, Kumos and what it stands on; "" for what is not installed."""
    python = ".".join(str(part) for part in sys.version_info[:3])
    return {"kumos": kumos_version(), "python": python, **{name: installed(name) for name in PACKAGES}}


def versions() -> Iterator[Finding]:
    found = package_versions()
    missing = [name for name, number in found.items() if not number]
    redis = found["redis"].partition(".")[0]
    told = f"Kumos {found['kumos']}, Django {django.get_version()}, Python {found['python']}"
    fix = "pip install --require-hashes -r requirements.txt"
    if missing:
        yield Finding("versions.missing", Level.BROKEN, "Versions", f"Not installed: {', '.join(missing)}.", fix)
    elif redis.isdecimal() and int(redis) >= 8:
        told = f"redis {found['redis']} ends connections that have nothing to hear: bells get lost."
        yield Finding("versions.redis", Level.BROKEN, "Versions", told, fix)
    else:
        yield Finding("versions", Level.OK, "Versions", f"{told}.")


CHECKS: list[Check] = [
    versions,
    debug,
    hosts,
    proxy,
    failpoints,
    secret_key,
    data_directory,
    disk,
    open_files,
]
