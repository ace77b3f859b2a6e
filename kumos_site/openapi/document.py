"""The OpenAPI 3.1 document, put together from operations, request fields and answer types."""

from __future__ import annotations

import json
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import FileResponse
from django.urls import get_resolver

from assistants import headers, idempotency
from assistants.answers import body_of, is_page
from assistants.errors import ErrorObject
from assistants.pagination import LIMIT_DEFAULT, LIMIT_MAX
from assistants.serializers.fields import Enum, Integer, String, WireField
from kumos_site.openapi.answers import answer_schema
from kumos_site.openapi.operations import Operation, operations
from kumos_site.openapi.requests import request_schema
from kumos_site.openapi.schemas import Schema, Schemas
from runs.events import EVENTS
from streaming import cursors
from streaming.cursors import Cursors
from streaming.sse import EventStream

KEPT: Path = settings.BASE_DIR / "docs" / "openapi.json"

EXTENSIONS = {
    "GET /threads": "OpenAI's API has no list of threads, and no search in them.",
    "POST /threads/{thread_id}/fork": "A new thread that begins like this one, up to a message of it.",
    "GET /threads/runs/stream": "Every run of several threads, live, on one connection.",
    "GET /threads/{thread_id}/runs/stream": "Every run of a thread, live; stays open until the thread is deleted.",
    "GET /threads/{thread_id}/runs/{run_id}/stream": "A run from its first event on, whenever it is called.",
    "GET /threads/{thread_id}/shares": "Links to a thread for people without a login.",
    "POST /threads/{thread_id}/shares": "A link by which anybody reads the thread, live or as it is now.",
    "GET /threads/{thread_id}/shares/{share_id}": "A link; its own token may ask for it, too.",
    "DELETE /threads/{thread_id}/shares/{share_id}": "The link works no longer.",
    "GET /openapi.json": "This document.",
}
"""What goes beyond the API that Kumos speaks, and why."""

ERRORS = {
    400: "What is wrong with the request, and where; or what forbids it now.",
    401: "No key, or a wrong one.",
    403: "The key or the session may not do this.",
    404: "There is no such object in the key's project.",
    408: "The request took too long to arrive.",
    409: "A request with that Idempotency-Key is still being worked on: try again in a moment.",
    422: "That Idempotency-Key was used with another request.",
    429: "Too much at once: try again later. With code `insufficient_quota`: a budget is used up (docs/costs.md).",
    500: "A fault of the server.",
    503: "The server is overloaded or not ready yet: try again.",
}
ERRORS_OF_KEYS = (409, 422)
IDEMPOTENCY_KEY: Schema = {
    "name": headers.IDEMPOTENCY_KEY,
    "in": "header",
    "description": "Sent again with the same key within 24 hours, a request is not done again: the answer is that of"
    " the first one, or the same stream from its beginning.",
    "schema": {"type": "string", "pattern": f"^{idempotency.KEY.pattern}$", "maxLength": idempotency.KEY_MAX},
}
PAGE_QUERY: dict[str, WireField] = {
    "limit": Integer(min=1, max=LIMIT_MAX, required=False),
    "order": Enum("asc", "desc", required=False),
    "after": String(required=False),
    "before": String(required=False),
}
"""What every list takes (contract 1.4)."""

HEADERS: dict[str, Schema] = {
    "x-request-id": {"type": "string", "pattern": "^req_[0-9a-f]{32}$"},
    "openai-processing-ms": {"type": "integer", "minimum": 0},
    "openai-version": {"type": "string", "const": "2020-10-01"},
    "openai-organization": {"type": "string"},
    "openai-project": {"type": "string"},
}
"""On every answer, errors and streams included (contract 1.1)."""
HEADER_REFERENCES: Schema = {name: {"$ref": f"#/components/headers/{name}"} for name in HEADERS}

DESCRIPTION = f"""\
The OpenAI Assistants API v2, self-hosted, with live streams of every run. Made from the code; what goes beyond OpenAI's
API is marked `x-kumos-extension`. Objects are closed: an answer has these keys and no others, a request with others is
refused. Lists give {LIMIT_DEFAULT} objects unless `limit` says otherwise. `OpenAI-Beta: assistants=v2` may be sent and
need not be."""


