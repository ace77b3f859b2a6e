"""A conversation under full observation: every stream there is of it is read while it happens and goes through the
grammar, and after every commit the newest events are compared with what GET answers.

    with Conversation(client) as talk:
        talk.run(lambda: …)            # the model is set up before; see `Conversation`
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Self

from django.db import connections, transaction
from django.test import AsyncClient

from assistants.clock import now
from runs import queue
from runs.completers.openai_compatible import close_client
from runs.executor import Executor
from runs.models import Run
from runs.writer import Writer, _Job
from streaming.models import Event
from tests.conftest import ApiClient
from tests.e2e.events import Frame, frames
from tests.loops import run_async, until
from tests.runs.grammar import Grammar

BEGINNING = ["run.created", "run.queued", "run.in_progress"]
OPENED = ["run.step.created", "run.step.in_progress"]
SPEAKING = [*OPENED, "message.created", "message.in_progress", "message.delta"]
SPOKEN = [*SPEAKING, "message.completed", "run.step.completed"]
CALLED = [*OPENED, "run.step.delta"]


def question(
    client: ApiClient, *, assistant: dict[str, Any] | None = None, **fields: Any
) -> tuple[str, dict[str, Any]]:
    """Path and body of a run about a question in a thread of its own."""
    thread = client.make("/threads", {"messages": [{"role": "user", "content": "Hello"}]})
    made = client.make("/assistants", {"model": "m", **(assistant or {})})
    return f"/threads/{thread['id']}/runs", {"assistant_id": made["id"], **fields}


class Witness:
    """Compares the newest events of each object with what GET answers, in one transaction."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.faults: list[str] = []
        self.compared = 0
        self._seen = 0
        self._lock = threading.Lock()

    def look(self) -> None:
        with self._lock, transaction.atomic():
            newest: dict[str, dict[str, Any]] = {}
            runs: dict[str, str] = {}
            for event in Event.objects.filter(pk__gt=self._seen).order_by("pk"):
                self._seen = event.pk
                data = json.loads(event.data)
                if data["object"] in ("thread.run", "thread.run.step", "thread.message"):
                    newest[data["id"]] = data
                    runs[data["id"]] = event.run_id
            for id, data in newest.items():
                self._compare(data, self._fetched(data, runs[id]), newest.get(runs[id], {}).get("status"))

    def _fetched(self, data: dict[str, Any], run_id: str) -> dict[str, Any]:
        base = f"/threads/{data['thread_id']}"
        paths = {
            "thread.run": f"{base}/runs/{run_id}",
            "thread.run.step": f"{base}/runs/{run_id}/steps/{data['id']}",
            "thread.message": f"{base}/messages/{data['id']}",
        }
        return dict(self.client.get(paths[data["object"]]).json())

    def _compare(self, told: dict[str, Any], shown: dict[str, Any], run_status: str | None) -> None:
        """Event and answer differ in two fields only (contract 10.4, 10.8)."""
        self.compared += 1
        if told["object"] == "thread.run":
            told = {**told, "tool_resources": {}}
        if told["object"] == "thread.run.step" and run_status in ("completed", "incomplete"):
            told = {**told, "expires_at": None}
        if told != shown:
            self.faults.append(f"{told} != {shown}")


class WitnessedWriter(Writer):
    def __init__(self, witness: Witness) -> None:
        self.witness = witness
        super().__init__()

    def _commit(self, jobs: Sequence[_Job]) -> None:
        super()._commit(jobs)
        self.witness.look()


