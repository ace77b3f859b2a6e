"""What counts as the same failure: messages that differ in ids, numbers, times and addresses only."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runs.admin.error_groups import KEPT_CHARACTERS, group_of, normal

SAME = [
    (
        "The model server at http://10.0.0.7:8000/v1 did not answer.",
        "The model server at https://models.example.org/v1?x=1 did not answer.",
        "The model server at <address> did not answer.",
    ),
    ("Connect to 10.0.0.7:443 failed", "Connect to models.example.org:8443 failed", "Connect to <address> failed"),
    ("Host 10.0.0.7 is down", "Host 192.168.100.1 is down", "Host <address> is down"),
    ("Connect to [::1]:11434 failed", "Connect to [fe80::1]:80 failed", "Connect to <address> failed"),
    (
        "Limit 30000, Used 29,500.5. Try again in 1.5s (req_011CSHoEeqs5C35K2UUqR7Fy)",
        "Limit 90, Used 1. Try again in 20s (req_22aaBBccDD33eeFF44)",
        "Limit <n>, Used <n>. Try again in <n>s (<id>)",
    ),
    (
        "File file-4cFz3aWq0aHgJvk9Lx2Pqd is gone",
        "File file-ZZZZZZZZZZZZZZZZZZZZZ1 is gone",
        "File <id> is gone",
    ),
    (
        "id 123e4567-e89b-12d3-a456-426614174000",
        "id 00000000-0000-0000-0000-000000000001",
        "id <id>",
    ),
    ("digest deadbeef01", "digest 0123456789abcdef", "digest <id>"),
    ("since 2026-11-29T19:00:10.123Z", "since 2025-01-01 00:00:00+00:00", "since <time>"),
    ("Ask ann.b+c@mail.example.org", "Ask bob@example.com", "Ask <address>"),
    ("It\nbroke  badly. ", " It broke\tbadly.", "It broke badly."),
]


@pytest.mark.parametrize(("one", "other", "expected"), SAME)
def test_what_differs_from_run_to_run_is_taken_out(one: str, other: str, expected: str) -> None:
    assert normal(one) == normal(other) == expected


@pytest.mark.parametrize(
    "message",
    [
        "The model gpt-4o-mini does not exist.",
        "Rate limit reached for llama3 and gpt-3.5-turbo in organization",
        "The server was overloaded: well-documented behaviour",
        "'NoneType' object is not subscriptable",
        "The model server refused the key (401).",
        "Error code: 503",
        "answered with status 429",
    ],
)
def test_words_and_names_of_models_stay(message: str) -> None:
    assert normal(message) == message


def test_other_words_or_another_code_are_another_group() -> None:
    groups = [
        group_of({"code": "server_error", "message": "It broke."}),
        group_of({"code": "server_error", "message": "It burnt."}),
        group_of({"code": "rate_limit_exceeded", "message": "It broke."}),
    ]
    assert len({group.key for group in groups}) == 3


def test_the_key_is_the_same_on_every_server() -> None:
    assert group_of({"code": "server_error", "message": "Try 7"}).key == "9c8506e1bba3ad41"


@pytest.mark.parametrize("error", [None, {}, [], "text", 7, {"code": None, "message": None}, {"message": {"a": 1}}])
def test_any_stored_error_has_a_group(error: Any) -> None:
    assert group_of(error).code == "unknown"


def test_normal_form_is_its_own_normal_form() -> None:
    for one, _, _ in SAME:
        assert normal(normal(one)) == normal(one)


@pytest.mark.parametrize("piece", ["a", "1.", "1,1", "a-", "a.", "a@", "[:", "aB1_", "x://", "0f", " ", "\udcff"])
def test_a_hostile_message_takes_no_time(piece: str) -> None:
    """Quadratic patterns would take seconds for these."""
    began = time.process_time()
    assert len(normal(piece * 500_000)) <= KEPT_CHARACTERS + 1
    assert time.process_time() - began < 0.5
