"""Request bodies: JSON that every database and client can hold, and multipart uploads (contract 0, 5.1).

Whatever is wrong with a body is the client's fault: 400, never 500.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import IO, Any

import orjson
from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.utils.datastructures import MultiValueDict
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser, DataAndFiles, MultiPartParser

from assistants.errors import BROKEN_JSON, ApiError
from assistants.serializers.refusals import kind_of

DEPTH_MAX = 64
INTEGER_LIMIT = 2**63
INTEGER_DIGITS_MAX = 20
FORM_OVERHEAD_BYTES = 1024 * 1024
"""What the other parts of an upload may take."""

LONG_NUMBER = re.compile(rb"\d{19}")
NESTED_PART = re.compile(r"(\w+)\[(\w+)\]")


class StrictJSONParser(BaseParser):
    """A JSON object in UTF-8; an empty body is the empty one. Of repeated keys the last counts."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        limit = settings.KUMOS_BODY_BYTES_MAX
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise body_too_large(limit)
        return parse_object(raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object in `raw`. ApiError 400 where it is none, or holds what cannot be stored or sent on."""
    if not raw:
        return {}
    try:
        body = parse_value(raw)
    except orjson.JSONDecodeError:
        raise ApiError(BROKEN_JSON) from None
    if not isinstance(body, dict):
        raise ApiError(f"Invalid type for the request body: expected an object, but got {kind_of(body)} instead.")
    return body


def parse_value(raw: bytes) -> Any:
    """Any JSON. ApiError 400 where it cannot be stored or sent on, orjson.JSONDecodeError where it is none."""
    value = orjson.loads(raw)  # refuses NaN, infinities, lone surrogates and everything that is not UTF-8
    # Looking at every value costs more than parsing; hardly any honest body can be guilty of anything.
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX or b"\\u0000" in raw:
        inspect(value)
    if LONG_NUMBER.search(raw):
        json.loads(raw, parse_int=check_integer)  # orjson has made floats of them
    return value


def check_integer(digits: str) -> int:
    """ApiError 400 for an integer beyond 64 bits, which databases and clients would round or refuse."""
    if len(digits) > INTEGER_DIGITS_MAX or not -INTEGER_LIMIT <= int(digits) < INTEGER_LIMIT:
        raise ApiError("The request body contains an integer that does not fit into 64 bits.")
    return 0


def inspect(body: Any) -> None:
    """ApiError 400 for nesting beyond 64 levels and for NUL characters. Needs no call stack."""
    level = [body]
    depth = 0
    while level:
        depth += 1
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper += value.keys()
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
            elif isinstance(value, str) and "\0" in value:
                raise ApiError("The request body contains a NUL character, which cannot be stored.")
        if depth > DEPTH_MAX and deeper:
            raise ApiError(f"The request body is nested too deeply. At most {DEPTH_MAX} levels are allowed.")
        level = deeper


def check_address(*texts: str) -> None:
    """ApiError 400 for a NUL in the path or the query of a request: PostgreSQL refuses to look for one."""
    if any("\0" in text for text in texts):
        raise ApiError("The address contains a NUL character.")


class UploadParser(BaseParser):
    """A multipart form: its texts as a plain dict, with `name[key]` parts as an object, and files with clean names."""

    media_type = MultiPartParser.media_type

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> DataAndFiles[dict[str, Any], MultiValueDict[str, UploadedFile[Any]]]:
        limit = settings.KUMOS_FILE_BYTES_MAX
        if content_length(parser_context) > limit + FORM_OVERHEAD_BYTES:
            raise file_too_large(limit)
        try:
            form = MultiPartParser().parse(stream, media_type, parser_context)
        except (ParseError, SuspiciousOperation, UnicodeError) as error:
            raise ApiError(f"We could not parse the multipart form of your request: {error}") from None
        files: MultiValueDict[str, UploadedFile[Any]] = form.files
        for name, uploads in files.lists():
            if len(uploads) != 1:
                raise ApiError(f"Invalid '{name}': expected one file, but got {len(uploads)} instead.", param=name)
            (upload,) = uploads
            if upload.size is None or upload.size > limit:
                raise file_too_large(limit)
            upload.name = label(upload)
        return DataAndFiles(nested(form.data.items()), files)


def content_length(parser_context: Mapping[str, Any] | None) -> int:
    return int(parser_context["request"].META.get("CONTENT_LENGTH") or 0) if parser_context else 0


def body_too_large(limit: int) -> ApiError:
    return ApiError(f"The request body is too large. Its maximum size is {limit} bytes.")


def file_too_large(limit: int) -> ApiError:
    return ApiError(f"The file is too large. Its maximum size is {limit} bytes.", param="file")


def nested(parts: Any) -> dict[str, Any]:
    """`expires_after[seconds]=3600` becomes {"expires_after": {"seconds": 3600}}: forms know only text."""
    body: dict[str, Any] = {}
    for name, text in parts:
        if "\0" in name or "\0" in text:
            raise ApiError("The multipart form contains a NUL character, which cannot be stored.")
        if match := NESTED_PART.fullmatch(name):
            outer, inner = match.groups()
            holder = body.setdefault(outer, {})
            if isinstance(holder, dict):
                holder[inner] = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text
        else:
            body[name] = text
    return body


def label(upload: UploadedFile[Any]) -> str:
    """The user's name for the file: shown, never used as a path."""
    name = (upload.name or "").replace("\\", "/").rpartition("/")[2]
    name = "".join(character for character in name if character.isprintable()).strip()
    return name[:255] or "file"
