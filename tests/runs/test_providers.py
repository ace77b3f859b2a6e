"""providers.py: from a model's name and the settings to who answers."""

from __future__ import annotations

import socket

import pytest
from pytest_django.fixtures import Settings

from assistants.models import Project
from runs.completers import CompleterError, vault
from runs.completers.openai_compatible import OpenAICompatibleCompleter
from runs.completers.providers import completer_for, models, points_at_self
from runs.completers.scripted import ScriptedCompleter
from runs.models import Provider, RunStatus
from tests.conftest import ApiClient
from tests.runs.conftest import Execute, ask
from tests.runs.model import Model

pytestmark = pytest.mark.django_db

ADDRESS = "https://models.example.org/v1"


@pytest.fixture(autouse=True)
def no_provider(settings: Settings) -> None:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = ""
    settings.OLLAMA_BASE_URL = settings.OLLAMA_MODEL = ""
    settings.KUMOS_DEFAULT_MODEL = "scripted"


def answered_by(model: str) -> tuple[str, str]:
    """(address, name to send); the address of the scripted model is its name."""
    completer, name = completer_for(model)
    if isinstance(completer, ScriptedCompleter):
        return "scripted", name
    assert isinstance(completer, OpenAICompatibleCompleter)
    return completer.url, name


def test_scripted_is_always_there(settings: Settings) -> None:
    assert answered_by("scripted") == ("scripted", "scripted")
    settings.OPENAI_BASE_URL = "http://models:8000/v1"
    assert answered_by("scripted") == ("scripted", "scripted")


def test_any_other_name_goes_to_the_base_url(settings: Settings) -> None:
    settings.OPENAI_BASE_URL = "http://models:8000/v1"
    settings.OLLAMA_BASE_URL = "http://ollama:11434"
    for name in ("gpt-4o", "meta-llama/Llama-3.1-8B", "llama3.2:1b"):
        assert answered_by(name) == ("http://models:8000/v1/chat/completions", name)
    # What stands in front of the slash is a part of the name on vLLM and on gateways.
    assert answered_by("openai/gpt-oss-20b") == ("http://models:8000/v1/chat/completions", "openai/gpt-oss-20b")
    assert answered_by("ollama/llama3.2:1b") == ("http://ollama:11434/v1/chat/completions", "llama3.2:1b")


def test_a_key_alone_means_openai(settings: Settings) -> None:
    settings.OPENAI_API_KEY = "sk-x"
    for model in ("gpt-4o", "openai/gpt-4o"):
        assert answered_by(model) == ("https://api.openai.com/v1/chat/completions", "gpt-4o")


@pytest.mark.parametrize(
    ("base_url", "field"),
    [
        ("", "max_completion_tokens"),
        ("https://api.openai.com/v1", "max_completion_tokens"),
        ("http://localhost:11434/v1", "max_tokens"),
    ],
)
def test_only_openai_is_sent_the_newer_name_of_the_limit(base_url: str, field: str, settings: Settings) -> None:
    """Ollama and others would ignore it without a word, and the run's budget with it."""
    settings.OPENAI_API_KEY, settings.OPENAI_BASE_URL = "sk-x", base_url
    completer, _ = completer_for("gpt-4o")
    assert isinstance(completer, OpenAICompatibleCompleter)
    assert completer.limit_field == field


def test_ollama_alone_answers_bare_names(settings: Settings) -> None:
    settings.OLLAMA_BASE_URL = "http://ollama:11434/v1"
    assert answered_by("llama3.2") == ("http://ollama:11434/v1/chat/completions", "llama3.2")
    with pytest.raises(CompleterError, match="OLLAMA_MODEL"):
        completer_for("ollama")
    settings.OLLAMA_MODEL = "qwen3"
    assert answered_by("ollama")[1] == "qwen3"


def test_the_openai_key_is_not_shown_to_ollama(settings: Settings) -> None:
    settings.OPENAI_API_KEY, settings.OLLAMA_BASE_URL = "sk-x", "http://ollama:11434"
    completer, _ = completer_for("ollama/qwen3")
    assert isinstance(completer, OpenAICompatibleCompleter)
    assert completer.api_key == ""
    assert completer.limit_field == "max_tokens"