@cache
def document() -> Schema:
    """The document of this process. TypeError names what the code leaves undescribed."""
    schemas = Schemas()
    paths: dict[str, Schema] = {}
    for operation in operations(get_resolver().url_patterns):
        paths.setdefault(operation.path, {})[operation.method] = describe(operation, schemas)
    error = answer_schema(ErrorObject, schemas)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Kumos", "version": "2", "description": cleandoc(DESCRIPTION)},
        "servers": [{"url": "/v1"}],
        "security": [{"key": []}],
        "paths": {path: paths[path] for path in sorted(paths)},
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "headers": {name: {"required": True, "schema": schema} for name, schema in HEADERS.items()},
            "responses": {
                str(status): {"description": text, "headers": HEADER_REFERENCES, "content": json_content(error)}
                for status, text in ERRORS.items()
            },
            "schemas": {name: schemas.made[name] for name in sorted(schemas.made)},
        },
    }


def written() -> str:
    """The document as it is kept in docs/: one line for each value, so that differences are easily read."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def describe(operation: Operation, schemas: Schemas) -> Schema:
    described: Schema = {"operationId": operation.name, "tags": [operation.tag]}
    if operation.doc:
        described["description"] = cleandoc(operation.doc)
    if reason := EXTENSIONS.get(str(operation)):
        described["x-kumos-extension"] = reason
    if operation.is_open:
        described["security"] = []
    if parameters := _parameters(operation, schemas):
        described["parameters"] = parameters
    if operation.takes.body:
        described["requestBody"] = _body(operation, schemas)
    content: Schema = {}
    for kind in operation.answers:
        content |= _content(kind, schemas)
    if not content:
        raise TypeError(f"{operation} does not say what it answers.")
    success = {"description": "Success.", "headers": HEADER_REFERENCES, "content": content}
    described["responses"] = {
        "200": success,
        **{
            str(status): {"$ref": f"#/components/responses/{status}"}
            for status in ERRORS
            if operation.method == "post" or status not in ERRORS_OF_KEYS
        },
    }
    return described


def _parameters(operation: Operation, schemas: Schemas) -> list[Schema]:
    is_list = any(map(is_page, operation.answers))
    query = {**(PAGE_QUERY if is_list else {}), **operation.takes.query}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in operation.path_names
    ]
    parameters += [
        {
            "name": name,
            "in": "query",
            "schema": request_schema(field, schemas),
            **({"style": "deepObject", "explode": True} if isinstance(field, Cursors) else {}),
        }
        for name, field in query.items()
    ]
    if operation.method == "post":
        parameters.append(IDEMPOTENCY_KEY)
    if operation.answers[0] is EventStream:
        pattern = "^thread_[^:]+:[0-9]+$" if cursors.STATUS_PARAM in query else "^[0-9]+$"
        parameters.append({"name": cursors.HEADER, "in": "header", "schema": {"type": "string", "pattern": pattern}})
    return parameters


def _body(operation: Operation, schemas: Schemas) -> Schema:
    body = operation.takes.body
    assert body is not None
    media = "multipart/form-data" if operation.is_upload else "application/json"
    required = any(field.required for field in body().fields.values())
    return {"required": required, "content": {media: {"schema": request_schema(body(), schemas)}}}


def _content(kind: Any, schemas: Schemas) -> Schema:
    """The media types of an answer: none for a type that says nothing, as that of errors."""
    if (body := body_of(kind)) is not None:
        return json_content(answer_schema(body, schemas))
    if kind is EventStream:
        return {"text/event-stream": {"schema": schemas.refer("EventStream", lambda: stream_schema(schemas))}}
    if kind is FileResponse:
        return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {}


def json_content(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def stream_schema(schemas: Schemas) -> Schema:
    """Server-sent events. `x-events` has the schema of each event's data, by the event's name."""
    return {
        "description": "Server-sent events. The data of an event is one line of JSON, whose schema is in `x-events`"
        " under the event's name. The last event is `done` with the data `[DONE]`.",
        "type": "string",
        "x-events": {name: answer_schema(data, schemas) for name, data in EVENTS.items()},
    }
