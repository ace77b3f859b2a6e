"""How the database is emptied after a test whose transactions were real: rows are deleted, where Django truncates.

Tables that are nearly empty are truncated slowly, above all by PostgreSQL, and Django then makes the permissions of
all models anew: together a tenth to a fifth of a second a test. What `migrate` has put into tables stays here.
"""

from __future__ import annotations

from django.db import connection, transaction
from django.test import TransactionTestCase

KEPT = {"django_migrations", "django_content_type", "auth_permission"}


def install() -> None:
    """For all tests of this process. There is one database."""
    TransactionTestCase._fixture_teardown = lambda case: clear()  # type: ignore[attr-defined]


@transaction.atomic
def clear() -> None:
    tables = connection.introspection.django_table_names(only_existing=True, include_views=False)
    with connection.cursor() as cursor:
        for table in sorted({*tables} - KEPT):  # in any order: foreign keys are looked at in the end
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(table)}")
