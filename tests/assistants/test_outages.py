"""What a request is told when the database fails it: whether it may be sent again, and what is our own fault."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from django.db import connection

from assistants.models import Answered, Assistant
from tests.conftest import ApiClient

ADA = {"model": "scripted", "name": "Ada"}
KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}

Lose = Callable[[str], None]


@pytest.fixture
def lose() -> Iterator[Lose]:
    """`lose("IMMEDIATE" or "DEFERRED")`: PostgreSQL ends the connection that makes an assistant, at once or when it
    commits.
    """

    def lose(when: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$"
            )
            cursor.execute(
                "CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON assistants_assistant"
                f" DEFERRABLE INITIALLY {when} FOR EACH ROW EXECUTE FUNCTION lose()"
            )

    yield lose
    mend()


def mend() -> None:
    connection.close()  # as at the end of a request
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER IF EXISTS lose ON assistants_assistant")


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_a_commit_that_was_lost_is_not_to_be_sent_again(alice: ApiClient, lose: Lose) -> None:
    """The SDKs send again what is answered with 5xx, and nobody knows whether that made a second one."""
    lose("DEFERRED")
    answer = alice.post("/assistants", ADA)
    assert answer.status_code == 500
    assert answer.headers["x-should-retry"] == "false"
    assert "Retry-After" not in answer.headers
    error = answer.json()["error"]
    assert error["type"] == "server_error"
    assert "it may have been done, or not" in error["message"]


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_with_a_key_a_lost_commit_may_be_sent_again(alice: ApiClient, lose: Lose) -> None:
    def post() -> tuple[int, str | None]:
        answer = alice.client.post("/v1/assistants", ADA, content_type="application/json", headers=KEY)
        return answer.status_code, answer.headers.get("x-should-retry")

    lose("DEFERRED")
    assert post() == (503, "true")
    mend()
    assert post() == (200, None)
    assert post() == (200, None)
    assert (Assistant.objects.count(), Answered.objects.count()) == (1, 1)


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_what_was_lost_before_its_commit_may_be_sent_again(alice: ApiClient, lose: Lose) -> None:
    lose("IMMEDIATE")
    answer = alice.post("/assistants", ADA)
    assert (answer.status_code, answer.headers["x-should-retry"], answer.headers["Retry-After"]) == (503, "true", "1")
    mend()
    assert not Assistant.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_error_of_ours_in_sql_is_no_outage(alice: ApiClient, caplog: pytest.LogCaptureFixture) -> None:
    """SQLite calls a column that is not there an OperationalError, as it calls a lock."""
    rename = "ALTER TABLE assistants_assistant RENAME COLUMN {} TO {}"
    with connection.cursor() as cursor:
        cursor.execute(rename.format("instructions", "gone"))
    try:
        answer = alice.get("/assistants")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(rename.format("gone", "instructions"))
    assert answer.status_code == 500
    assert "Retry-After" not in answer.headers
    (logged,) = [record for record in caplog.records if record.name == "assistants.errors"]
    assert logged.levelno == logging.ERROR
    assert logged.exc_info
    assert "instructions" in str(logged.exc_info[1])
