"""The watch over open streams, on a loop of the test's own. With a real server: tests/e2e/test_seats.py."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest
from pytest_django.fixtures import Settings

from assistants.authentication import Principal
from assistants.clock import now
from assistants.models import ApiKey
from streaming import seats
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS, ClosingPool, run_async

pytestmark = pytest.mark.django_db(transaction=True)


class Held(ClosingPool):
    """Threads whose first call waits at its beginning until it is let go."""

    def __init__(self) -> None:
        super().__init__(2)
        self.asked = asyncio.Event()
        self.go = threading.Event()

    def submit[**P, R](self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        def late() -> R:
            assert self.go.wait(PATIENCE_SECONDS)
            return call(*args, **kwargs)

        self.asked.set()
        return super().submit(late)


async def sit(principal: Principal, until: asyncio.Event, *, unwound: asyncio.Event | None = None) -> str:
    """A stream that ends by itself with `until`, and takes as long as `unwound` when it is cut. Returns why it was
    cut, "" if it was not."""
    try:
        async with seats.take(principal).occupied():
            try:
                await until.wait()
            finally:
                if unwound is not None:
                    await unwound.wait()
    except seats.StreamOver as over:
        return str(over)
    return ""


@pytest.fixture
def revoked(alice: ApiClient, settings: Settings) -> Principal:
    settings.KUMOS_RECHECK_SECONDS = 0.01
    ApiKey.objects.filter(pk=alice.key.pk).update(revoked_at=now())
    return Principal(alice.project, key=alice.key)


def test_a_stream_that_ends_while_its_reader_is_asked_for_does_not_end_the_watch(revoked: Principal) -> None:
    """Whoever comes later is cut as before."""

    async def scenario() -> tuple[str, str]:
        pool, over, never = Held(), asyncio.Event(), asyncio.Event()
        asyncio.get_running_loop().set_default_executor(pool)
        leaving = asyncio.create_task(sit(revoked, over))
        watching = asyncio.create_task(seats.watch())
        await pool.asked.wait()
        over.set()
        left = await leaving
        pool.go.set()
        coming = asyncio.create_task(sit(revoked, never))
        await asyncio.wait([watching, coming], return_when=asyncio.FIRST_COMPLETED)
        assert not watching.done(), watching.exception()
        watching.cancel()
        return left, await coming

    assert run_async(scenario) == ("", "its key, session or share is no longer valid")


def test_a_stream_that_is_being_cut_is_not_cut_again(revoked: Principal) -> None:
    """It has grown old, and is not gone yet, when its reader is found to be no longer welcome."""

    async def scenario() -> tuple[str, str]:
        never, unwound = asyncio.Event(), asyncio.Event()
        ageing = asyncio.create_task(sit(revoked, never, unwound=unwound))
        await asyncio.sleep(0)
        (seat,) = seats._open
        seat.cut("it is old")
        while not ageing.cancelling():
            await asyncio.sleep(0)
        watching = asyncio.create_task(seats.watch())
        coming = asyncio.create_task(sit(revoked, never))
        await asyncio.wait([watching, coming], return_when=asyncio.FIRST_COMPLETED)
        assert not watching.done(), watching.exception()
        watching.cancel()
        unwound.set()
        return await ageing, await coming

    assert run_async(scenario) == ("it is old", "its key, session or share is no longer valid")
