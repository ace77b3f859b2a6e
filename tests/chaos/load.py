"""Work for the servers: N runs, some at a time, each watched by three subscribers; a few by the official SDK; and a
stranger with a key of another project who looks at all of it and must find nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai

from tests.chaos.history import History
from tests.chaos.servers import AUTHORISED
from tests.chaos.subscribers import AGAIN_SECONDS, Poster, Subscriber
from tests.chaos.wire import Address, Answer, Lost, ask, opened
from tests.process import KEY

TRANSPORT = (httpx2.TransportError, httpx2.StreamError)
"""What the SDK lets through of the client below it."""
PATIENCE_SECONDS = 120.0
"""How long one run may take, whatever is done to its servers."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A run that was answered with 2xx."""

    prompt: str
    run: str
    thread: str


@dataclass(slots=True)
class Load:
    """`await work()` makes `runs` runs, `at_once` at a time, and returns when all subscribers have seen the ends.

    `addresses` are those of the web processes, or of proxies in front of them; each request goes to any of them.
    """

    history: History
    addresses: Sequence[Address]
    runs: int
    at_once: int = 8
    model: str = "seeded:60:40"
    seed: int = 0
    subscribers: int = 3
    cuts: int = 2
    """How often the third subscriber cuts its stream."""
    sdk_every: int = 10
    """One run in so many is made and read with the official SDK; 0 for none."""
    posted_every: int = 3
    """One in so many of the others is made with `stream: true`; 0 for none."""
    pace: float = 0.0
    """Runs that are begun a second; 0: as soon as one of the others is through."""
    patience: float = PATIENCE_SECONDS
    mark: str = "run"
    """With what its prompts begin."""
    body: dict[str, Any] = field(default_factory=dict)
    """More fields of each run."""
    accepted: list[Accepted] = field(default_factory=list)
    after_accept: Callable[[Accepted], None] = lambda accepted: None
    _assistant: str = ""

    def chance(self, *what: object) -> random.Random:
        return random.Random(f"{self.seed}:{self.mark}:{what}")

    def address(self, chance: random.Random) -> Address:
        return chance.choice(self.addresses)

    async def begin(self) -> None:
        """Makes the assistant that `request` names; `work` does it itself."""
        self._assistant = (await self.insist(self.chance("assistant"), "/v1/assistants", {"model": self.model}))["id"]

    async def work(self) -> None:
        await self.begin()
        slots = asyncio.Semaphore(self.at_once)

        async def one(number: int) -> None:
            async with slots, asyncio.timeout(self.patience):
                await self.one(number)

        async with asyncio.TaskGroup() as group:
            for number in range(self.runs):
                group.create_task(one(number))
                if self.pace:
                    await asyncio.sleep(1 / self.pace)

    async def one(self, number: int) -> None:
        """One run with its readers, from its creation to its end."""
        prompt = f"{self.mark} {number} of {self.seed}"
        chance = self.chance(number)
        if self.sdk_every and number % self.sdk_every == self.sdk_every - 1:
            await self.by_sdk(prompt, chance)
        elif self.posted_every and number % self.posted_every == 0:
            await self.posted(prompt, chance)
        else:
            accepted = await self.create(prompt, chance)
            first = self.subscriber(Subscriber, prompt, "start")
            first.aim(accepted.thread, accepted.run)
            await self.watched(first, accepted, chance, first.follow())

    # Making runs ------------------------------------------------------------------------------------------------------

    def request(self, prompt: str, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": prompt}]
        return {"assistant_id": self._assistant, "thread": {"messages": messages}, **self.body, **more}

    async def insist(self, chance: random.Random, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """POSTs until it is answered with 2xx: one key for all tries, so that it happens once."""
        headers = {**AUTHORISED, "Idempotency-Key": f"{self.mark}-{chance.getrandbits(64):x}"}
        while True:
            with suppress(Lost):
                answer = await self.post(self.address(chance), path, headers, body)
                if answer.status == 200:
                    return answer.object
                assert answer.status in (409, 429) or answer.status >= 500, answer.body
            await asyncio.sleep(chance.uniform(*AGAIN_SECONDS))

    async def post(self, address: Address, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer:
        began = time.monotonic()
        answer = await ask(address, "POST", path, headers, body)
        self.answered("POST", path, answer.status, began)
        return answer

    def answered(self, method: str, path: str, status: int, began: float) -> None:
        seconds = round(time.monotonic() - began, 4)
        self.history.write("answer", method=method, path=path, status=status, seconds=seconds)

    async def create(self, prompt: str, chance: random.Random) -> Accepted:
        run = await self.insist(chance, "/v1/threads/runs", self.request(prompt))
        return self.accept(prompt, run["id"], run["thread_id"])

    def accept(self, prompt: str, run: str, thread: str) -> Accepted:
        accepted = Accepted(prompt, run, thread)
        self.history.write("accepted", prompt=prompt, run=run, thread=thread, model=self.model)
        self.accepted.append(accepted)
        self.after_accept(accepted)
        return accepted

    async def posted(self, prompt: str, chance: random.Random) -> None:
        """A run made with `stream: true`: its first reader begins with that answer."""
        poster = self.subscriber(Poster, prompt, "start")
        key = f"{self.mark}-{chance.getrandbits(64):x}"
        headers = {**AUTHORISED, "Idempotency-Key": key}
        reading = asyncio.create_task(self._post(poster, prompt, chance, headers))
        hearing = asyncio.create_task(poster.heard.wait())
        await asyncio.wait({reading, hearing}, return_when=asyncio.FIRST_COMPLETED)
        if not poster.run:
            hearing.cancel()
            await reading  # raises what went wrong
        accepted = self.accept(prompt, poster.run, poster.thread)
        await self.watched(poster, accepted, chance, reading)

    async def _post(self, poster: Poster, prompt: str, chance: random.Random, headers: dict[str, str]) -> None:
        while not poster.run:
            poster.forget()
            began = time.monotonic()
            with suppress(Lost):
                body = self.request(prompt, stream=True)
                async with opened(self.address(chance), "POST", "/v1/threads/runs", headers, body) as response:
                    self.answered("POST", "/v1/threads/runs", response.status, began)
                    if response.status == 200:
                        # Accepted, although no event has said yet which run it is: the checker looks for its prompt.
                        self.history.write("accepted", prompt=prompt, run="", thread="", model=self.model)
                        await poster.read(response)
            if not poster.run:
                await asyncio.sleep(chance.uniform(*AGAIN_SECONDS))
        await poster.follow()

    async def by_sdk(self, prompt: str, chance: random.Random) -> None:
        """As users do: stream it with the SDK, and when that breaks, poll."""
        host, port = self.address(chance)
        base_url = f"http://{host}:{port}/v1"
        async with openai.AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=20, timeout=30) as client:
            run_id = thread_id = ""
            broken: Exception | None = None
            while not run_id:
                try:
                    stream = await client.beta.threads.create_and_run(**self.request(prompt), stream=True)
                    async for event in stream:
                        if event.event == "thread.run.created":
                            run_id, thread_id = event.data.id, event.data.thread_id
                            self.accept(prompt, run_id, thread_id)
                except (openai.APIError, *TRANSPORT) as error:
                    broken = error
            while True:
                try:
                    run = await client.beta.threads.runs.poll(run_id, thread_id=thread_id, poll_interval_ms=200)
                    page = await client.beta.threads.messages.list(thread_id, run_id=run_id)
                    break
                except (openai.APIConnectionError, openai.InternalServerError, *TRANSPORT) as error:
                    broken = error
        text = "".join(part.text.value for part in page.data[0].content if part.type == "text") if page.data else ""
        sha = hashlib.sha256(text.encode()).hexdigest()[:16]
        self.history.write("told", prompt=prompt, run=run_id, status=run.status, sha=sha, broken=repr(broken))

    # Watching them ----------------------------------------------------------------------------------------------------

    def subscriber[S: Subscriber](self, kind: type[S], prompt: str, place: str) -> S:
        cuts = self.cuts if place == "cut" else 0
        return kind(self.history, self.addresses, AUTHORISED, prompt, place, self.chance(prompt, place), cuts=cuts)

    async def watched(self, first: Subscriber, accepted: Accepted, chance: random.Random, reading: Any) -> None:
        """Until the first reader and those that come to it have seen the end."""
        async with asyncio.TaskGroup() as readers:
            readers.create_task(finished(reading))
            for place in ("cut", "late")[: self.subscribers - 1]:
                other = self.subscriber(Subscriber, accepted.prompt, place)
                other.aim(accepted.thread, accepted.run)
                after = first.heard if place == "late" else None
                readers.create_task(joined(other, after, chance.uniform(0, 2) if place == "late" else 0))


async def finished(reading: Any) -> None:
    await reading


async def joined(reader: Subscriber, after: asyncio.Event | None, delay: float) -> None:
    """Follows once the run has begun to speak, and `delay` seconds more: that it is late is the point of it."""
    if after is not None:
        await after.wait()
        await asyncio.sleep(delay)
    await reader.follow()


async def look_around(history: History, address: Address, key: str, load: Load, chance: random.Random) -> None:
    """The stranger: asks for runs of the others, for their threads, streams and lists. Cancelled at the end."""
    headers = {"Authorization": f"Bearer {key}"}
    while True:
        await asyncio.sleep(chance.uniform(0.1, 0.4))
        if not load.accepted:
            continue
        seen = chance.choice(load.accepted)
        paths = [f"/v1/threads/{seen.thread}", f"/v1/threads/{seen.thread}/runs/{seen.run}"]
        paths += [f"{paths[1]}/stream", f"{paths[1]}/steps", f"{paths[0]}/messages", f"{paths[0]}/runs/stream"]
        path = chance.choice([*paths, "/v1/assistants", "/v1/files"])
        with suppress(Lost):
            answer = await ask(address, "GET", path, headers)
            found = len(answer.object["data"]) if answer.status == 200 and path.count("/") == 2 else 0
            history.write("stranger", path=path, status=answer.status, found=found)


async def at_most[S, T](number: int, work: Callable[[S], Awaitable[T]], over: Iterable[S]) -> list[T]:
    """`work` for each, so many at a time; what it returns, in their order. The first that fails ends the others."""
    slots = asyncio.Semaphore(number)

    async def one(item: S) -> T:
        async with slots:
            return await work(item)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(item)) for item in over]
    return [task.result() for task in tasks]
