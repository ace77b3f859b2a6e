"""Files of vector stores, from `in_progress` to `completed` or `failed` (contract 5.3). The runner drives it.

Reading a file happens in a child process (assistants/retrieval/extract.py): nobody knows what is in it. A claim is
a number, `epoch`: whoever holds an older one writes nothing, and a row that is gone takes no writes. Passages go in few
at a time, because SQLite has one writer and runs are streaming beside this; search sees none before the status says
`completed`. Ranking is not here, and neither is attaching files (assistants/stores.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Literal

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connections, transaction
from django.db.models import F, Q, QuerySet, Subquery

from assistants import clock
from assistants.models import File, FileStatus, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice

logger = logging.getLogger(__name__)

FILE_SLOTS = 2
"""Files that one process works on at the same time."""
CLAIM_SECONDS = 60
"""How long a claim holds without a sign of life; every batch of passages renews it."""
READ_SECONDS = 30
"""Wall clock of the child that reads a file."""
ATTEMPTS_MAX = 3
PASSAGES_PER_WRITE = 50
COMPLAINT_BYTES = 2_000

_threads = ThreadPoolExecutor(FILE_SLOTS, thread_name_prefix="kumos-ingest")
"""Of its own: followers wait for none of this."""

ErrorCode = Literal["server_error", "unsupported_file", "invalid_file"]

SERVER_ERROR = "The file could not be processed."
TOO_LONG = "The file takes too long to read."


@dataclass(frozen=True, slots=True)
class FileClaim:
    """The right to finish one file of one store."""

    store_file_id: int
    epoch: int
    vector_store_id: str
    file_id: str
    max_tokens: int
    overlap_tokens: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file cannot be searched: `last_error` of contract 5.3."""

    code: ErrorCode
    message: str


# Claims ---------------------------------------------------------------------------------------------------------------


def claim_files(worker_id: str, limit: int) -> list[FileClaim]:
    """Up to `limit` waiting files, oldest first, now claimed by the caller; in one transaction.

    Takes over claims that ran out. Where that happens to a file at its third attempt or later it is failed instead:
    whatever ends its holders must not go on for ever. (Attaching a file anew moves `epoch` too, and shortens this.)
    """
    moment = clock.shared_now()
    waiting = VectorStoreFile.objects.filter(
        Q(claimed_until=None) | Q(claimed_until__lt=moment), status=FileStatus.IN_PROGRESS
    )
    claims = []
    with transaction.atomic():
        waiting.filter(epoch__gte=ATTEMPTS_MAX, claimed_until__lt=moment).update(
            status=FileStatus.FAILED, last_error={"code": "server_error", "message": SERVER_ERROR}, claimed_until=None
        )
        for row in waiting.order_by("created_at", "id")[:limit]:
            won = waiting.filter(pk=row.pk, epoch=row.epoch).update(
                epoch=F("epoch") + 1, claimed_until=moment + timedelta(seconds=CLAIM_SECONDS)
            )
            if won:
                claims.append(
                    FileClaim(
                        store_file_id=row.pk,
                        epoch=row.epoch + 1,
                        vector_store_id=row.vector_store_id,
                        file_id=row.file_id,
                        max_tokens=row.max_chunk_size_tokens,
                        overlap_tokens=row.chunk_overlap_tokens,
                    )
                )
    for claim in claims:
        logger.info("%s reads %s for %s, attempt %d", worker_id, claim.file_id, claim.vector_store_id, claim.epoch)
    return claims


def release(claim: FileClaim) -> None:
    """Hands the file back, for a worker that is going away; call it when `process` has ended. Not a failed attempt."""
    _held(claim).update(claimed_until=None)


def waiting_in(store_ids: Sequence[str], since: datetime) -> bool:
    """Whether files that these stores had at `since` are in progress: runs wait up to 60 s for them (contract 5.2)."""
    waiting = VectorStoreFile.objects.filter(vector_store_id__in=store_ids, status=FileStatus.IN_PROGRESS)
    return waiting.filter(created_at__lte=since).exists()


def _held(claim: FileClaim) -> QuerySet[VectorStoreFile]:
    return VectorStoreFile.objects.filter(pk=claim.store_file_id, epoch=claim.epoch, status=FileStatus.IN_PROGRESS)


# Results --------------------------------------------------------------------------------------------------------------


def store(claim: FileClaim, passages: Iterable[Slice]) -> bool:
    """Writes the passages, then `completed`. False, and nothing more is written, once the claim no longer holds."""
    _clear(claim)
    position = 0
    for batch in batched(passages, PASSAGES_PER_WRITE):
        with transaction.atomic():
            if not _renew(claim):
                return False
            position += index.add_passages(claim.store_file_id, position, batch)
    size = File.objects.filter(store_files=claim.store_file_id).values("bytes")[:1]
    return bool(
        _held(claim).update(
            status=FileStatus.COMPLETED, usage_bytes=Subquery(size), last_error=None, claimed_until=None
        )
    )


