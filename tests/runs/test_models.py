"""/models: what is in the box, in the settings, and on the providers' own lists (contract 6)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from runs.completers import catalogue
from tests.conftest import ApiClient

pytestmark = pytest.mark.django_db

SCRIPTED = {"id": "scripted", "object": "model", "created": catalogue.BOXED, "owned_by": "kumos"}


class Provider:
    """A model server with a list. `answer` is its JSON, or bytes; `asked` the Authorization headers it saw."""

    def __init__(self) -> None:
        self.answer: Any = {"object": "list", "data": []}
        self.status = 200
        self.asked: list[str | None] = []
        self.hold: threading.Event | None = None
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append(self.headers["Authorization"])
                content = (
                    provider.answer if isinstance(provider.answer, bytes) else json.dumps(provider.answer).encode()
                )
                self.send_response(provider.status if self.path == "/v1/models" else 404)
                self.send_header("Location", "/v1/models")
                self.end_headers()
                with suppress(OSError):
                    self.wfile.write(content)
                    while provider.hold is not None and not provider.hold.wait(0.05):
                        self.wfile.write(b" ")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base_url = f"http://127.0.0.1:{self.server.server_port}/v1"


@pytest.fixture
def provider(settings: Settings) -> Iterator[Provider]:
    provider = Provider()
    thread = threading.Thread(target=provider.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = provider.base_url, "sk-inner"
    yield provider
    if provider.hold:
        provider.hold.set()
    provider.server.shutdown()
    thread.join()
    provider.server.server_close()


@pytest.fixture(autouse=True)
def nothing_set(settings: Settings) -> Iterator[None]:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = settings.OLLAMA_BASE_URL = settings.OLLAMA_MODEL = ""
    settings.KUMOS_DEFAULT_MODEL = "scripted"
    yield
    catalogue._lists.clear()


def ids(client: ApiClient) -> list[str]:
    return [model["id"] for model in client.get("/models").json()["data"]]


def test_the_list_is_an_object_and_its_data(alice: ApiClient, settings: Settings) -> None:
    assert alice.get("/models").json() == {"object": "list", "data": [SCRIPTED]}
    settings.OLLAMA_MODEL, settings.KUMOS_DEFAULT_MODEL = "llama3.2:1b", "ollama/llama3.2:1b"
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:1"
    assert ids(alice) == ["ollama/llama3.2:1b", "scripted"], "the default first, also while its server is away"


def test_one_model(alice: ApiClient) -> None:
    assert alice.get("/models/scripted").json() == SCRIPTED
    answer = alice.get("/models/gpt-4o")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "The model 'gpt-4o' does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_a_providers_list_is_shown(alice: ApiClient, provider: Provider) -> None:
    provider.answer["data"] = [
        {"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system", "more": 1},
        {"id": "org/model:7b"},
        {"id": "scripted", "owned_by": "somebody"},
    ]
    assert alice.get("/models").json()["data"] == [
        SCRIPTED,
        {"id": "gpt-4o", "object": "model", "created": 1715367049, "owned_by": "system"},
        {"id": "org/model:7b", "object": "model", "created": catalogue.BOXED, "owned_by": "provider"},
    ]
    for path in ("/models/org/model:7b", "/models/org%2Fmodel%3A7b"):
        assert alice.get(path).json()["id"] == "org/model:7b"
    assert alice.get("/models/org/model:8b").status_code == 404
    assert alice.get("/models/org").status_code == 404
    assert provider.asked == ["Bearer sk-inner"], "once a minute"


def test_ollamas_models_have_its_name_in_front(alice: ApiClient, provider: Provider, settings: Settings) -> None:
    settings.OLLAMA_BASE_URL, settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = provider.base_url, "", ""
    provider.answer["data"] = [{"id": "qwen3:8b", "owned_by": "library"}]
    assert ids(alice) == ["scripted", "ollama/qwen3:8b"]
    assert alice.get("/models/ollama/qwen3:8b").json()["owned_by"] == "library"
    assert provider.asked == [None]


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"[]", b'{"data": {}}', b"\xff", b'"' + b"x" * 2_000_000 + b'"', b"[" * 100_000],
)
def test_a_provider_without_a_list_hides_no_model(alice: ApiClient, provider: Provider, answer: bytes) -> None:
    provider.answer = answer
    assert ids(alice) == ["scripted"]
    assert alice.get("/models/whatever/it:calls").json()["id"] == "whatever/it:calls"
    assert len(provider.asked) == 1, "nor is it asked again at once"


@pytest.mark.parametrize("status", [301, 401, 404, 500])
def test_a_list_that_is_refused(alice: ApiClient, provider: Provider, status: int) -> None:
    provider.answer, provider.status = {"data": [{"id": "a"}]}, status
    assert ids(alice) == ["scripted"]
    assert len(provider.asked) == 1


def test_a_slow_list_is_not_waited_for(alice: ApiClient, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ASK_SECONDS", 0.3)
    provider.hold = threading.Event()
    assert ids(alice) == ["scripted"]


@pytest.mark.parametrize(
    "item", [None, 7, "gpt", {}, {"id": ""}, {"id": 7}, {"id": "x" * 257}, {"id": "a\0b"}, {"id": None}]
)
def test_what_is_no_model_is_left_out(alice: ApiClient, provider: Provider, item: Any) -> None:
    provider.answer["data"] = [item, {"id": "fine", "created": True, "owned_by": 5}]
    models = {model["id"]: model for model in alice.get("/models").json()["data"]}
    assert set(models) == {"scripted", "fine"}
    assert (models["fine"]["created"], models["fine"]["owned_by"]) == (catalogue.BOXED, "5")


def test_every_project_sees_the_same_and_nobody_without_a_key(
    alice: ApiClient, bob: ApiClient, charlie: ApiClient, provider: Provider
) -> None:
    assert ids(alice) == ids(bob) == ids(charlie)
    for path in ("/v1/models", "/v1/models/scripted"):
        assert Client().get(path).status_code == 401
        assert Client().post(path).status_code in (401, 405)
