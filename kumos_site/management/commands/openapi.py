"""`manage.py openapi`: writes the OpenAPI document to docs/openapi.json, where it is kept."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from kumos_site.openapi.document import KEPT, written


class Command(BaseCommand):
    help = "Write the OpenAPI document of /v1 to docs/openapi.json."

    def handle(self, *args: Any, **options: Any) -> None:
        KEPT.write_text(written())
        self.stdout.write(f"wrote {KEPT}")
