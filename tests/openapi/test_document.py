"""The OpenAPI document: kept as the code makes it, valid, and the contract's endpoints, no more and no fewer (2.1)."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import get_resolver, path
from openapi_spec_validator import OpenAPIV31SpecValidator
from rest_framework.request import Request
from rest_framework.response import Response

from assistants.answers import Answer
from assistants.serializers.fields import ClosedSerializer, WireField
from assistants.views.resource import ResourceViewSet, takes
from kumos_site.openapi.document import EXTENSIONS, KEPT, describe, document, written
from kumos_site.openapi.operations import operations
from kumos_site.openapi.schemas import Schemas

CONTRACT = """
GET POST         /assistants
GET POST DELETE  /assistants/{assistant_id}
POST             /threads
GET POST DELETE  /threads/{thread_id}
POST             /threads/runs
GET POST         /threads/{thread_id}/messages
GET POST DELETE  /threads/{thread_id}/messages/{message_id}
GET POST         /threads/{thread_id}/runs
GET POST         /threads/{thread_id}/runs/{run_id}
POST             /threads/{thread_id}/runs/{run_id}/cancel
POST             /threads/{thread_id}/runs/{run_id}/submit_tool_outputs
GET              /threads/{thread_id}/runs/{run_id}/steps
GET              /threads/{thread_id}/runs/{run_id}/steps/{step_id}
GET POST         /files
GET DELETE       /files/{file_id}
GET              /files/{file_id}/content
GET POST         /vector_stores
GET POST DELETE  /vector_stores/{vector_store_id}
POST             /vector_stores/{vector_store_id}/search
GET POST         /vector_stores/{vector_store_id}/files
GET POST DELETE  /vector_stores/{vector_store_id}/files/{file_id}
GET              /vector_stores/{vector_store_id}/files/{file_id}/content
POST             /vector_stores/{vector_store_id}/file_batches
GET              /vector_stores/{vector_store_id}/file_batches/{batch_id}
POST             /vector_stores/{vector_store_id}/file_batches/{batch_id}/cancel
GET              /vector_stores/{vector_store_id}/file_batches/{batch_id}/files
GET              /models
GET              /models/{model}
"""


def test_the_document_is_kept_as_the_code_makes_it() -> None:
    assert KEPT.read_text() == written(), "Write it anew: manage.py openapi"


def test_the_document_is_valid() -> None:
    assert [error.message for error in OpenAPIV31SpecValidator(document()).iter_errors()] == []


def test_the_document_has_the_contracts_operations_and_marks_what_goes_beyond() -> None:
    promised = {
        f"{method} {address}"
        for *methods, address in (line.split() for line in CONTRACT.strip().splitlines())
        for method in methods
    }
    described = {
        f"{method.upper()} {address}": operation
        for address, item in document()["paths"].items()
        for method, operation in item.items()
    }
    assert promised <= described.keys()
    beyond = {name for name, operation in described.items() if "x-kumos-extension" in operation}
    assert described.keys() - promised == beyond == EXTENSIONS.keys()


def test_every_operation_has_a_name_of_its_own_and_every_post_says_what_it_takes() -> None:
    known = list(operations(get_resolver().url_patterns))
    assert len({operation.name for operation in known}) == len(known)
    empty = [str(operation) for operation in known if operation.method == "post" and operation.takes.body is None]
    assert sorted(name.rpartition("/")[2] for name in empty) == ["cancel", "cancel"]


@pytest.mark.django_db
def test_the_document_is_served_to_everybody() -> None:
    answer = Client().get("/v1/openapi.json")
    assert answer.status_code == 200
    assert answer.json() == document()


# What is not described is found ---------------------------------------------------------------------------------------


class Silent(ResourceViewSet):
    def retrieve(self, request: Request) -> Response:
        return Response({})


class Vague(ResourceViewSet):
    class Body(ClosedSerializer):
        field = WireField()

    @takes(Body)
    def retrieve(self, request: Request) -> Answer[dict[str, str]]:
        return Answer({})


def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


@pytest.mark.parametrize(
    ("view", "complaint"),
    [
        (Silent.as_view({"get": "retrieve"}), "does not say what it answers"),
        (Vague.as_view({"get": "retrieve"}), "WireField is not described"),
        (page, "does not say what it answers"),
    ],
)
def test_a_route_that_does_not_say_what_it_takes_and_answers_is_refused(view: Any, complaint: str) -> None:
    (operation,) = operations([path("v1/new", view)])
    with pytest.raises(TypeError, match=complaint):
        describe(operation, Schemas())


def test_one_name_has_one_meaning() -> None:
    schemas = Schemas()
    assert schemas.refer("Thing", lambda: {"type": "string"}) == schemas.refer("Thing", lambda: {"type": "string"})
    with pytest.raises(ValueError, match="Thing"):
        schemas.refer("Thing", lambda: {"type": "integer"})
