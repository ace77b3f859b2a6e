"""providers.py: from a model's name and the settings to who answers."""

from __future__ import annotations

import socket

import pytest
from pytest_django.fixtures import Settings

from runs.completers import CompleterError
from runs.completers.openai_compatible import OpenAICompatibleCompleter
from runs.completers.providers import completer_for, models, points_at_self
from runs.completers.scripted import ScriptedCompleter


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
