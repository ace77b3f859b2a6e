"""daphne's server with what it lacks (design, section 7): the runner on its loop, large bodies in constant memory,
backpressure, an abort for streams that fail, and an orderly stop.

Reaches into private things of daphne and Twisted: `connections`, and a request's `content`, `_response_started` and
`_parsePOSTFormSubmission`; tests cover them and the versions are pinned.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import Any
from weakref import WeakSet

from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server as DaphneServer
from django.conf import settings
from twisted.internet import reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from assistants import bell
from kumos_site import drain, health, intake, names, spool
from kumos_site.asgi import BODY
from runs.engine import Engine
from streaming import follow, seats

logger = logging.getLogger(__name__)

M_ARENA_MAX = -8  # malloc.h
BACKLOG = 1024
"""How many connections may wait until they are accepted: many readers come back at once."""


@implementer(IPushProducer)
class Gate:
    """Twisted's word on whether a client keeps up. Closed while its socket's buffer is full."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()

    def pauseProducing(self) -> None:
        self.open.clear()

    def resumeProducing(self) -> None:
        self.open.set()

    def stopProducing(self) -> None:
        self.open.set()


class Stalled(Exception):
    """The client of a streamed answer does not read it."""


class Server(DaphneServer):  # type: ignore[misc]
    """Serves `application`; with `with_runner` also executes runs, in the same process and on the same loop."""

    def __init__(
        self, application: Callable[..., Any], *, host: str, port: int, with_runner: bool, on_ready: Callable[[], None]
    ) -> None:
        super().__init__(
            application,
            endpoints=[
                f"{place}:backlog={BACKLOG}" for place in build_endpoint_description_strings(host=host, port=port)
            ],
            signal_handlers=False,
            ready_callable=self._ready,
            server_name="kumos",
            verbosity=0,
        )
        self._engine = Engine() if with_runner else None
        health.attach(self._engine)
        self._on_ready = on_ready
        self._gates: dict[Any, Gate] = {}
        self._channels: WeakSet[intake.Channel] = WeakSet()
        self._stopping: asyncio.Task[None] | None = None
        self.failed = False

    # Start --------------------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        share_heap()
        loop = asyncio.get_event_loop()
        bell.attach(loop)
        names.attach(loop)
        self._spool = spool.occupy(settings.FILE_UPLOAD_TEMP_DIR)
        self.http_factory.buildProtocol = self._connection
        self._watch = loop.create_task(seats.watch())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_stop)
        if self._engine is not None:
            self._engine.start()

    def listen_success(self, port: Any) -> Any:
        super().listen_success(port)
        self._on_ready()
        return port  # to whatever is to become of it in the end

    def listen_error(self, failure: Any) -> None:
        self.failed = True
        logger.critical("Kumos cannot listen: %s", failure.getErrorMessage())
        self.stop()

    # Stop ---------------------------------------------------------------------------------------------------------

    def _asked_to_stop(self) -> None:
        loop = asyncio.get_event_loop()
        if self._stopping is None:
            drain.begun.set()
            self._stopping = loop.create_task(self._stop_orderly(settings.KUMOS_DRAIN_SECONDS))
        elif self._engine is not None:  # asked twice: at once
            self._engine.hurry()

    async def _stop_orderly(self, seconds: float) -> None:
        """Runs finish or are handed back, streams are cut so that their readers come back, then the reactor stops."""
        try:
            if self._engine is not None:
                await self._engine.stop(seconds)
            for listener in self.listeners:
                listener.addCallback(lambda port: port and port.stopListening())
            self._end_connections()
            follow.hub().drain()
            await self._finish_answers()
        except Exception:
            logger.exception("the stop was not orderly")
        finally:
            reactor.stop()

    def _end_connections(self) -> None:
        """Idle ones now, others with their answer. A proxy that kept one would send what nobody answers any more."""
        for channel in list(self._channels):
            if channel.requests:
                channel.persistent = False
            else:
                channel.loseConnection()

    async def _finish_answers(self) -> None:
        """Requests under way are answered: a client that saw its connection cut would do what is done once more."""
        under_way = [
            details["application_instance"]
            for protocol, details in self.connections.items()
            if "application_instance" in details and protocol not in self._gates
        ]
        if under_way:
            await asyncio.wait(under_way, timeout=drain.ANSWER_SECONDS)
        await asyncio.sleep(0)

    def kill_all_applications(self) -> Any:
        # daphne's own trips over connections that have no application yet.
        for protocol, details in list(self.connections.items()):
            if "application_instance" not in details:
                del self.connections[protocol]
        return super().kill_all_applications()

    # Bodies and streams -----------------------------------------------------------------------------------------------

    def _connection(self, address: Any) -> intake.Channel:
        """Instead of daphne's, which reads requests of any size for any time."""
        channel = intake.Channel()
        channel.factory = self.http_factory
        channel.requestFactory = intake.Request
        channel.timeOut = settings.KUMOS_BODY_SECONDS
        self._channels.add(channel)
        return channel

    def protocol_connected(self, protocol: Any) -> None:
        super().protocol_connected(protocol)
        protocol._parsePOSTFormSubmission = False  # Twisted would read forms on the loop, in 13 times their memory

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        if scope["type"] == "http":
            # daphne would put the whole body, which is in a file by now, into a queue in memory.
            scope["extensions"] = {BODY: protocol.content}
            protocol.content = BytesIO()
        queue = super().create_application(protocol, scope)
        instance = self.connections.get(protocol, {}).get("application_instance")
        if instance is not None:
            instance.add_done_callback(lambda task: self._ended(protocol, task))
        return queue

    def _ended(self, protocol: Any, task: asyncio.Future[Any]) -> None:
        self._gates.pop(protocol, None)
        if task.cancelled() or task.exception() is None:
            return
        channel = channel_of(protocol)
        if getattr(protocol, "_response_started", False) and channel is not None:
            logger.warning("an answer was cut: %r", task.exception())
            # Half an answer must not look whole, and must not leave its reader waiting.
            channel.forceAbortClient()

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Waits, after each piece of a streamed answer, until the client has taken what was written before."""
        streams = message["type"] == "http.response.body" and bool(message.get("more_body"))
        gate = self._gates.get(protocol)
        if gate is None and streams and channel_of(protocol) is not None:
            gate = self._gates[protocol] = Gate()
            protocol.registerProducer(gate, True)
        if gate is not None and not streams and channel_of(protocol) is not None:
            protocol.unregisterProducer()
        await super().handle_reply(protocol, message)
        if gate is not None and streams:
            try:
                async with asyncio.timeout(settings.KUMOS_STALL_SECONDS):
                    await gate.open.wait()
            except TimeoutError:
                raise Stalled(f"the client took nothing for {settings.KUMOS_STALL_SECONDS:g} s") from None


def share_heap() -> None:
    """glibc gives every thread a heap, and keeps what was freed in it: tens of megabytes that nobody uses."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def channel_of(protocol: Any) -> Any:
    """The connection of a request; None once it is over, when Twisted takes the attribute away."""
    return getattr(protocol, "channel", None)