class Conversation:
    """One thread and what happens in it. `grammars` has a machine for each run, which has read its POST streams."""

    def __init__(self, client: ApiClient) -> None:
        self.client = client
        self.witness = Witness(client)
        self.writer = WitnessedWriter(self.witness)
        self.web = AsyncClient()
        self.headers = {"Authorization": f"Bearer {client.secret}"}
        self.grammars: dict[str, Grammar] = {}
        self.posted: dict[str, list[Frame]] = {}
        self.executor: Executor
        self._heard = b""
        self._listener: asyncio.Task[None] | None = None
        self._followed: dict[str, asyncio.Task[list[Frame]]] = {}
        self.thread_id = ""
        self.run_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.stop()

    @property
    def grammar(self) -> Grammar:
        return self.grammars[self.run_id]

    def names(self) -> list[str]:
        """What the newest run told, without `thread.`; deltas that follow each other count as one."""
        names: list[str] = []
        for name in self.grammar.taken:
            if not (name.endswith(".delta") and names and names[-1] == name):
                names.append(name)
        return names

    def play(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work` on a loop, while both GET streams are read, too; then every stream is read once more."""

        async def on_loop() -> None:
            try:
                await work()
                await self._compare_streams()
            finally:
                await close_client()
                connections.close_all()

        run_async(on_loop)
        assert self.witness.compared
        assert not self.witness.faults, self.witness.faults[0]

    def tell(self, path: str, body: dict[str, Any]) -> None:
        """`play` for a run that is left to itself."""
        self.play(lambda: self.whole(path, body))

    # What a client does -------------------------------------------------------------------------------------------

    async def start(self, path: str, body: dict[str, Any]) -> asyncio.Task[None]:
        """POST …/runs or /threads/runs with `stream`: returns once the run is there; the task reads to the end."""
        response = await self._post(path, {**body, "stream": True})
        run = await Run.objects.order_by("-created_at").afirst()
        assert run is not None
        self.thread_id, self.run_id = run.thread_id, run.pk
        self.grammars[run.pk] = Grammar()
        self.posted[run.pk] = []
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen())
        self._followed[run.pk] = asyncio.create_task(self._whole_stream(run.pk))
        await asyncio.to_thread(self.witness.look)
        return asyncio.create_task(self._read(response))

    async def submit(self, output: str = "rain") -> asyncio.Task[None]:
        path = f"/threads/{self.thread_id}/runs/{self.run_id}"
        pending = self.grammar.run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = [{"tool_call_id": call["id"], "output": output} for call in pending]
        body = {"tool_outputs": outputs, "stream": True}
        response = await self._post(f"{path}/submit_tool_outputs", body)
        await asyncio.to_thread(self.witness.look)
        return asyncio.create_task(self._read(response))

    async def cancel(self) -> None:
        await self._post(f"/threads/{self.thread_id}/runs/{self.run_id}/cancel", {})
        await asyncio.to_thread(self.witness.look)

    async def expired(self) -> None:
        """Asks for the run until it is shown as expired."""
        path = f"/threads/{self.thread_id}/runs/{self.run_id}"
        await until(lambda: self.client.get(path).json()["status"] == "expired")
        await asyncio.to_thread(self.witness.look)

    async def read_on(self) -> None:
        """What was told behind the end of the last POST stream, as the run's own stream has it."""
        told = self.posted[self.run_id]
        told += (more := (await self._whole_stream(self.run_id))[len(told) - 1 :])
        for frame in more:
            self.grammar.take(frame.name, frame.object)
        self.grammar.done()

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        kind = "application/json"
        response = await self.web.post(f"/v1{path}", body, content_type=kind, headers=self.headers)
        assert response.status_code == 200, getattr(response, "content", b"")
        return response

    async def _get(self, path: str) -> Any:
        return await self.web.get(f"/v1{path}", headers=self.headers)

    async def _read(self, response: Any) -> None:
        """A POST stream from its first to its last byte, through the run's grammar."""
        raw = b"".join([piece async for piece in response])
        response.close()
        self.posted[self.run_id] += (read := check_frames(raw))
        for frame in read[:-1]:
            self.grammar.take(frame.name, frame.object)
        self.grammar.done()

    # What a worker does -------------------------------------------------------------------------------------------

    async def claim(self, worker: str = "worker_test") -> asyncio.Task[None]:
        """Nobody's run, or that of a worker who is dead: what it had begun to write holds the lease once more, perhaps
        at the last moment, so the lease runs out here."""

        def claimed() -> Run | None:
            held = Run.objects.filter(pk=self.run_id, lease_until__isnull=False)
            held.update(lease_until=now() - timedelta(seconds=1))
            return queue.claim_one(Run.objects.get(pk=self.run_id), worker)

        run = await self.writer.run(claimed)
        assert run is not None
        self.executor = Executor(run, self.writer)
        return asyncio.create_task(self.executor.execute())

    async def lease_runs_out(self) -> None:
        """Behind what a dead worker had already given to the writer: each of its writes holds the lease once more."""
        held = Run.objects.filter(pk=self.run_id)
        await self.writer.run(lambda: held.update(lease_until=now() - timedelta(seconds=1)))

    async def until(self, name: str, count: int = 1) -> None:
        """Until `count` events of that name are in the run's log."""
        await until(lambda: Event.objects.filter(run_id=self.run_id, name=name).count() >= count)

    async def whole(self, path: str, body: dict[str, Any], rounds: int = 20) -> None:
        """A run from its start to its end, with outputs for whatever it asks for."""
        reading = await self.start(path, body)
        await (await self.claim())
        await reading
        while self.grammar.run["status"] == "requires_action" and rounds:
            rounds -= 1
            reading = await self.submit()
            await (await self.claim())
            await reading

    # The other two streams ----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        """The thread's stream, live. It does not end by itself."""
        async for piece in await self._get(f"/threads/{self.thread_id}/runs/stream"):
            self._heard += piece

    async def _whole_stream(self, run_id: str) -> list[Frame]:
        """The run's stream from its first event to where it ends now."""
        response = await self._get(f"/threads/{self.thread_id}/runs/{run_id}/stream")
        found = check_frames(b"".join([piece async for piece in response]))
        response.close()
        return found[:-1]

    async def _compare_streams(self) -> None:
        """Both GET streams told the same frames as the POST streams did, and do so again."""
        everything: list[Frame] = []
        for run_id, posted in self.posted.items():
            told = [frame for frame in posted if frame.name not in ("done", "thread.created")]
            live = await self._followed[run_id]
            assert live == told[: len(live)]  # it ended where the run waited for outputs
            assert await self._whole_stream(run_id) == told
            everything += told
        while len(frames(self._heard)) < len(everything):
            await asyncio.sleep(0.01)
        assert frames(self._heard) == everything
        assert self._listener is not None
        self._listener.cancel()
        await asyncio.gather(self._listener, return_exceptions=True)


def check_frames(raw: bytes) -> list[Frame]:
    """A stream that is over: ids rise, `done` is last and has none."""
    found = frames(raw)
    ids = [frame.id for frame in found[:-1] if frame.id is not None]
    assert len(ids) == len(found) - 1
    assert ids == sorted(set(ids))
    assert (found[-1].id, found[-1].name, found[-1].data) == (None, "done", "[DONE]")
    return found
