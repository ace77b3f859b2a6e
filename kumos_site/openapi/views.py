"""GET /v1/openapi.json: the document, for whoever asks."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request

from assistants.answers import Answer
from assistants.scopes import Area, within
from assistants.views.resource import ResourceViewSet
from kumos_site.openapi.document import document


@within(Area.ANY)
class DocumentViewSet(ResourceViewSet):
    authentication_classes = []
    permission_classes = []

    def retrieve(self, request: Request) -> Answer[dict[str, Any]]:
        return Answer(document())
