"""How connections to PostgreSQL are held: how many, and with which limits on what they wait for."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction
from django.test import Client

from assistants.models import Project, Thread, VectorStore
from kumos_site import postgres
from kumos_site.tables import LIMITS, alone
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def elsewhere[T](work: Callable[[], T]) -> T:
    """What `work` returns or raises in a thread, and so on a connection, of its own."""

    def closing() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(closing).result()


def limits() -> dict[str, str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(LIMITS)])
        return dict(cursor.fetchall())


def test_no_statement_waits_for_ever() -> None:
    assert set(limits()) == set(LIMITS)
    assert "0" not in limits().values()


def test_the_limits_are_not_those_of_migrations() -> None:
    before = limits()
    with alone():
        assert set(limits().values()) == {"0"}
    assert limits() == before
    call_command("migrate", verbosity=0)
    assert limits() == before


def test_what_the_address_says_wins() -> None:
    options = postgres.options(5, 10, 15, {"options": "-c statement_timeout=1s", "application_name": "mine"})
    assert options["application_name"] == "mine"
    assert options["options"].endswith("-c statement_timeout=1s")
    assert options["pool"]["max_size"] == 5


def test_a_host_that_vanishes_is_noticed() -> None:
    """A server keeps its limits for as long as it is there; what ends the wait for one that is not is the client's."""
    connection.ensure_connection()
    held = connection.connection.info.get_parameters()
    assert {name: held.get(name) for name in postgres.SILENCE} == {
        "keepalives": "1",
        "keepalives_idle": "5",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "tcp_user_timeout": "15000",
    }
    tcp = socket.socket(fileno=os.dup(connection.connection.fileno()))
    with closing(tcp):
        kept = [tcp.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
        names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        kept += [tcp.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    assert kept == [1, 5, 5, 3, 15_000]


def test_what_the_address_says_of_silence_wins() -> None:
    options = postgres.options(5, 10, 15, {"tcp_user_timeout": "60000", "keepalives_idle": "30"})
    assert (options["tcp_user_timeout"], options["keepalives_idle"], options["keepalives_count"]) == ("60000", "30", 3)


def test_a_row_that_is_held_too_long_is_given_up() -> None:
    project = Project.objects.create(name="Held")
    rows = Project.objects.filter(pk=project.pk)
    with transaction.atomic():
        rows.update(name="Mine")
        with pytest.raises(OperationalError, match="lock timeout"):
            elsewhere(lambda: rows.update(name="Theirs"))
    assert rows.get().name == "Mine"


@pytest.fixture
def crowd() -> Iterator[None]:
    """As many threads as the pool has connections, each with one of them."""
    size = connection.settings_dict["OPTIONS"]["pool"]["max_size"] - 1  # the test has its own
    connection.ensure_connection()
    taken, leave = threading.Barrier(size + 1), threading.Event()

    def hold() -> None:
        while connection.connection is None:
            with suppress(OperationalError):  # a slow machine does not make so many in time
                connection.ensure_connection()
        taken.wait(60)
        leave.wait(60)
        connections.close_all()

    threads = [threading.Thread(target=hold) for _ in range(size)]
    for thread in threads:
        thread.start()
    taken.wait(60)
    yield
    leave.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("crowd")
def test_a_pool_without_a_free_connection_is_a_database_that_is_busy() -> None:
    with pytest.raises(OperationalError, match="couldn't get a connection"):
        elsewhere(Project.objects.exists)


def test_whoever_finds_no_free_connection_may_come_again(alice: ApiClient, request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("crowd")
    answer = elsewhere(lambda: alice.get("/assistants"))
    assert (answer.status_code, answer.headers["Retry-After"], answer.headers["x-should-retry"]) == (503, "1", "true")


def test_a_deadlock_is_not_the_client_s_business(alice: ApiClient) -> None:
    """The request has its thread and wants the thread's store; somebody else does it the other way round."""
    attached = {"file_id": alice.make_file(), "tools": [{"type": "file_search"}]}
    thread = Thread.objects.get(pk=alice.make("/threads")["id"])
    message = {"role": "user", "content": "Look.", "attachments": [attached]}
    path = f"/threads/{thread.pk}/messages"
    alice.make(path, message)
    thread.refresh_from_db()
    (store,) = thread.tool_resources["file_search"]["vector_store_ids"]
    alive, told = threading.Event(), []

    def attach() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SET deadlock_timeout = '2s'")  # who waits longest notices, and gives way
            cursor.execute("SELECT pg_backend_pid()")
            told.append(cursor.fetchone()[0])
        alive.set()
        try:
            return int(alice.post(path, message).status_code)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET deadlock_timeout")

    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '60s'")
            cursor.execute("SET LOCAL deadlock_timeout = '60s'")
            VectorStore.objects.filter(pk=store).update(name="Held")
            answered = pool.submit(elsewhere, attach)
            assert alive.wait(PATIENCE_SECONDS)
            until_it_waits(told[0])
            Thread.objects.filter(pk=thread.pk).update(metadata={})
        assert answered.result(PATIENCE_SECONDS) == 200
    assert thread.messages.count() == 2


def until_it_waits(pid: int) -> None:
    """Returns when the session `pid` waits for a lock."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_stat_clear_snapshot(), cardinality(pg_blocking_pids(%s))", [pid])
            if cursor.fetchone()[1]:
                return
            assert time.monotonic() < give_up_at, "it waits for nothing"
            time.sleep(0.01)


def test_a_page_says_that_the_database_is_away(admin_client: Client) -> None:
    assert admin_client.get("/admin/").status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (mine,) = cursor.fetchone()
    elsewhere(lambda: Project.objects.raw(f"SELECT '' AS id, pg_terminate_backend({mine}, 5000)")[0])
    answer = admin_client.get("/admin/")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert "database" in answer.text
    connection.close()
    assert admin_client.get("/admin/").status_code == 200
