"""/metrics: who may read them, that the table and the alerts speak of what there is, and what they cost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from django.conf import settings as ours
from django.db import connection
from django.test import Client
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from pytest_django.fixtures import Settings

from assistants.metrics import REGISTRY, REQUESTS
from kumos_site import metrics
from runs.models import RunStatus
from tests.conftest import ApiClient
from tests.runs.conftest import ask

TABLE_ROW = re.compile(r"^\| `(?P<name>\w+)` \| (?P<type>\w+) \|(?P<labels>[^|]*)\| [^|]+ \|$", re.MULTILINE)
RULES = ours.BASE_DIR / "deploy" / "prometheus-rules.yaml"
TOKEN = "a token"
PAGE = (ours.BASE_DIR / "docs" / "operations.md").read_text()


@pytest.fixture(autouse=True)
def fresh() -> None:
    """No test is told what another's database held."""
    for collector in REGISTRY._collector_to_names:
        if isinstance(collector, metrics.State):
            collector._kept_until = 0.0


def exposed(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def families() -> dict[str, Metric]:
    return {exposed(family): family for family in REGISTRY.collect()}


# Who may read them ----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("header", [*metrics.FORWARDED, *(name.lower() for name in metrics.FORWARDED)])
def test_without_a_token_only_this_machine_reads_them_and_no_proxy(client: Client, header: str) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="::1").status_code == 200
    for elsewhere in ("203.0.113.9", "10.0.0.1", "", "::ffff:10.0.0.1", "unix:"):
        assert client.get("/metrics", REMOTE_ADDR=elsewhere).status_code == 403
    assert client.get("/metrics", headers={header: "127.0.0.1"}).status_code == 403
    assert client.get("/metrics", headers={"Host": "elsewhere.example"}).status_code == 400


@pytest.mark.django_db
def test_behind_a_proxy_that_says_nothing_nobody_reads_them(client: Client, settings: Settings) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    assert client.get("/metrics").status_code == 403


@pytest.mark.django_db
def test_with_a_token_it_alone_counts(client: Client, settings: Settings) -> None:
    settings.KUMOS_METRICS_TOKEN = TOKEN
    shown = {"Authorization": f"Bearer {TOKEN}", "X-Forwarded-For": "203.0.113.9"}
    assert client.get("/metrics", headers=shown, REMOTE_ADDR="203.0.113.9").status_code == 200
    for wrong in ("", "Bearer", f"Bearer {TOKEN}x", "Bearer ü", TOKEN):
        refused = client.get("/metrics", headers={"Authorization": wrong})
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"kumos_" not in refused.content
    assert client.post("/metrics", headers=shown).status_code == 405


# What they say --------------------------------------------------------------------------------------------------------


def test_the_database_is_counted_by_status(alice: ApiClient) -> None:
    for _ in range(2):
        ask(alice, "Hello")
    answer = alice.client.get("/metrics").content.decode()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer)
        for sample in family.samples
    }
    assert found["kumos_runs", "queued"] == 2
    assert found["kumos_runs", "in_progress"] == 0
    assert found["kumos_queue_age_seconds",] > 0
    assert found["kumos_workers",] == 0
    assert found["kumos_database_up",] == 1


@pytest.mark.django_db
def test_no_more_rows_are_read_than_are_counted(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "ROWS_COUNTED", 2)
    for _ in range(3):
        ask(alice, "Hello")
    assert metrics.census().runs["queued"] == 2


@pytest.mark.django_db
@pytest.mark.parametrize("query", [lambda: metrics.runs_of(RunStatus.QUEUED), metrics.oldest_queued])
def test_an_index_serves_what_is_counted(query: Any) -> None:
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # a table so small is read as a whole
            cursor.execute("SET LOCAL enable_bitmapscan = off")
            cursor.execute("SET LOCAL enable_sort = off")  # and sorted, unless an index has the order
    plan = query().values_list("created_at").explain()
    assert "Index" in plan if connection.vendor == "postgresql" else "USING INDEX" in plan or "COVERING INDEX" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


@pytest.mark.django_db
def test_the_database_is_asked_once_by_many(client: Client, django_assert_num_queries: Any) -> None:
    client.get("/metrics")
    with django_assert_num_queries(0):
        client.get("/metrics")


# Labels ---------------------------------------------------------------------------------------------------------------


def test_requests_are_counted_under_their_route(alice: ApiClient) -> None:
    """Neither what was asked for nor a method that somebody made up is a label."""
    thread = alice.make("/threads")["id"]
    asked = {"status": "2xx", "method": "GET", "route": "/v1/threads/<str:thread_id>"}
    request, response = object_of(alice.get(f"/threads/{thread}"))
    before = REGISTRY.get_sample_value("kumos_requests_total", asked) or 0
    metrics.count_request(request, response, 0.01)
    request.method = "BREW"
    request.resolver_match = None
    metrics.count_request(request, response, 0.01)
    assert REGISTRY.get_sample_value("kumos_requests_total", asked) == before + 1
    none = {"status": "2xx", "method": "other", "route": "none"}
    assert REGISTRY.get_sample_value("kumos_requests_total", none)


def object_of(answer: Any) -> tuple[Any, Any]:
    request = answer.wsgi_request
    request.resolver_match = answer.resolver_match
    return request, answer


# The documents --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_table_names_what_there_is() -> None:
    documented = {row["name"]: row["type"] for row in TABLE_ROW.finditer(PAGE)}
    assert documented == {name: family.type for name, family in families().items()}


@pytest.mark.django_db
def test_the_table_names_the_labels() -> None:
    labels = {row["name"]: set(re.findall(r"`(\w+)`", row["labels"])) for row in TABLE_ROW.finditer(PAGE)}
    for name, family in families().items():
        used = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert used == labels[name] or not family.samples, name


def rules() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        yield from group["rules"]


@pytest.mark.django_db
def test_alerts_ask_for_what_there_is() -> None:
    there_are = {"up"}
    for name, family in families().items():
        kinds = ("_bucket", "_count", "_sum") if family.type == "histogram" else ("",)
        there_are.update(name + kind for kind in kinds)
    asked = {name for rule in rules() for name in re.findall(r"\b(?:kumos|process)_\w+", rule["expr"])}
    assert len(asked) > 10
    assert asked <= there_are


@pytest.mark.django_db
def test_alerts_ask_by_labels_and_values_that_there_are() -> None:
    """A selector that matches nothing never fires, and nobody notices."""
    REQUESTS.labels("GET", "/v1/assistants", "5xx")  # no series before the first: they are by what was asked for
    of: dict[str, list[dict[str, str]]] = {}
    for family in REGISTRY.collect():
        for sample in family.samples:
            of.setdefault(sample.name, []).append(sample.labels)
    for rule in rules():
        for name, selectors in re.findall(r"\b(kumos_\w+){([^}]*)}", rule["expr"]):
            for label, value in re.findall(r'(\w+)="([^"]*)"', selectors):
                assert any(labels[label] == value for labels in of[name]), rule["alert"]


def test_every_alert_is_explained() -> None:
    alerts = [rule["alert"] for rule in rules()]
    assert len(alerts) == len(set(alerts)) >= 8
    for rule in rules():
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert f"`{rule['alert']}`" in PAGE