@pytest.mark.parametrize(
    ("model", "variable"),
    [("gpt-4o", "OPENAI_BASE_URL"), ("openai/gpt-4o", "OPENAI_API_KEY"), ("ollama/qwen3", "OLLAMA_BASE_URL")],
)
def test_without_a_provider_the_error_names_the_variable(model: str, variable: str) -> None:
    with pytest.raises(CompleterError) as caught:
        completer_for(model)
    assert caught.value.code == "server_error"
    assert variable in caught.value.message
    assert model in caught.value.message


def test_default_is_the_default_model(settings: Settings) -> None:
    assert answered_by("default")[0] == answered_by("")[0] == "scripted"
    settings.OPENAI_BASE_URL, settings.KUMOS_DEFAULT_MODEL = "http://models:8000/v1", "qwen3"
    assert answered_by("default") == ("http://models:8000/v1/chat/completions", "qwen3")


def test_models_known_without_a_call(settings: Settings) -> None:
    assert models() == ["scripted"]
    settings.OLLAMA_MODEL, settings.KUMOS_DEFAULT_MODEL = "qwen3", "gpt-4o"
    assert models() == ["gpt-4o", "scripted", "ollama/qwen3"]


# The table ------------------------------------------------------------------------------------------------------------


def made(name: str = "acme", base_url: str = ADDRESS, key: str = "", **fields: object) -> Provider:
    sealed = vault.seal(key, base_url) if key else ""
    return Provider.objects.create(name=name, base_url=base_url, sealed_key=sealed, **fields)


def key_sent_for(model: str) -> str:
    completer, _ = completer_for(model)
    assert isinstance(completer, OpenAICompatibleCompleter)
    return completer.api_key


def refusal_of(model: str, project_id: str = "") -> str:
    with pytest.raises(CompleterError) as caught:
        completer_for(model, project_id)
    assert caught.value.code == "server_error"
    return caught.value.message


def test_models_named_after_a_provider_go_there_with_its_key(settings: Settings) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = "http://models:8000/v1", "sk-of-the-settings"
    made(key="sk-of-acme")
    assert answered_by("acme/org/model:7b") == (f"{ADDRESS}/chat/completions", "org/model:7b")
    assert key_sent_for("acme/x") == "sk-of-acme"
    assert key_sent_for("other/x") == key_sent_for("acme") == key_sent_for("x") == "sk-of-the-settings"


def test_what_is_changed_counts_at_once() -> None:
    provider = made(key="sk-old")
    assert key_sent_for("acme/x") == "sk-old"
    Provider.objects.filter(pk=provider.pk).update(sealed_key=vault.seal("sk-new", ADDRESS))
    assert key_sent_for("acme/x") == "sk-new"
    provider.delete()
    assert "needs a provider" in refusal_of("acme/x")


def test_one_that_is_switched_off_is_not_replaced_by_another(settings: Settings) -> None:
    """What was meant for one server is not for the next."""
    settings.OPENAI_BASE_URL = "http://models:8000/v1"
    made(enabled=False)
    assert "'acme' cannot be used: it is switched off" in refusal_of("acme/x")


def test_the_settings_stand_in_front_of_a_provider_of_the_same_name(settings: Settings) -> None:
    made("openai")
    assert answered_by("openai/gpt-4o") == (f"{ADDRESS}/chat/completions", "gpt-4o")
    settings.OPENAI_API_KEY = "sk-x"
    assert answered_by("openai/gpt-4o") == ("https://api.openai.com/v1/chat/completions", "gpt-4o")


def test_a_key_from_a_variable(settings: Settings) -> None:
    made(key_variable="KUMOS_PROVIDER_KEY_ACME")
    assert "the variable KUMOS_PROVIDER_KEY_ACME is not set" in refusal_of("acme/x")
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_ACME": "sk-of-the-environment"}
    assert key_sent_for("acme/x") == "sk-of-the-environment"


def test_no_other_variable_can_be_named(settings: Settings) -> None:
    made(key_variable="SECRET_KEY")
    assert "SECRET_KEY is not set" in refusal_of("acme/x")


def test_a_changed_secret_key_asks_for_the_key_again(settings: Settings) -> None:
    made(key="sk-of-acme")
    settings.SECRET_KEY = "another"
    assert "Enter the key again" in refusal_of("acme/x")


