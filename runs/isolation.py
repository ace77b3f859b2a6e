"""A process of its own for a run whose next crash would be its last (`queue.on_last_chance`).

Whatever kills a process counts as a crash of all runs that it had, for nobody can know which of them it was. So before
a run fails for that, it gets a process that works on nothing else: if that one dies, too, it was the run's own doing.
No run ever fails because of its neighbours.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable
from contextlib import suppress

from django.conf import settings

logger = logging.getLogger(__name__)

AT_ONCE = 4
"""Processes that one runner has for this at the same time; each takes some 80 MB and two seconds to start."""

PAUSE_SECONDS = 10.0
"""After one that ended badly, and may do so again: its run keeps its place for as long."""


class Isolation:
    """`start`, as often as there are such runs, and `drain` in the end. Both are for the runner's loop."""

    def __init__(self) -> None:
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()

    def start(self, run_ids: Iterable[str]) -> None:
        """Begins those that have no process yet, AT_ONCE at most.

        Another runner may do the same at the same moment: one of the two processes finds nothing to claim.
        """
        new = [run_id for run_id in run_ids if run_id not in self.tasks]
        for run_id in new[: AT_ONCE - len(self.tasks)]:
            task = self.tasks[run_id] = asyncio.create_task(self._execute(run_id), name=run_id)
            task.add_done_callback(lambda task: self.tasks.pop(task.get_name()))

    async def drain(self) -> None:
        """Has them hand their runs back, and waits for it. Asked again, they do so at once."""
        self._stopping.set()
        for process in self._processes.values():
            tell(process)
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)

    async def _execute(self, run_id: str) -> None:
        logger.warning("run %s, whose workers died too often, gets a process of its own", run_id)
        command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "runworker", "--run", run_id]
        try:
            # In a group of its own: a Ctrl-C is for us alone, who tell it, or it would take our word for the second.
            process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, process_group=0)
        except OSError:
            logger.exception("run %s gets no process of its own now", run_id)
            await self._pause()
            return
        self._processes[run_id] = process
        if self._stopping.is_set():  # since it was begun: `drain` did not know of it
            tell(process)
        try:
            code = await process.wait()
        finally:
            del self._processes[run_id]
        if code:
            logger.error("the process of run %s ended with %s", run_id, code)
            await self._pause()

    async def _pause(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(PAUSE_SECONDS):
                await self._stopping.wait()


def tell(process: asyncio.subprocess.Process) -> None:
    """That it is to stop; one that has ended needs no telling."""
    with suppress(ProcessLookupError):
        process.terminate()
