"""What tokens cost: own prices before the table's, what is free, and what nobody knows, which is not 0."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
from django.conf import settings as our_settings
from django.db import DatabaseError, connection, transaction
from pytest_django.fixtures import Settings

from assistants import clock
from assistants.models import Thread
from runs import ledger, prices
from runs.models import ModelPrice, Provider, Run, RunStatus, UsageRecord
from tests.conftest import ApiClient

MILLION = 1_000_000


@pytest.fixture(autouse=True)
def no_memory(db: None, settings: Settings) -> Iterator[None]:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = settings.OLLAMA_BASE_URL = settings.OLLAMA_MODEL = ""
    prices.forget()
    yield
    prices.forget()


def own(model: str, prompt: str, completion: str, cached: str | None = None) -> None:
    ModelPrice.objects.create(
        model=model, prompt=Decimal(prompt), completion=Decimal(completion), cached=cached and Decimal(cached)
    )
    prices.forget()


@pytest.mark.parametrize(
    "name", ["gpt-4o", "GPT-4o", "openai/gpt-4o", "gpt-4o-2024-08-06", "openrouter/openai/gpt-4o", "my-gateway/gpt-4o"]
)
def test_the_table_knows_a_model_by_all_its_names(name: str) -> None:
    cost = prices.cost_of(name, MILLION, 0, MILLION)
    assert cost is not None
    assert 1 * MILLION < cost < 100 * MILLION  # some dollars; the table moves


def test_cached_tokens_are_cheaper_and_never_more_than_all() -> None:
    plain, cached = prices.cost_of("gpt-4o", MILLION, 0, 0), prices.cost_of("gpt-4o", MILLION, MILLION, 0)
    assert plain is not None
    assert cached is not None
    assert 0 < cached < plain
    assert prices.cost_of("gpt-4o", MILLION, 5 * MILLION, 0) == cached
    assert prices.cost_of("gpt-4o", MILLION, -5, 0) == plain


def test_a_provider_is_known_by_its_address() -> None:
    """What Groq asks for Llama is not what others ask, and its name here is the operator's choice."""
    Provider.objects.create(name="fast", base_url="https://api.groq.com/openai/v1")
    prices.forget()
    assert prices.cost_of("fast/llama-3.3-70b-versatile", MILLION, 0, MILLION)
    assert prices.cost_of("slow/llama-3.3-70b-versatile", MILLION, 0, MILLION) is None


def test_the_server_of_the_settings_is_known_by_its_address(settings: Settings) -> None:
    assert prices.cost_of("llama-3.3-70b-versatile", MILLION, 0, MILLION) is None
    settings.OPENAI_BASE_URL = "https://api.groq.com/openai/v1"
    assert prices.cost_of("llama-3.3-70b-versatile", MILLION, 0, MILLION)


@pytest.mark.parametrize("name", ["scripted", "ollama", "ollama/llama3", "default"])
def test_what_runs_here_is_free(name: str) -> None:
    assert our_settings.KUMOS_DEFAULT_MODEL == "scripted"
    assert prices.cost_of(name, MILLION, 0, MILLION) == 0


def test_a_bare_name_is_free_where_only_ollama_answers(settings: Settings) -> None:
    assert prices.cost_of("llama3.2", 10, 0, 10) is None
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:11434"
    assert prices.cost_of("llama3.2", 10, 0, 10) == 0
    settings.OPENAI_API_KEY = "sk-x"
    assert prices.cost_of("llama3.2", 10, 0, 10) is None


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:11434/v1", "http://localhost:11434/v1", "http://[::1]:11434/v1", "http://127.1.2.3/v1"],
)
def test_an_operators_ollama_on_this_machine_is_free(address: str) -> None:
    Provider.objects.create(name="ollama", base_url=address)
    prices.forget()
    assert prices.cost_of("ollama/gpt-oss:120b", MILLION, 0, MILLION) == 0


