"""What the viewsets of /v1 share: whose project it is, and a body that has passed its serializer.

A view says what it `takes` and, as its return type, what it answers (assistants/answers.py). Two things happen around
every action without its knowing: where another request deletes under it what it named, it is tried again, and then
finds that missing; and with an Idempotency-Key it is done once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from io import SEEK_END
from typing import Any

from django.core.exceptions import ObjectDoesNotExist, ObjectNotUpdated
from django.core.handlers.asgi import ASGIRequest
from django.db import IntegrityError, OperationalError
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import ViewSet

from assistants import idempotency, shared
from assistants.answers import CURSORS
from assistants.authentication import authenticate, project_of, share_of
from assistants.faults import is_undone
from assistants.models import Project
from assistants.parsers import check_address
from assistants.rows import Vanished
from assistants.serializers.fields import ClosedSerializer, WireField

VANISHED = (IntegrityError, ObjectDoesNotExist, ObjectNotUpdated, FileNotFoundError, Vanished)
"""What an action meets where another request deleted an object between its look and its write."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request may bring besides the ids in its path: a body, and parameters of the query by their names.

    `only_reads`: whatever the action writes down, it may as well be written twice.
    """

    body: type[ClosedSerializer] | None = None
    query: Mapping[str, WireField] = field(default_factory=dict)
    only_reads: bool = False


def takes[View: Callable[..., Any]](
    body: type[ClosedSerializer] | None = None,
    *,
    query: Mapping[str, WireField] | None = None,
    only_reads: bool = False,
) -> Callable[[View], View]:
    """What every list takes (contract 1.4) need not be named by it; what it names has precedence."""

    def mark(view: View) -> View:
        view.taken = Taken(body, query or {}, only_reads)  # type: ignore[attr-defined]
        return view

    return mark


def taken(view: Callable[..., Any]) -> Taken:
    """What `view` takes: nothing, if it does not say."""
    said: Taken = getattr(view, "taken", Taken())
    return said


class ResourceViewSet(ViewSet):
    http_method_names = ["get", "head", "post", "delete"]

    @property
    def project(self) -> Project:
        return project_of(self.request)

    @property
    def taken(self) -> Taken:
        return taken(getattr(self, str(self.action)))

    def body(self) -> dict[str, Any]:
        """The request's body as the view takes it. ValidationError says what is wrong and where."""
        return self._body

    @cached_property
    def _body(self) -> dict[str, Any]:
        serializer = self.taken.body
        assert serializer is not None
        assert isinstance(self.request.data, dict)  # all our parsers make one
        body = {**self.request.data, **self.request.FILES.dict()}
        validated: dict[str, Any] = serializer().run_validation(body)
        return validated

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        queried = (value for values in request.query_params.lists() for value in values[1])
        check_address(*kwargs.values(), *queried)
        action = getattr(self, str(self.action), None)
        if action is not None:  # DRF calls next what is there by the name of the method
            setattr(self, str(request.method).lower(), partial(self.act, action))

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        if isinstance(response, Response) and response.status_code == 200 and (share := share_of(request)):
            response.data = shared.answer(response.data, share)
            response.headers.pop(CURSORS, None)  # how far the log has grown is hidden by a frozen share
        return super().finalize_response(request, response, *args, **kwargs)

    def act(self, action: Callable[..., HttpResponseBase], request: Request, **ids: str) -> HttpResponseBase:
        """The action's answer. Where what it named has vanished, that of a second try, which finds it missing.

        A deadlock, too, leaves nothing behind, and is not there at the second try.
        """
        act = partial(self.once if request.method == "POST" else self.attempt, action, request, **ids)
        try:
            return act()
        except VANISHED:
            authenticate(request._request)  # the project may have gone, too
            return act()
        except OperationalError as error:
            if not is_undone(error):
                raise
            return act()

    def attempt(self, action: Callable[..., HttpResponseBase], request: Request, **ids: str) -> HttpResponseBase:
        with self.ahead():
            return action(request, **ids)

    def once(self, action: Callable[..., HttpResponseBase], request: Request, **ids: str) -> HttpResponseBase:
        """`attempt`, or what it answered when the same request came with the same Idempotency-Key."""
        key = idempotency.key_of(request)
        if key is None:
            return self.attempt(action, request, **ids)
        asked = idempotency.fingerprint(request)
        if answered := idempotency.known(self.project, key, asked):
            return idempotency.replay(answered, self.reopen)
        if self.taken.body is not None:
            self.body()  # what takes long, or is refused, is done before others have to wait
        act = partial(action, request, **ids)
        if self.taken.only_reads:
            found = act()
            act = partial(lambda: found)
        with self.ahead():
            return idempotency.once(self.project, key, asked, act, self.reopen)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        """Around an action and its transaction: what takes too long to be done inside."""
        yield

    def reopen(self, beginning: dict[str, Any]) -> HttpResponseBase:
        """The stream that an action answered, from its beginning."""
        raise NotImplementedError(f"{type(self).__name__} answers no streams")

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # A chunked body has no Content-Length, and DRF would take it for an empty one. Django has it in a file by now.
        if "CONTENT_LENGTH" not in request.META and isinstance(request, ASGIRequest):
            spooled = request._stream
            request.META["CONTENT_LENGTH"] = str(spooled.seek(0, SEEK_END))
            spooled.seek(0)
        return super().initialize_request(request, *args, **kwargs)
