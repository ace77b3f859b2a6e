"""What the viewsets of /v1 share: whose project it is, and a body that has passed its serializer."""

from __future__ import annotations

from io import SEEK_END
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from rest_framework.request import Request
from rest_framework.viewsets import ViewSet

from assistants.authentication import project_of
from assistants.models import Project
from assistants.parsers import check_address
from assistants.serializers.fields import ClosedSerializer


class ResourceViewSet(ViewSet):
    http_method_names = ["get", "head", "post", "delete"]

    @property
    def project(self) -> Project:
        return project_of(self.request)

    def body(self, serializer: type[ClosedSerializer]) -> dict[str, Any]:
        """The request's body as `serializer` understands it. ValidationError says what is wrong and where."""
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