@pytest.mark.parametrize(
    "address", ["https://api.openai.com/v1", "http://localhost.example.org/v1", "http://192.168.1.7:11434/v1"]
)
def test_a_provider_that_is_only_called_ollama_is_not(address: str, settings: Settings) -> None:
    Provider.objects.create(name="ollama", base_url=address)
    prices.forget()
    assert prices.cost_of("ollama/gpt-4o", MILLION, 0, MILLION) == prices.cost_of("gpt-4o", MILLION, 0, MILLION) != 0
    assert prices.cost_of("ollama/llama-of-ours", MILLION, 0, MILLION) is None
    settings.OLLAMA_BASE_URL = "http://gpu:11434"  # stands in front of the table (providers.py)
    assert prices.cost_of("ollama/gpt-4o", MILLION, 0, MILLION) == 0


def test_nobody_knows_is_not_nothing_and_nothing_used_costs_nothing() -> None:
    assert prices.cost_of("nobodys/model-7", MILLION, 0, MILLION) is None
    assert prices.cost_of("nobodys/model-7", 0, 0, 0) == 0
    assert prices.cost_of("gpt-4o-of-our-own", MILLION, 0, MILLION) is None


def test_own_prices_win() -> None:
    own("GPT-4o", "1.5", "3", cached="0.5")
    assert prices.cost_of("openai/gpt-4o", 1000, 400, 200) == 600 * 1.5 + 400 * 0.5 + 200 * 3
    own("openai/gpt-4o", "2", "4")
    assert prices.cost_of("openai/gpt-4o", 1000, 400, 200) == 1000 * 2 + 200 * 4
    own("scripted", "0.000001", "0")
    assert prices.cost_of("scripted", 499_999, 0, 7) == 0  # half a millionth is rounded up, less is nothing
    assert prices.cost_of("scripted", 500_000, 0, 7) == 1


def test_prices_of_the_operator_are_seen_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    assert prices.cost_of("mine", 10, 0, 10) is None
    ModelPrice.objects.create(model="mine", prompt=1, completion=1)
    assert prices.cost_of("mine", 10, 0, 10) is None  # kept
    later = time.monotonic() + prices.BOOK_SECONDS
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert prices.cost_of("mine", 10, 0, 10) == 20


def ended(alice: ApiClient, model: str) -> Run:
    thread = Thread.objects.create(project=alice.project)
    run = Run(project=alice.project, thread=thread, assistant_id="asst_1", model=model, status=RunStatus.COMPLETED)
    run.expires_at = clock.now() + timedelta(minutes=1)
    details = {"cached_tokens": 400}
    run.usage = {"prompt_tokens": 1000, "completion_tokens": 200, "prompt_token_details": details}
    run.save()
    return run


def test_the_cost_is_kept_with_what_was_used(alice: ApiClient) -> None:
    own("mine", "1.5", "3", cached="0.5")
    run = ended(alice, "mine")
    ledger.enter(run, clock.now())
    record = UsageRecord.objects.get(pk=run.pk)
    assert (record.prompt_tokens, record.cached_tokens, record.completion_tokens) == (1000, 400, 200)
    assert record.cost == 1700


def test_prices_that_cannot_be_told_fail_no_run(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even where the database itself refuses the query: the transaction that ends the run goes on."""
    monkeypatch.setattr(prices, "_complained", False)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE runs_modelprice RENAME TO runs_price_away")
    with pytest.raises(DatabaseError), transaction.atomic():
        prices.own_book()
    for _ in range(2):
        run = ended(alice, "mine")
        ledger.enter(run, clock.now())
        assert UsageRecord.objects.get(pk=run.pk).cost is None
    assert caplog.text.count("prices cannot be told") == 1


def test_a_writer_does_not_wait_for_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "_read", False)
    with pytest.raises(prices.NotRead):
        prices.cost_of("gpt-4o", 1, 0, 1, read=False)
    assert prices.cost_of("scripted", 1, 0, 1, read=False) == 0
    assert prices.cost_of("gpt-4o", 1, 0, 1)
    assert prices.cost_of("gpt-4o", 1, 0, 1, read=False)


@pytest.mark.django_db(transaction=True)
def test_the_cost_of_the_first_run_is_entered_when_the_table_was_read(
    alice: ApiClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prices, "_read", False)
    run = ended(alice, "gpt-4o")
    with transaction.atomic():
        ledger.enter(run, clock.now())
    ledger._later.submit(lambda: None).result()  # after what is to be done first
    assert UsageRecord.objects.get(pk=run.pk).cost == prices.cost_of("gpt-4o", 1000, 400, 200)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = "import django; django.setup(); import runs.ledger, runs.views, sys; print('genai_prices' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
