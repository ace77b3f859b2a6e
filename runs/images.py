"""Images on their way to a model: fetched or read here, checked, and handed over as data URLs (contract 2.7).

Prompts name images as messages do; a model server is never given an address to visit, nor a file's id. `web.py` is how
an address is visited.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from channels.db import database_sync_to_async
from django.conf import settings

from assistants.stores import files_of
from runs import web
from runs.completers import ChatMessage, CompleterError, CompletionRequest, ErrorCode
from runs.models import Run

AT_ONCE = 4
TOTAL_BYTES_MAX = 50 * 1024 * 1024
"""All images of one request together."""
MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+-]{1,80}")
UNTYPED = frozenset({"", "application/octet-stream", "binary/octet-stream"})
GONE: Mapping[str, Any] = {"type": "text", "text": "[an image whose file was deleted]"}
TOKENS = {"low": 85, "high": 765, "auto": 765}
"""What an image costs: OpenAI's price of a thumbnail, and of 1024 × 1024 pixels. Others count differently."""


class NoImage(Exception):
    """Why something is no image that a model can see, as half a sentence."""


def tokens_of(part: Mapping[str, Any]) -> int:
    """An estimate, made before the image is fetched."""
    return TOKENS.get(part[part["type"]].get("detail", "auto"), TOKENS["auto"])


def kind_of(content: bytes) -> str:
    """The media type of an image by its first bytes. Raises NoImage for anything but PNG, JPEG, GIF and WebP."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if content.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return "image/webp"
    raise NoImage("it is not a PNG, JPEG, GIF or WebP image")


def checked(content: bytes, claimed: str = "") -> bytes:
    """`content`, if it is an image and `claimed`, its media type according to its sender, says nothing else."""
    if claimed not in UNTYPED and not claimed.startswith("image/"):
        raise NoImage(f"it is sent as '{claimed}'" if MEDIA_TYPE.fullmatch(claimed) else "it is not sent as an image")
    kind_of(content)
    return content


def data_url(content: bytes) -> str:
    """Typed by its bytes: servers are often wrong about which kind of image they send."""
    return f"data:{kind_of(content)};base64,{base64.b64encode(content).decode()}"


def unpacked(url: str) -> bytes:
    """The image in a data URL (RFC 2397). Raises NoImage."""
    head, comma, body = url[5:].partition(",")
    claimed, *parameters = head.lower().split(";")
    if not comma or "base64" not in [parameter.strip() for parameter in parameters]:
        raise NoImage("its data URL is not in base64")
    if len(body) * 3 // 4 > settings.KUMOS_IMAGE_BYTES_MAX + 2:
        raise NoImage(too_large())
    try:
        return checked(base64.b64decode(body, validate=True), claimed.strip())
    except (binascii.Error, ValueError):
        raise NoImage("its data URL is not in base64") from None


def too_large() -> str:
    return f"it is larger than {settings.KUMOS_IMAGE_BYTES_MAX} bytes (KUMOS_IMAGE_BYTES_MAX)"


def stored(run: Run, file_id: str) -> bytes | None:
    """The image of a file; None where the project has no such file any more. Reads the database. Raises NoImage."""
    file = files_of(run.project).filter(pk=file_id).first()
    if file is None:
        return None
    if file.bytes > settings.KUMOS_IMAGE_BYTES_MAX:
        raise NoImage(too_large())
    try:
        with file.blob.open("rb") as blob:
            return checked(blob.read())
    except FileNotFoundError:  # deleted meanwhile
        return None


class Images:
    """The images of one run. Each is fetched once, whatever the number of turns that show it."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._found: dict[str, Mapping[str, Any]] = {}
        self._bytes = 0
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def shown(self, request: CompletionRequest) -> CompletionRequest:
        """`request` with every image in it as a data URL.

        Raises CompleterError: "invalid_prompt" where an image is none or out of bounds, "server_error" where it could
        not be fetched now.
        """
        wanted = dict.fromkeys(source_of(part) for message in request.messages for part in image_parts(message))
        try:
            async with asyncio.TaskGroup() as group:
                for number, source in enumerate(wanted, 1):
                    if source not in self._found:
                        group.create_task(self._find(source, named(source, number)))
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
        return replace(request, messages=[self._with_images(message) for message in request.messages])

    def _with_images(self, message: ChatMessage) -> ChatMessage:
        if not image_parts(message):
            return message
        return {**message, "content": [self._part(part) for part in message["content"]]}

    def _part(self, part: Mapping[str, Any]) -> Mapping[str, Any]:
        if part["type"] == "text":
            return part
        found = self._found[source_of(part)]
        if found["type"] == "text":
            return found
        detail = part[part["type"]].get("detail", "auto")
        return {"type": "image_url", "image_url": {**found["image_url"], "detail": detail}}

    async def _find(self, source: str, name: str) -> None:
        async with self._slots:
            try:
                content = await self._content(source)
                if content is None:
                    self._found[source] = GONE
                    return
                self._bytes += len(content)
                if self._bytes > TOTAL_BYTES_MAX:
                    raise NoImage(f"together, the images of this thread have more than {TOTAL_BYTES_MAX} bytes")
                url = await asyncio.to_thread(data_url, content)
                self._found[source] = {"type": "image_url", "image_url": {"url": url}}
            except NoImage as fault:
                raise unusable(name, str(fault), "invalid_prompt") from None
            except web.Unfetchable as fault:
                raise unusable(name, fault.reason, "server_error" if fault.passing else "invalid_prompt") from None

    async def _content(self, source: str) -> bytes | None:
        if source.startswith("file"):
            return await database_sync_to_async(stored, thread_sensitive=False)(self.run, source)
        if source[:5].lower() == "data:":
            return await asyncio.to_thread(unpacked, source)
        fetched = await web.fetch(source, settings.KUMOS_IMAGE_BYTES_MAX)
        return checked(fetched.content, fetched.kind)


def image_parts(message: ChatMessage) -> list[Mapping[str, Any]]:
    content = message.get("content")
    return [part for part in content if part["type"] != "text"] if isinstance(content, list) else []


def source_of(part: Mapping[str, Any]) -> str:
    """A file's id, a data URL, or an address."""
    return str(part["image_file"]["file_id"] if part["type"] == "image_file" else part["image_url"]["url"])


def named(source: str, number: int) -> str:
    """What an error calls it. An address is what somebody wrote, and may be signed: only its place is told."""
    if source.startswith("file"):
        return f"The image '{source}'"
    return f"Image {number} of those that the model was to see"


def unusable(name: str, reason: str, code: ErrorCode) -> CompleterError:
    return CompleterError(code, f"{name} cannot be used: {reason}.")
