"""Which model answers: from a model's name and the settings to a `Completer` and the name it is called by there.

`scripted` is in the box. `openai/NAME` and `ollama/NAME` choose a provider; any other name goes to OPENAI_BASE_URL (or,
with OPENAI_API_KEY alone, to OpenAI), else to Ollama, where it is configured. OpenAI itself knows its models without
that prefix; gateways, and vLLM with `openai/gpt-oss-20b`, know theirs with it: there the name stays whole. No call is
made here.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from django.conf import settings

from runs.completers import Completer, CompleterError
from runs.completers.openai_compatible import LimitField, OpenAICompatibleCompleter
from runs.completers.scripted import ScriptedCompleter

OPENAI_OFFICIAL = "https://api.openai.com/v1"
OLLAMA_USUAL = "http://127.0.0.1:11434"
UNCONNECTED = (
    "The model '{model}' needs a provider, and none is set. Set OPENAI_BASE_URL (any server that speaks"
    " /chat/completions), OPENAI_API_KEY (for OpenAI itself) or OLLAMA_BASE_URL and restart, or use the model"
    " 'scripted', which is built in."
)


def openai_base() -> str:
    """Base URL of the /chat/completions provider; empty where none is configured."""
    return settings.OPENAI_BASE_URL or (OPENAI_OFFICIAL if settings.OPENAI_API_KEY else "")


def ollama_base() -> str:
    """Ollama's OpenAI-compatible face, whether or not the setting ends in /v1; empty where Ollama is not configured."""
    base: str = settings.OLLAMA_BASE_URL or (OLLAMA_USUAL if settings.OLLAMA_MODEL else "")
    return base if not base or base.endswith("/v1") else f"{base}/v1"


def completer_for(model: str) -> tuple[Completer, str]:
    """The completer for `model`, and the name to send. `default` (or nothing) means KUMOS_DEFAULT_MODEL.

    Raises CompleterError("server_error") that names the variable to set where no provider fits.
    """
    if model in {"", "default"}:
        model = settings.KUMOS_DEFAULT_MODEL
    if model == "scripted":
        return ScriptedCompleter(), model
    provider, _, name = model.partition("/")
    if provider == "openai" and name:
        if not openai_base():
            raise CompleterError("server_error", f"The model '{model}' needs OPENAI_API_KEY or OPENAI_BASE_URL.")
        return openai(name if is_openai_itself() else model)
    if provider == "ollama":
        if not ollama_base():
            raise CompleterError("server_error", f"The model '{model}' needs OLLAMA_BASE_URL.")
        if not (name or settings.OLLAMA_MODEL):
            raise CompleterError("server_error", "The model 'ollama' needs OLLAMA_MODEL, or a name: 'ollama/NAME'.")
        return ollama(name or settings.OLLAMA_MODEL)
    if openai_base():
        return openai(model)
    if ollama_base():
        return ollama(model)
    raise CompleterError("server_error", UNCONNECTED.format(model=model))


def is_openai_itself() -> bool:
    return urlsplit(openai_base()).hostname == urlsplit(OPENAI_OFFICIAL).hostname


def openai(name: str) -> tuple[Completer, str]:
    """Servers that are not OpenAI's know the older name of the token limit, and many ignore the newer one unsaid."""
    limit: LimitField = "max_completion_tokens" if is_openai_itself() else "max_tokens"
    return OpenAICompatibleCompleter(openai_base(), settings.OPENAI_API_KEY, limit_field=limit), name


def ollama(name: str) -> tuple[Completer, str]:
    return OpenAICompatibleCompleter(ollama_base(), "", limit_field="max_tokens"), name


def models() -> list[str]:
    """Names that are known without a call: the default first, then what is in the box and in the settings."""
    known = [settings.KUMOS_DEFAULT_MODEL, "scripted"]
    if settings.OLLAMA_MODEL:
        known.append(f"ollama/{settings.OLLAMA_MODEL}")
    return list(dict.fromkeys(known))


def addresses_of(host: str) -> set[str]:
    try:
        return {str(info[4][0]) for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def points_at_self(base_url: str, host: str, port: int) -> bool:
    """Whether `base_url` leads back to a Kumos bound to `host`:`port`: then every run would start another.

    Resolves names. Bound to every address, Kumos is what listens on any loopback address or on this machine's own name.
    """
    parts = urlsplit(base_url)
    if not parts.hostname or (parts.port or {"http": 80, "https": 443}.get(parts.scheme)) != port:
        return False
    reached = addresses_of(parts.hostname)
    bound = addresses_of(host or "0.0.0.0")
    if bound & {"0.0.0.0", "::"}:
        own = addresses_of(socket.gethostname())
        return any(ipaddress.ip_address(one.split("%")[0]).is_loopback or one in own | bound for one in reached)
    return bool(reached & bound) or bool(bound & {"127.0.0.1", "::1"} and reached & {"0.0.0.0", "::"})
