"""The environment, read once, as Django settings. The only module that reads `os.environ`.

Every variable is declared through `read`, which fails loudly on a bad value; docs/settings.md lists them and a test
compares that table with `VARIABLES`. What a setting means is said there, not here.
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from assistants import failpoints
from assistants.kept import kept
from assistants.secret_names import without_credentials

BASE_DIR = Path(__file__).resolve().parent.parent

VARIABLES: dict[str, str] = {}
"""Name of every environment variable Kumos reads → its default, as written in docs/settings.md."""

GIVEN: dict[str, str] = {}
"""Those of them that the environment sets → the value as people may see it (kumos_site/system.py)."""

SECRETS = {"SECRET_KEY", "OPENAI_API_KEY", "KUMOS_METRICS_TOKEN"}


def without_secrets(name: str, raw: str) -> str:
    """`raw` for people: never a key, nor the user, the password or the parameters of an address."""
    return "•••" if name in SECRETS else without_credentials(raw)


def read[T](name: str, default: str, parse: Callable[[str], T]) -> T:
    """The variable `name` (or its default) through `parse`; its ValueError stops the start with one clear line."""
    VARIABLES[name] = default
    given = os.environ.get(name, "").strip()
    if given:
        GIVEN[name] = without_secrets(name, given)
    try:
        return parse(given or default)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}={without_secrets(name, given or default)!r}: {error}") from None


def family(prefix: str) -> dict[str, str]:
    """All variables whose names begin so, by name: the only ones that an operator may name in the admin."""
    given = {name: value.strip() for name, value in os.environ.items() if name.startswith(prefix)}
    return {name: value for name, value in given.items() if value}


def boolean(raw: str) -> bool:
    if raw.lower() in {"1", "true", "yes", "on"}:
        return True
    if raw.lower() in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("expected true or false")


def positive(raw: str) -> float:
    number = float(raw)
    if not 0 < number < float("inf"):
        raise ValueError("expected a number above 0")
    return number


def whole(raw: str) -> int:
    number = int(raw)
    if number < 0:
        raise ValueError("expected a whole number, 0 or more")
    return number


def several(raw: str) -> int:
    number = int(raw)
    if number < 2:
        raise ValueError("expected a whole number, 2 or more")
    return number


def port(raw: str) -> int:
    number = int(raw)
    if not 0 < number < 65536:
        raise ValueError("expected a port between 1 and 65535")
    return number


def port_or_none(raw: str) -> int | None:
    return port(raw) if raw else None


def words(raw: str) -> list[str]:
    return [word.strip() for word in raw.split(",") if word.strip()]


def apps(raw: str) -> list[str]:
    named = words(raw)
    for name in named:
        if find_spec(name.partition(".")[0]) is None:
            raise ValueError(f"there is no Python package {name.partition('.')[0]}")
    return named


def url(raw: str) -> str:
    """An http(s) base URL without its trailing slash, or the empty string."""
    if raw and (urlsplit(raw).scheme not in {"http", "https"} or not urlsplit(raw).hostname):
        raise ValueError("expected an http:// or https:// address")
    return raw.rstrip("/")


def one_of(*choices: str) -> Callable[[str], str]:
    def parse(raw: str) -> str:
        if raw not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}")
        return raw

    return parse


# Where things are ---------------------------------------------------------------------------------------------------

DATA_DIR = read("KUMOS_DATA_DIR", str(BASE_DIR / "data"), lambda raw: Path(raw).expanduser().resolve())
HOST = read("HOST", "127.0.0.1", str)
PORT = read("PORT", "3000", port)
DEBUG = read("DEBUG", "false", boolean)
KUMOS_SETUP = read("KUMOS_SETUP", "true", boolean)

FILE_UPLOAD_TEMP_DIR = DATA_DIR / "incoming"
SECRET_KEY = read("SECRET_KEY", "", str)
try:
    for _folder in (DATA_DIR, FILE_UPLOAD_TEMP_DIR):
        _folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    SECRET_KEY = SECRET_KEY or kept(DATA_DIR / "secret_key", lambda: secrets.token_urlsafe(48))
except OSError as _error:
    raise ImproperlyConfigured(f"KUMOS_DATA_DIR={str(DATA_DIR)!r} cannot be written: {_error.strerror}") from None
ALLOWED_HOSTS = read("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]", words)
CSRF_TRUSTED_ORIGINS = read("CSRF_TRUSTED_ORIGINS", "", words)

# Django -------------------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "kumos_site.apps.KumosSiteConfig",  # above daphne: its `runserver` wins
    "daphne",
    "kumos_site.apps.KumosAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "channels",
    "assistants",
    "streaming",
    "runs",
    *read("KUMOS_APPS", "", apps),
]
# For pages. /v1 is served by a handler without this stack (kumos_site/asgi.py).
MIDDLEWARE = [
    "assistants.headers.OpenAIHeadersMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "kumos_site.outage.OutageMiddleware",
]
ROOT_URLCONF = "kumos_site.urls"
ASGI_APPLICATION = "kumos_site.asgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
SECURE_CSP = {
    "default-src": ["'self'"],
    "script-src": ["'self'"],
    "style-src": ["'self'"],
    "connect-src": ["'self'"],
    "img-src": ["'self'", "data:", "blob:"],
    "object-src": ["'none'"],
    "base-uri": ["'none'"],
    "form-action": ["'self'"],
    "frame-ancestors": ["'none'"],
}
SECURE_REFERRER_POLICY = "same-origin"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if read("KUMOS_BEHIND_PROXY", "false", boolean) else None
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_PROXY_SSL_HEADER is not None
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
LOGIN_URL = "/admin/login/"
LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "kumos_site" / "static"]
STATIC_ROOT = read("STATIC_ROOT", "", str) or None  # only for `collectstatic`: a proxy that serves them
WHITENOISE_USE_FINDERS = True
MEDIA_ROOT = DATA_DIR / "files"

# Database: SQLite in the data directory unless told otherwise ---------------------------------------------------------


def database(address: str) -> dict[str, Any]:
    with warnings.catch_warnings(action="ignore"):  # what environ warns of is refused below
        config: dict[str, Any] = dict(environ.Env.db_url_config(address))
    config.setdefault("ENGINE", "")
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE and WAL are the difference between 163 of 200 writers failing and none.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA temp_store=MEMORY;"
            " PRAGMA mmap_size=134217728;",
        }
        config["CONN_MAX_AGE"] = None
        config["TEST"] = {"NAME": str(DATA_DIR / "test.sqlite3")}  # a file: threads share it
    elif config["ENGINE"] == "django.db.backends.postgresql":
        config["CONN_MAX_AGE"] = 0  # a request gives its connection back
    else:
        raise ValueError("expected sqlite:///… or postgres://…")
    return config


DATABASES = {"default": read("DATABASE_URL", f"sqlite:///{DATA_DIR / 'kumos.sqlite3'}", database)}

# Channels: the bells ------------------------------------------------------------------------------------------------


def layers(address: str) -> dict[str, Any]:
    """Channels over the Redis at `address`; with none, inside this process.

    No time-out for reading: a connection that listens may have nothing to hear. What a call may take is bounded in
    assistants/layer.py.
    """
    if not address:
        return {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}}
    host = {"address": address, "socket_timeout": None, "socket_connect_timeout": 1}
    config = {"hosts": [host], "prefix": "kumos"}
    return {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer", "CONFIG": config}}


REDIS_URL = read("REDIS_URL", "", str)
CHANNEL_LAYERS = layers(REDIS_URL)

# DRF ----------------------------------------------------------------------------------------------------------------

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["assistants.authentication.ProjectAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["assistants.authentication.HasProject"],
    "DEFAULT_PARSER_CLASSES": ["assistants.parsers.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["assistants.renderers.OrjsonRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "assistants.renderers.AlwaysJSON",
    "EXCEPTION_HANDLER": "assistants.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

# Models and providers -----------------------------------------------------------------------------------------------

OPENAI_API_KEY = read("OPENAI_API_KEY", "", str)
OPENAI_BASE_URL = read("OPENAI_BASE_URL", "", url)
OLLAMA_BASE_URL = read("OLLAMA_BASE_URL", "", url)
OLLAMA_MODEL = read("OLLAMA_MODEL", "", str)
KUMOS_PROVIDER_KEYS = family("KUMOS_PROVIDER_KEY_")
KUMOS_MCP_KEYS = family("KUMOS_MCP_KEY_")
KUMOS_DEFAULT_MODEL = read("KUMOS_DEFAULT_MODEL", "scripted", str)
KUMOS_SCRIPTED_TOKENS_PER_SECOND = read("KUMOS_SCRIPTED_TOKENS_PER_SECOND", "40", positive)
KUMOS_UPSTREAM_CONNECT_SECONDS = read("KUMOS_UPSTREAM_CONNECT_SECONDS", "10", positive)
KUMOS_UPSTREAM_IDLE_SECONDS = read("KUMOS_UPSTREAM_IDLE_SECONDS", "120", positive)
KUMOS_UPSTREAM_ATTEMPTS = read("KUMOS_UPSTREAM_ATTEMPTS", "3", whole)
KUMOS_IMAGE_HOSTS = read("KUMOS_IMAGE_HOSTS", "", words)
KUMOS_IMAGE_BYTES_MAX = read("KUMOS_IMAGE_BYTES_MAX", str(20 * 1024 * 1024), whole)
KUMOS_IMAGE_SECONDS = read("KUMOS_IMAGE_SECONDS", "15", positive)

# Runs and streams (design, section 4) -------------------------------------------------------------------------------

KUMOS_RUN_SLOTS = read("KUMOS_RUN_SLOTS", "64", whole)
KUMOS_RUN_SECONDS = read("KUMOS_RUN_SECONDS", "600", positive)
KUMOS_LEASE_SECONDS = read("KUMOS_LEASE_SECONDS", "30", positive)
KUMOS_BEAT_SECONDS = read("KUMOS_BEAT_SECONDS", "5", positive)
if KUMOS_BEAT_SECONDS > KUMOS_LEASE_SECONDS / 2:
    raise ImproperlyConfigured(
        f"KUMOS_BEAT_SECONDS={KUMOS_BEAT_SECONDS:g}: expected at most half of KUMOS_LEASE_SECONDS, or runs are lost"
    )
KUMOS_DATABASE_POOL = read("KUMOS_DATABASE_POOL", "16", several)
KUMOS_STATEMENT_SECONDS = read("KUMOS_STATEMENT_SECONDS", "10", positive)
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    from kumos_site import postgres  # what SQLite does not load

    DATABASES["default"]["OPTIONS"] = postgres.options(
        size=KUMOS_DATABASE_POOL,
        statement_seconds=KUMOS_STATEMENT_SECONDS,
        # Whoever stands still in a transaction holds rows that others wait for, but not for a whole lease.
        idle_seconds=min(15.0, KUMOS_LEASE_SECONDS / 2),
        given=DATABASES["default"].get("OPTIONS", {}),
    )
KUMOS_SWEEP_SECONDS = read("KUMOS_SWEEP_SECONDS", "5", positive)
KUMOS_CRASH_CAP = read("KUMOS_CRASH_CAP", "5", whole)
KUMOS_HEARTBEAT_SECONDS = read("KUMOS_HEARTBEAT_SECONDS", "15", positive)
KUMOS_STREAMS_PER_KEY = read("KUMOS_STREAMS_PER_KEY", "100", whole)
KUMOS_STREAMS_MAX = read("KUMOS_STREAMS_MAX", "2000", whole)
KUMOS_STREAM_SECONDS = read("KUMOS_STREAM_SECONDS", "3600", whole)
KUMOS_RECHECK_SECONDS = read("KUMOS_RECHECK_SECONDS", "30", positive)
KUMOS_DRAIN_SECONDS = read("KUMOS_DRAIN_SECONDS", "5", positive)
KUMOS_DELTA_KEEP_SECONDS = read("KUMOS_DELTA_KEEP_SECONDS", "3600", positive)
KUMOS_TURNS_MAX = read("KUMOS_TURNS_MAX", "50", whole)
KUMOS_TOOL_SECONDS = read("KUMOS_TOOL_SECONDS", "60", positive)
KUMOS_TOKEN_BUDGET_MIN = read("KUMOS_TOKEN_BUDGET_MIN", "256", whole)
INTERRUPTED_RUN = read("INTERRUPTED_RUN", "restart_step", one_of("restart_step", "fail"))
KUMOS_SEARCH_ALL_FILES = read("KUMOS_SEARCH_ALL_FILES", "true", boolean)
KUMOS_REQUIRE_BETA_HEADER = read("KUMOS_REQUIRE_BETA_HEADER", "false", boolean)
KUMOS_BODY_BYTES_MAX = read("KUMOS_BODY_BYTES_MAX", str(10 * 1024 * 1024), whole)
KUMOS_FILE_BYTES_MAX = read("KUMOS_FILE_BYTES_MAX", str(512 * 1024 * 1024), whole)
KUMOS_BODY_SECONDS = read("KUMOS_BODY_SECONDS", "60", positive)
KUMOS_STALL_SECONDS = read("KUMOS_STALL_SECONDS", "30", positive)
KUMOS_MASKED_FIELDS = read(
    "KUMOS_MASKED_FIELDS", "password,passphrase,secret,api_key,apikey,access_token,authorization,credential", words
)
KUMOS_METRICS_TOKEN = read("KUMOS_METRICS_TOKEN", "", str)
KUMOS_PROBE_PORT = read("KUMOS_PROBE_PORT", "", port_or_none)
KUMOS_PROBE_HOST = read("KUMOS_PROBE_HOST", "127.0.0.1", str)
KUMOS_FAILPOINTS = read("KUMOS_FAILPOINTS", "", failpoints.parse)
DATA_UPLOAD_MAX_MEMORY_SIZE = KUMOS_BODY_BYTES_MAX

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        # While Redis is away it writes a traceback a second; assistants/layer.py says it once.
        "channels_redis": {"level": "CRITICAL"},
        # It writes down what servers answer. What is wrong with them stands in the admin (runs/tools/mcp.py).
        "mcp": {"level": "CRITICAL"},
    },
    "root": {
        "handlers": ["console"],
        "level": read("LOG_LEVEL", "WARNING", one_of("DEBUG", "INFO", "WARNING", "ERROR")),
    },
}
