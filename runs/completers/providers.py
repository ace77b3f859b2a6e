"""Which model answers: from a model's name, the settings and the table of providers to a `Completer` and the name it is
called by there.

`scripted` is in the box. `openai/NAME` and `ollama/NAME` choose a server of the settings, `NAME/…` a provider that an
operator entered; any other name goes to OPENAI_BASE_URL (or, with OPENAI_API_KEY alone, to OpenAI), else to Ollama,
where it is configured. OpenAI itself knows its models without that prefix; gateways, and vLLM with
`openai/gpt-oss-20b`, know theirs with it: there the name stays whole. No call is made here.

The table is asked each time, for names that it may be about: what is changed there counts from the next turn on, in
every process. So all of this is for threads, never for the loop.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from django.conf import settings

from assistants.models import Project
from runs.completers import Completer, CompleterError
from runs.completers.openai_compatible import LimitField, OpenAICompatibleCompleter
from runs.completers.scripted import ScriptedCompleter
from runs.models import Provider

OPENAI_OFFICIAL = "https://api.openai.com/v1"
OLLAMA_USUAL = "http://127.0.0.1:11434"
SCRIPTED, DEFAULT = "scripted", "default"
DEFAULTS = ("", DEFAULT)
"""Names that mean the default."""
KEY_PREFIX = "KUMOS_PROVIDER_KEY_"
"""What the names of variables begin with that a provider may take its key from. Others hold other secrets."""
UNCONNECTED = (
    "The model '{model}' needs a provider, and none is set. Set OPENAI_BASE_URL (any server that speaks"
    " /chat/completions), OPENAI_API_KEY (for OpenAI itself) or OLLAMA_BASE_URL and restart, add a provider in the"
    " admin and call the model PROVIDER/MODEL, or use the model 'scripted', which is built in."
)


@dataclass(frozen=True, slots=True)
class Server:
    """A model server, and the key that it alone is sent."""

    name: str
    """What models of it begin with; of those of the settings, what people call it."""
    base_url: str
    api_key: str = field(repr=False)
    key_place: str
    """Where the key is to be changed, in words; "" if it has none."""
    prefix: str
    """What is put before the names that it lists, to make them names here."""
    problem: str = ""
    """Why it cannot be asked, in words; "" if it can."""

    @property
    def is_openai_itself(self) -> bool:
        return urlsplit(self.base_url).hostname == urlsplit(OPENAI_OFFICIAL).hostname

    def completer(self) -> Completer:
        """Servers that are not OpenAI's know the older name of the token limit, and many ignore the newer one unsaid.

        Raises CompleterError where the server cannot be asked.
        """
        if self.problem:
            raise CompleterError("server_error", f"The provider '{self.name}' cannot be used: {self.problem}")
        limit: LimitField = "max_completion_tokens" if self.is_openai_itself else "max_tokens"
        key_place = self.key_place or f"the key of the provider '{self.name}', which has none"
        return OpenAICompatibleCompleter(self.base_url, self.api_key, limit_field=limit, key_place=key_place)


# The settings ---------------------------------------------------------------------------------------------------------


def openai_base() -> str:
    """Base URL of the /chat/completions provider; empty where none is configured."""
    return settings.OPENAI_BASE_URL or (OPENAI_OFFICIAL if settings.OPENAI_API_KEY else "")


def ollama_base() -> str:
    """Ollama's OpenAI-compatible face, whether or not the setting ends in /v1; empty where Ollama is not configured."""
    base: str = settings.OLLAMA_BASE_URL or (OLLAMA_USUAL if settings.OLLAMA_MODEL else "")
    return base if not base or base.endswith("/v1") else f"{base}/v1"


def openai() -> Server | None:
    if base := openai_base():
        key = settings.OPENAI_API_KEY
        return Server("openai", base, key, "OPENAI_API_KEY", "")
    return None


def is_openai_itself() -> bool:
    """Whether the names without a provider lead to OpenAI."""
    return (server := openai()) is not None and server.is_openai_itself


