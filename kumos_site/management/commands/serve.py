"""`manage.py serve`: one process that is everything, or with `--web` the web server of several."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import ArgumentParser
from typing import Any
from urllib.parse import urlsplit

import daphne.server  # first: it installs the reactor that everything else finds  # noqa: F401
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from assistants import layer
from kumos_site import descriptors
from kumos_site.demo import Demo
from kumos_site.login import one_time_path
from kumos_site.tables import set_up
from runs.completers.providers import points_at_self

SEARCHER = "Document Searcher"


class Command(BaseCommand):
    help = "Serves the API, the chat page and the admin, and executes runs, in one process."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default=settings.HOST)
        parser.add_argument("--port", type=int, default=settings.PORT)
        parser.add_argument("--web", action="store_true", help="only serve: runs are executed by other processes")

    def handle(self, *args: Any, **options: Any) -> None:
        from kumos_site.server import Server

        host, port = options["host"], options["port"]
        refuse_own_address(host, port)
        settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        if complaint := descriptors.shortage(settings.KUMOS_STREAMS_MAX, descriptors.allow_all()):
            self.stderr.write(complaint)
        demo = set_up() if settings.KUMOS_SETUP else None
        from kumos_site.asgi import application

        if options["web"]:
            layer.one_of_several()

        def ready() -> None:
            self.stdout.write(greeting(host, port, demo))
            self.stdout.flush()

        server = Server(application, host=host, port=port, with_runner=not options["web"], on_ready=ready)
        server.run()
        if server.failed:
            sys.exit(1)
        self.stdout.write("Kumos has stopped.")


def refuse_own_address(host: str, port: int) -> None:
    """A shell that points clients at Kumos would make Kumos ask itself, for ever."""
    for name in ("OPENAI_BASE_URL", "OLLAMA_BASE_URL"):
        address = getattr(settings, name)
        if address and points_at_self(address, host, port):
            raise CommandError(
                f"{name}={address} is the address of this Kumos itself: it must be that of a model server."
                f" Unset {name} here (clients may keep it), or choose another PORT."
            )


def greeting(host: str, port: int, demo: Demo | None) -> str:
    shown = "localhost" if host in {"127.0.0.1", "0.0.0.0", "::", "::1"} else host
    base = f"http://{shown}:{port}"
    model = settings.KUMOS_DEFAULT_MODEL
    upstream = urlsplit(settings.OPENAI_BASE_URL or settings.OLLAMA_BASE_URL).netloc or "none"
    lines = ["", f"Kumos is ready at {base}   (model: {model}, model server: {upstream})", ""]
    if demo is None:
        lines += [f"  Chat page  {base}/chat/", f"  Admin      {base}/admin/", f"  API        {base}/v1", ""]
        return "\n".join(lines)
    lines += [
        f"  Chat page  {base}{one_time_path(demo.user)}   (logs you in, once)",
        f"  Admin      {base}/admin/   (after that login)",
        f"  API        {base}/v1   key {demo.key}",
        "",
    ]
    if assistant_id := demo.assistant_ids.get(SEARCHER):
        lines += ["Watch an answer type itself in another terminal:", "", curl(base, demo.key, assistant_id), ""]
    return "\n".join([*lines, "Ctrl-C stops it.", ""])


def curl(base: str, key: str, assistant_id: str) -> str:
    """A command that streams when it is pasted."""
    message = {"role": "user", "content": "Summarize Project Dragon based on all available files"}
    body = {"assistant_id": assistant_id, "stream": True, "thread": {"messages": [message]}}
    return (
        f"  curl -N {base}/v1/threads/runs -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n"
        f"    -d {shlex.quote(json.dumps(body))}"
    )
