"""Uploaded images on pages of the admin: which files are some, by how their bytes begin, and how bytes are sent."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.utils import quote
from django.http import FileResponse, Http404
from django.urls import reverse

from assistants.models import File

KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
"""SVG is none of them: it can hold scripts."""
BYTES_MAX = 20 * 1024 * 1024


def kind_of_image(file: File) -> str | None:
    """Its content type, whatever it is called; None for what is no image or too large to be shown."""
    if not 0 < file.bytes <= BYTES_MAX:
        return None
    try:
        with file.blob.open("rb") as opened:
            head = opened.read(16)
    except (OSError, ValueError):
        return None
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for beginning, kind in KINDS.items() if head.startswith(beginning)), None)


def image_address(file_id: str) -> str:
    return reverse("admin:assistants_file_image", args=[quote(file_id)])


def bytes_of(file: File, content_type: str, **how: Any) -> FileResponse:
    """The bytes, so that nothing in them runs on a page of this server. Http404 where they are gone."""
    headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}
    try:
        opened = file.blob.open("rb")
    except (OSError, ValueError):
        raise Http404 from None
    return FileResponse(opened, content_type=content_type, headers=headers, **how)
