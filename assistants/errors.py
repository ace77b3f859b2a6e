"""The error object of the wire (contract 4): one exception, one envelope, the texts that more than one place needs.

Serializer fields raise DRF's ValidationError (serializers/refusals.py); the handler finds the first one and writes its
path into its text. Everything unforeseen is logged with its request id and answered as `server_error`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypedDict

import orjson
from django.core.exceptions import SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework.exceptions import APIException, ErrorDetail, MethodNotAllowed, ParseError, ValidationError
from rest_framework.response import Response

from assistants.faults import is_passing, outcome_is_unknown
from assistants.headers import IDEMPOTENCY_KEY
from assistants.serializers.refusals import HOLDER, PLACE

logger = logging.getLogger(__name__)

INVALID_REQUEST = "invalid_request_error"
SERVER_FAULT = "The server had an error processing your request. Sorry about that! You can retry your request."
OVERLOADED = "The server is overloaded or not ready yet."
OUTCOME_UNKNOWN = (
    "The server lost its database while it stored what you asked for: it may have been done, or not. Look before you"
    " send the request again. With an Idempotency-Key it could be sent again safely."
)
BROKEN_JSON = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library"
    " correctly. The API expects a JSON payload, but what was sent was not valid JSON.)"
)


class ErrorFields(TypedDict):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorObject(TypedDict):
    """The envelope of every error (contract 4.1)."""

    error: ErrorFields


class ApiError(APIException):
    """An answer in the contract's envelope. `param` is a path such as `messages[0].content`."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = INVALID_REQUEST,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status_code = status
        self.headers = dict(headers or {})
        self.body: ErrorObject = {"error": {"message": message, "type": type, "param": param, "code": code}}


def not_found(kind: str, id: str, *, param: str | None = None) -> ApiError:
    """404 for `kind` as OpenAI names it: assistant, thread, message, run, run step, vector store."""
    return ApiError(f"No {kind} found with id '{id}'.", status=404, param=param)


def unknown_url(request: HttpRequest) -> ApiError:
    return ApiError(f"Invalid URL ({request.method} {request.path})", status=404)


def path_join(path: str, key: str | int) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)


def first_error(detail: Any) -> tuple[str, ErrorDetail]:
    """Where the first fault of a ValidationError is, and the fault, which has PLACE where its path belongs.

    A detail is a list with a fault, or the objects around it that lead there (`refusals.at`).
    """
    path = holder = ""
    while isinstance(detail, Mapping):
        key, detail = next(iter(detail.items()))
        path, holder = path_join(path, key), path
    fault: ErrorDetail = detail[0]
    return path, ErrorDetail(fault.replace(HOLDER, holder), code=fault.code)


def from_validation(error: ValidationError) -> ApiError:
    path, fault = first_error(error.detail)
    return ApiError(fault.replace(PLACE, path), param=path or None, code=fault.code)


def api_error(error: Exception, request: HttpRequest) -> ApiError:
    """What `error` is on the wire. Never raises, never shows an inside."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ValidationError):
        return from_validation(error)
    if isinstance(error, ParseError):
        return ApiError(str(error.detail))
    if isinstance(error, MethodNotAllowed):
        return ApiError(f"Invalid method for URL ({request.method} {request.path})", status=405)
    if isinstance(error, SuspiciousOperation):
        return ApiError(f"The request is malformed: {error}")
    if isinstance(error, Http404):
        return unknown_url(request)
    if isinstance(error, APIException):
        return ApiError(str(error.detail), status=error.status_code)
    request_id = request.META.get("KUMOS_REQUEST_ID", "-")
    if outcome_is_unknown(error) and not may_come_twice(request):
        logger.error("nobody knows whether it was done (%s): %s", request_id, error)
        return ApiError(OUTCOME_UNKNOWN, status=500, type="server_error", headers={"x-should-retry": "false"})
    if is_passing(error):
        logger.warning("database not available (%s): %s", request_id, error)
        return unavailable()
    logger.error("unhandled error (%s)", request_id, exc_info=error)
    return ApiError(SERVER_FAULT, status=500, type="server_error")


def may_come_twice(request: HttpRequest) -> bool:
    """Whether a request does nothing more when it is sent again after it was done."""
    return request.method != "POST" or IDEMPOTENCY_KEY in request.headers


def unavailable() -> ApiError:
    """503: nothing was done, and a moment later it may be."""
    headers = {"Retry-After": "1", "x-should-retry": "true"}
    return ApiError(OVERLOADED, status=503, type="server_error", headers=headers)


def exception_handler(error: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's hook (settings.REST_FRAMEWORK)."""
    answer = api_error(error, context["request"])
    return Response(answer.body, status=answer.status_code, headers=answer.headers)


def error_response(error: Exception, request: HttpRequest) -> HttpResponse:
    """The same answer outside DRF: stream views, unknown URLs."""
    answer = api_error(error, request)
    return HttpResponse(
        orjson.dumps(answer.body), status=answer.status_code, headers=answer.headers, content_type="application/json"
    )