def test_a_key_is_for_its_own_address_only() -> None:
    provider = made(key="sk-of-acme")
    for base_url in ("https://thief.example.org/v1", "http://models.example.org/v1", f"{ADDRESS[:-3]}:8443/v1"):
        Provider.objects.filter(pk=provider.pk).update(base_url=base_url)
        assert "another address" in refusal_of("acme/x"), base_url
    Provider.objects.filter(pk=provider.pk).update(base_url="https://MODELS.example.org:443/other/v2")
    assert key_sent_for("acme/x") == "sk-of-acme", "the same server under another path"


def test_a_sealed_key_cannot_be_read_and_never_looks_the_same() -> None:
    sealed = vault.seal("sk-of-acme", ADDRESS)
    assert "acme" not in sealed
    assert sealed != vault.seal("sk-of-acme", ADDRESS)
    with pytest.raises(vault.Unopenable):
        vault.unseal(f"{sealed[:-3]}AA=", ADDRESS)


def test_a_server_shows_no_key_when_it_is_printed() -> None:
    from runs.completers.providers import servers

    made(key="sk-of-acme")
    assert "sk-of-acme" not in repr(servers())


def test_default_is_the_projects_own_default(settings: Settings) -> None:
    made()
    mine = Project.objects.create(name="Mine", default_model="acme/small")
    other = Project.objects.create(name="Other")
    assert completer_for("default", mine.pk)[1] == "small"
    assert completer_for("default", other.pk)[1] == "scripted"
    assert completer_for("scripted", mine.pk)[1] == "scripted"
    Project.objects.filter(pk=mine.pk).update(default_model="default")
    assert completer_for("default", mine.pk)[1] == "scripted", "which does not mean itself"


@pytest.mark.django_db(transaction=True)
def test_a_run_is_answered_by_the_provider_of_its_projects_default(
    alice: ApiClient, model: Model, execute: Execute, settings: Settings
) -> None:
    settings.OPENAI_BASE_URL = ""
    made(base_url=model.base_url)
    Project.objects.filter(pk=alice.project.pk).update(default_model="acme/small")
    _, run = ask(alice, "Hello", model="default")
    assert execute(run.pk).status == RunStatus.COMPLETED
    assert [request["model"] for request in model.requests] == ["small"]


@pytest.mark.django_db(transaction=True)
def test_a_run_whose_provider_was_switched_off_meanwhile_says_so(
    alice: ApiClient, model: Model, execute: Execute
) -> None:
    provider = made(base_url=model.base_url)
    _, run = ask(alice, "Hello", model="acme/small")
    Provider.objects.filter(pk=provider.pk).update(enabled=False)
    run = execute(run.pk)
    assert run.last_error is not None
    assert "switched off" in run.last_error["message"]
    assert model.requests == []
    refused = alice.post(f"/threads/{run.thread_id}/runs", {"assistant_id": run.assistant_id, "model": "acme/small"})
    assert refused.json()["error"]["code"] == "model_not_found"


# Oneself --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("http://localhost:3000/v1", "127.0.0.1", 3000),
        ("http://127.0.0.1:3000/v1", "localhost", 3000),
        ("http://127.0.0.1:3000", "0.0.0.0", 3000),
        ("http://[::1]:3000/v1", "::", 3000),
        ("http://127.0.0.9:3000/v1", "0.0.0.0", 3000),
        ("http://localhost/v1", "", 80),
        ("http://0.0.0.0:3000/v1", "127.0.0.1", 3000),
        (f"http://{socket.gethostname()}:3000/v1", "0.0.0.0", 3000),
    ],
)
def test_own_address_is_found(base_url: str, host: str, port: int) -> None:
    assert points_at_self(base_url, host, port)


@pytest.mark.parametrize(
    ("base_url", "host", "port"),
    [
        ("", "127.0.0.1", 3000),
        ("http://127.0.0.1:11434/v1", "127.0.0.1", 3000),
        ("http://127.0.0.2:3000/v1", "127.0.0.1", 3000),
        ("http://192.0.2.1:3000/v1", "0.0.0.0", 3000),
        ("http://nobody.invalid:3000/v1", "0.0.0.0", 3000),
        ("https://127.0.0.1/v1", "127.0.0.1", 80),
    ],
)
def test_other_addresses_are_not(base_url: str, host: str, port: int) -> None:
    assert not points_at_self(base_url, host, port)