def fail(claim: FileClaim, refusal: Refusal) -> bool:
    """Writes `failed` and why. False when the claim no longer holds."""
    _clear(claim)
    error = {"code": refusal.code, "message": refusal.message}
    return bool(_held(claim).update(status=FileStatus.FAILED, last_error=error, claimed_until=None))


def _renew(claim: FileClaim) -> bool:
    return bool(_held(claim).update(claimed_until=clock.shared_now() + timedelta(seconds=CLAIM_SECONDS)))


def _clear(claim: FileClaim) -> None:
    """Removes what an attempt before this one left behind, as long as the claim holds."""
    removed = PASSAGES_PER_WRITE
    while removed:
        with transaction.atomic():
            removed = index.remove_passages(claim.store_file_id, PASSAGES_PER_WRITE) if _renew(claim) else 0


# The work -------------------------------------------------------------------------------------------------------------


async def process(claim: FileClaim) -> None:
    """Sees the claimed file through. Raises nothing; cancelled, it kills the child and writes nothing.

    After a fault of ours (say, a database that does not answer) the claim runs out and somebody tries again.
    """
    try:
        await ingest(claim)
    except Exception:
        logger.exception("%s was not processed, attempt %d", claim.file_id, claim.epoch)


async def ingest(claim: FileClaim) -> None:
    """Reads the file in a child process and stores its passages, or why there are none."""
    with tempfile.TemporaryDirectory(prefix="kumos-", dir=settings.FILE_UPLOAD_TEMP_DIR) as folder:
        source = await in_thread(fetch, claim, Path(folder))
        if source is None:
            return
        result = await read(claim, source, Path(folder)) if isinstance(source, Source) else source
        if isinstance(result, Refusal):
            await in_thread(fail, claim, result)
        else:
            await in_thread(lambda: store(claim, passages_in(result)))


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    name: str


def fetch(claim: FileClaim, folder: Path) -> Source | Refusal | None:
    """The file on this machine's disk: the original, or a copy in `folder` from remote storage. None: it is gone."""
    file = File.objects.filter(pk=claim.file_id).first()
    if file is None:
        return None
    with suppress(NotImplementedError):  # Django's word for storage that is not a directory
        original = Path(file.blob.path)
        if original.is_file():
            return Source(original, file.filename)
    copy = folder / "source"
    try:
        with file.blob.open("rb") as blob, copy.open("wb") as target:
            shutil.copyfileobj(blob, target)
    except OSError:
        logger.exception("%s cannot be fetched from storage", claim.file_id)
        return Refusal("server_error", SERVER_ERROR)
    return Source(copy, file.filename)


async def read(claim: FileClaim, source: Source, folder: Path) -> Path | Refusal:
    """Runs the child. Returns where its passages are (one per line), or why there are none."""
    output, errors = folder / "passages", folder / "errors"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "assistants.retrieval.extract"),
            *(str(source.path), source.name, str(claim.max_tokens), str(claim.overlap_tokens)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=settings.BASE_DIR,
            env={"PYTHONUTF8": "1"},  # nothing of ours, and no secret, is in there with a hostile file
        )
        try:
            async with asyncio.timeout(READ_SECONDS):
                returncode = await child.wait()
        except TimeoutError:
            return Refusal("invalid_file", TOO_LONG)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
    return verdict(claim, returncode, output, errors)


def verdict(claim: FileClaim, returncode: int, output: Path, errors: Path) -> Path | Refusal:
    if returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        return Refusal("invalid_file", TOO_LONG)
    last = json.loads(last_line(output) or b"null")
    if returncode == 0 and isinstance(last, dict):
        return Refusal(last["error"], last["message"]) if "error" in last else output
    complaint = errors.read_bytes()[-COMPLAINT_BYTES:].decode(errors="replace")
    logger.error("reading %s ended with %d: %s", claim.file_id, returncode, complaint)
    return Refusal("server_error", SERVER_ERROR)


def last_line(path: Path) -> bytes:
    with path.open("rb") as lines:
        lines.seek(max(path.stat().st_size - COMPLAINT_BYTES, 0))
        return lines.read().rstrip(b"\n").rpartition(b"\n")[2]


def passages_in(path: Path) -> Iterator[Slice]:
    with path.open("rb") as lines:
        for line in lines:
            if isinstance(passage := json.loads(line), list):
                yield Slice(*passage)


async def in_thread[**P, R](work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Database work, in a thread whose connection is closed afterwards: files are rare, connections not free."""

    def closing() -> R:
        try:
            return work(*args, **kwargs)
        finally:
            connections.close_all()

    return await sync_to_async(closing, thread_sensitive=False, executor=_threads)()
