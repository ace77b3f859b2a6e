"""The consumer of the Channels name `runs`: rings the runner and awaits nothing.

A consumer handles one message at a time and an exception loses what it had fetched, so no work happens here, and no
message carries anything that the database does not know.
"""

from __future__ import annotations

from typing import Any

from channels.consumer import AsyncConsumer

from runs.runner import Runner


class RunConsumer(AsyncConsumer):
    def __init__(self, runner: Runner) -> None:
        super().__init__()
        self.runner = runner

    async def run_queued(self, message: dict[str, Any]) -> None:
        self.runner.wake()

    async def run_cancel(self, message: dict[str, Any]) -> None:
        self.runner.cancel(message["run_id"])

    async def file_waiting(self, message: dict[str, Any]) -> None:
        self.runner.wake()
