"""Django's `migrate`, by one process at a time and without the limits of requests; the groups (roles.py) go along."""

from __future__ import annotations

from typing import Any

from django.core.management.commands import migrate

from kumos_site import roles
from kumos_site.tables import alone


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        with alone(options["database"]):
            before = roles.known()
            super().handle(*args, **options)
            if roles.known() - before:
                roles.grant(before)
