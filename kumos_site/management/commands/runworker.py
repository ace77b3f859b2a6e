"""`manage.py runworker`: executes runs and serves nothing. Takes the place of the command of that name in Channels,
whose process would end on SIGTERM without handing anything back.
"""

from __future__ import annotations

import asyncio
import signal
from argparse import ArgumentParser
from contextlib import ExitStack
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from assistants import bell, layer
from kumos_site import descriptors, drain, health, names, probes, spool
from kumos_site.tables import missing_migrations
from runs.engine import Engine

LOOK_SECONDS = 1.0


class Command(BaseCommand):
    help = "Executes the runs that others serve. Any number of these, beside any number of `serve --web`."

    def add_arguments(self, parser: ArgumentParser) -> None:
        names = [bell.RUNNER_CHANNEL]
        parser.add_argument("channel", nargs="?", choices=names, default=names[0], help="the one name that there is")
        parser.add_argument("--run", help="the id of the one run to work on, for a worker that starts this by itself")

    def handle(self, *args: Any, **options: Any) -> None:
        settings.DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptors.allow_all()
        layer.one_of_several()
        with ExitStack() as stack:
            stack.enter_context(spool.occupy(settings.FILE_UPLOAD_TEMP_DIR))
            if settings.KUMOS_PROBE_PORT is not None and options["run"] is None:
                try:
                    stack.enter_context(probes.listening(settings.KUMOS_PROBE_HOST, settings.KUMOS_PROBE_PORT))
                except OSError as error:
                    raise CommandError(f"KUMOS_PROBE_PORT={settings.KUMOS_PROBE_PORT}: {error}") from None
            asyncio.run(self.work(options["run"]))
        self.say("Kumos worker has stopped.")

    async def work(self, only: str | None) -> None:
        """Until SIGTERM, SIGINT or the end of the `only` run. Then runs have some time to finish; asked twice, they are
        handed back."""
        loop = asyncio.get_running_loop()
        bell.attach(loop)
        names.attach(loop)
        engine = Engine(only)
        health.attach(engine)

        def asked_to_stop() -> None:
            if drain.begun.is_set():
                engine.hurry()
            drain.begun.set()
            stopping.set()

        stopping = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked_to_stop)
        starting = loop.create_task(self.start(engine, stopping))
        await stopping.wait()
        starting.cancel()
        await engine.stop(settings.KUMOS_DRAIN_SECONDS)

    async def start(self, engine: Engine, stopping: asyncio.Event) -> None:
        told = ""
        while reason := await database_sync_to_async(reason_to_wait, thread_sensitive=False)():
            if reason != told:
                self.say(f"Kumos worker waits: {reason}.")
            told = reason
            await asyncio.sleep(LOOK_SECONDS)
        engine.start()
        await engine.runner.registered.wait()
        self.say(f"Kumos worker is ready ({engine.runner.slots} slots).")
        await engine.over()
        stopping.set()

    def say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def reason_to_wait() -> str:
    """What keeps this release from working with the database, in a few words; "" if nothing does."""
    try:
        missing = missing_migrations()
    except DatabaseError as error:
        return f"the database does not answer ({error})"
    return "migrations are not applied (`manage.py migrate` does, or a starting server)" if missing else ""
