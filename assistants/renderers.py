"""Always JSON: bare `application/json`, whatever Accept says (contract 0 and 10.15)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from assistants.errors import ApiError


class OrjsonRenderer(BaseRenderer):
    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        return orjson.dumps(data)


class AlwaysJSON(BaseContentNegotiation):
    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Forms need their parser; whatever else is sent is JSON, as curl sends it when nobody says so."""
        content_type = request.content_type or ""
        for parser in parsers:
            if content_type.startswith("multipart/") == (parser.media_type or "").startswith("multipart/"):
                return parser
        accepted = " or ".join(f"'{parser.media_type}'" for parser in parsers)
        sent = content_type.partition(";")[0]
        raise ApiError(
            f"Unsupported content type: '{sent}'. This API method only accepts {accepted} requests, but you specified"
            f" the header 'Content-Type: {sent}'. Please try again with a supported content type.",
            code="unsupported_content_type",
        )

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, renderer.media_type or ""
