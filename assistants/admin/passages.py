"""What a store made of a file: its passages in their order, with their tokens. Shown to whom may read content."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.admin.utils import quote
from django.urls import reverse

from assistants.masking import masked
from assistants.models import Chunk, FileStatus, VectorStoreFile
from assistants.tokens import count_tokens

PREVIEWED = 3
PASSAGES_PER_PAGE = 20


@dataclass(frozen=True, slots=True)
class ShownPassage:
    """A passage; `repeated` is its beginning, which the one in front ends with."""

    number: int
    repeated: str
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class Preview:
    passages: list[ShownPassage]
    total: int
    href: str


def shown(chunk: Chunk) -> ShownPassage:
    """Its text without secrets. Where masking leaves no telling which part is repeated, none is."""
    text, repeated = masked(chunk.text), masked(chunk.text[: chunk.repeated])
    if not text.startswith(repeated):
        repeated = ""
    return ShownPassage(chunk.position + 1, repeated, text[len(repeated) :], count_tokens(chunk.text.strip()))


def passages_of(store_file_id: int, first: int, count: int) -> list[ShownPassage]:
    """`count` passages from the position `first` on."""
    chunks = Chunk.objects.filter(store_file_id=store_file_id, position__gte=first).order_by("position")
    return [shown(chunk) for chunk in chunks[:count]]


def total_of(store_file_id: int) -> int:
    """Positions count from 0 and have no gaps, so the last one says how many there are."""
    last = Chunk.objects.filter(store_file_id=store_file_id).order_by("-position").values_list("position", flat=True)
    newest = last.first()
    return 0 if newest is None else newest + 1


def passages_address(store_file: VectorStoreFile) -> str:
    names = [quote(store_file.vector_store_id), quote(store_file.file_id)]
    return reverse("admin:assistants_vectorstore_passages", args=names)


def preview_of(rows: Iterable[VectorStoreFile]) -> Preview | None:
    """How the text begins, as one of the stores that finished reading the file has it."""
    row = next((row for row in rows if row.status == FileStatus.COMPLETED), None)
    if row is None:
        return None
    return Preview(passages_of(row.pk, 0, PREVIEWED), total_of(row.pk), passages_address(row))