def ollama() -> Server | None:
    return Server("ollama", base, "", "", "ollama/") if (base := ollama_base()) else None


def of_settings() -> list[Server]:
    return [server for server in (openai(), ollama()) if server is not None]


# The table ------------------------------------------------------------------------------------------------------------


def server_of(provider: Provider) -> Server:
    """An operator's provider, with its key. What is wrong with that is its `problem`."""
    from runs.completers import vault  # cryptography takes a while to load, and most have nothing sealed

    base, name = provider.base_url.rstrip("/"), provider.name
    key, place, problem = "", "", ""
    if provider.key_variable:
        place = provider.key_variable
        key = settings.KUMOS_PROVIDER_KEYS.get(place, "")
        problem = "" if key else f"the variable {place} is not set. Set it and restart, or enter a key in the admin."
    elif provider.sealed_key:
        place = f"the key of the provider '{name}' in the admin"
        try:
            key = vault.unseal(provider.sealed_key, base)
        except vault.Unopenable as error:
            problem = str(error)
    if not provider.enabled:
        problem = "it is switched off in the admin."
    return Server(name, base, key, place, f"{name}/", problem)


def of_table() -> list[Server]:
    """Those that are switched on."""
    return [server_of(provider) for provider in Provider.objects.filter(enabled=True)]


def servers() -> list[Server]:
    """All that may be asked: those of the settings, then those of the table that these do not stand in front of."""
    given = of_settings()
    names = {server.name for server in given}
    return [*given, *(server for server in of_table() if server.name not in names)]


# Names ----------------------------------------------------------------------------------------------------------------


def meant(model: str, project_id: str = "") -> str:
    """What `default` (or nothing) means: the project's default, else KUMOS_DEFAULT_MODEL. Others mean themselves."""
    if model not in DEFAULTS:
        return model
    chosen = Project.objects.filter(pk=project_id).values_list("default_model", flat=True).first() if project_id else ""
    return settings.KUMOS_DEFAULT_MODEL if chosen in {None, "", DEFAULT} else str(chosen)


def completer_for(model: str, project_id: str = "") -> tuple[Completer, str]:
    """The completer for `model`, and the name to send. Asks the database: not for the loop.

    Raises CompleterError("server_error") that names what to set where no provider fits.
    """
    model = meant(model, project_id)
    if model == SCRIPTED:
        return ScriptedCompleter(), model
    server, name = server_for(model)
    return server.completer(), name


def server_for(model: str) -> tuple[Server, str]:
    """Where `model`, which is not `scripted`, leads, and its name there. CompleterError where that is nowhere."""
    prefix, _, name = model.partition("/")
    first = openai()
    if first is not None and prefix == "openai" and name:
        return first, name if first.is_openai_itself else model
    second = ollama()
    if second is not None and prefix == "ollama":
        if not (name or settings.OLLAMA_MODEL):
            raise CompleterError("server_error", "The model 'ollama' needs OLLAMA_MODEL, or a name: 'ollama/NAME'.")
        return second, name or settings.OLLAMA_MODEL
    if name and (entered := Provider.objects.filter(name=prefix).first()):
        return server_of(entered), name
    if prefix == "openai" and name:
        raise CompleterError("server_error", f"The model '{model}' needs OPENAI_API_KEY or OPENAI_BASE_URL.")
    if prefix == "ollama":
        raise CompleterError("server_error", f"The model '{model}' needs OLLAMA_BASE_URL.")
    if rest := first or second:
        return rest, model
    raise CompleterError("server_error", UNCONNECTED.format(model=model))


def models() -> list[str]:
    """Names that are known without a call: the default first, then what is in the box and in the settings."""
    known = [settings.KUMOS_DEFAULT_MODEL, SCRIPTED]
    if settings.OLLAMA_MODEL:
        known.append(f"ollama/{settings.OLLAMA_MODEL}")
    return list(dict.fromkeys(known))


# Oneself --------------------------------------------------------------------------------------------------------------


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
