"""What the viewsets of /v1 share: whose project it is, and a body that has passed its serializer.

A view says what it `takes` and, as its return type, what it answers (assistants/answers.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import SEEK_END
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from assistants.authentication import project_of
from assistants.models import Project
from assistants.parsers import check_address
from assistants.serializers.fields import ClosedSerializer, WireField


@dataclass(frozen=True, slots=True)
class Taken:
    """What a request may bring besides the ids in its path: a body, and parameters of the query by their names."""

    body: type[ClosedSerializer] | None = None
    query: Mapping[str, WireField] = field(default_factory=dict)


def takes[View: Callable[..., Any]](
    body: type[ClosedSerializer] | None = None, *, query: Mapping[str, WireField] | None = None
) -> Callable[[View], View]:
    """What every list takes (contract 1.4) need not be named by it; what it names has precedence."""

    def mark(view: View) -> View:
        view.taken = Taken(body, query or {})  # type: ignore[attr-defined]
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

    def body(self) -> dict[str, Any]:
        """The request's body as the view takes it. ValidationError says what is wrong and where."""
        serializer = taken(getattr(self, str(self.action))).body
        assert serializer is not None
        assert isinstance(self.request.data, dict)  # all our parsers make one
        body = {**self.request.data, **self.request.FILES.dict()}
        validated: dict[str, Any] = serializer().run_validation(body)
        return validated

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        queried = (value for values in request.query_params.lists() for value in values[1])
        check_address(*kwargs.values(), *queried)

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        # A chunked body has no Content-Length, and DRF would take it for an empty one. Django has it in a file by now.
        if "CONTENT_LENGTH" not in request.META and isinstance(request, ASGIRequest):
            spooled = request._stream
            request.META["CONTENT_LENGTH"] = str(spooled.seek(0, SEEK_END))
            spooled.seek(0)
        return super().initialize_request(request, *args, **kwargs)
