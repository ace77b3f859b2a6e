"""How connections to PostgreSQL are held: how many, and with which limits on what they wait for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections, transaction

from assistants.models import Project
from kumos_site import postgres
from kumos_site.tables import LIMITS, alone

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
        Project.objects.exists()
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
