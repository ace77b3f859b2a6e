"""Whatever a test sees of /v1 must be in the OpenAPI document: answers, errors and headers, and the events of streams.

The clients of the tests call these by themselves (conftest.py, process.py, e2e/events.py), so no test has to.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any
from urllib.parse import unquote

import httpx
import orjson
from django.test import Client
from django.urls import Resolver404, resolve
from jsonschema_rs import Draft202012Validator

from kumos_site.openapi.document import HEADERS, document
from kumos_site.openapi.operations import template
from kumos_site.openapi.schemas import Schema
from streaming.models import Event


class OutsideTheDocument(AssertionError):
    """The server said something that the document does not allow."""


@cache
def header_validators() -> dict[str, Draft202012Validator]:
    return {name: Draft202012Validator(schema) for name, schema in HEADERS.items()}


def complain(validator: Draft202012Validator, value: Any, what: str) -> None:
    for error in validator.iter_errors(value):
        raise OutsideTheDocument(f"{what}: {error}")


def described(method: str, path: str, status: int) -> Schema:
    """The document's word on that answer; that of any error where the document has no such operation."""
    try:
        operation = document()["paths"][template(resolve(unquote(path)).route)][method.lower()]
    except (Resolver404, KeyError):
        if status not in (400, 404, 405):
            raise OutsideTheDocument(f"{method} {path} is answered with {status}, but not described.") from None
        operation = {"responses": {str(status): {"$ref": "#/components/responses/404"}}}
    answer: Schema | None = operation["responses"].get(str(status))
    if answer is None:
        raise OutsideTheDocument(f"{method} {path} must not be answered with {status}.")
    return document()["components"]["responses"][answer["$ref"].rpartition("/")[2]] if "$ref" in answer else answer


def check_answer(method: str, path: str, status: int, headers: Mapping[str, str], body: bytes | None) -> None:
    """`path` with its /v1; `body` is None where it is a stream, which is not read here. Raises OutsideTheDocument."""
    what = f"{method} {path} {status}"
    content = described(method, path, status)["content"]
    media = headers.get("content-type", "").partition(";")[0]
    if media not in content:
        raise OutsideTheDocument(f"{what}: {media}, not one of {list(content)}")
    for name, validator_of_header in header_validators().items():
        if name not in headers:
            raise OutsideTheDocument(f"{what}: no {name}")
        value = headers[name]
        is_number = HEADERS[name]["type"] == "integer"
        complain(validator_of_header, int(value) if is_number else value, f"{what}: {name}")
    if media == "application/json" and body is not None:
        reference = content[media]["schema"]
        complain(validator_of(orjson.dumps(reference)), orjson.loads(body), what)


@cache
def validator_of(schema: bytes) -> Draft202012Validator:
    return Draft202012Validator({**orjson.loads(schema), "components": document()["components"]})


@lru_cache(4096)
def check_event(name: str, data: str) -> None:
    """An event of a stream: its name is known, and its data have the shape that belongs to it."""
    if name == "done":
        assert data == "[DONE]"
        return
    events = document()["components"]["schemas"]["EventStream"]["x-events"]
    if name not in events:
        raise OutsideTheDocument(f"There is no event {name}.")
    complain(validator_of(orjson.dumps(events[name])), orjson.loads(data), name)


def check_log() -> None:
    """Every event that is in the database."""
    for name, data in Event.objects.values_list("name", "data").iterator():
        check_event(name, data)


def check_response(response: httpx.Response) -> None:
    """For httpx's event hooks. Reads what is JSON, and nothing else: a stream stays open, a file unread."""
    request = response.request
    if not request.url.path.startswith("/v1/") or request.method == "HEAD":
        return
    is_json = response.headers.get("content-type") == "application/json"
    body = response.read() if is_json else None
    check_answer(request.method, request.url.path, response.status_code, response.headers, body)


class CheckedClient(Client):
    """Django's test client, with every answer of /v1 held against the document."""

    def request(self, **request: Any) -> Any:
        response = super().request(**request)
        path = request["PATH_INFO"]
        if path.startswith("/v1/") and request["REQUEST_METHOD"] != "HEAD":
            body = None if response.streaming else response.content
            headers = {name.lower(): value for name, value in response.headers.items()}
            check_answer(request["REQUEST_METHOD"], path, response.status_code, headers, body)
        return response
