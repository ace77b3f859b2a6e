"""`manage.py demo`: makes the demo data, as often as you like, and says how to use it."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from kumos_site.demo import make_demo


class Command(BaseCommand):
    help = "Makes the demo project with documents, assistants, an API key and a user. A second call changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        demo = make_demo()
        if demo.added:
            self.stdout.write("Made " + ", ".join(demo.added) + ".")
        else:
            self.stdout.write("The demo data is there already; nothing was changed.")
        self.stdout.write(f"API key: {demo.key}")
        for name, id in demo.assistant_ids.items():
            self.stdout.write(f"{name}: {id}")
