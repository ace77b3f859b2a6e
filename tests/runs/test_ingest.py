"""Files on their way into a store: claims, the child that reads them, and what is left when anything goes wrong."""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.files.base import ContentFile
from django.core.files.storage import InMemoryStorage

from assistants import clock, stores
from assistants.models import Chunk, File, FileStatus, Project, Purpose, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice
from assistants.retrieval.search import search
from runs import ingest
from runs.ingest import FileClaim, Refusal, claim_files, fail, process, release, store, waiting_in
from tests.loops import run_async
from tests.runs.conftest import EndlessChild

pytestmark = pytest.mark.django_db(transaction=True)

TIDES = b"High tide comes twice a day.\n\nThe harbour master keeps the tables."


@pytest.fixture
def vector_store(db: None) -> VectorStore:
    return VectorStore.objects.create(project=Project.objects.create(name="Ingest"))


def waiting_file(vector_store: VectorStore, content: bytes = TIDES, name: str = "tides.txt") -> VectorStoreFile:
    file = File(project=vector_store.project, filename=name, bytes=len(content), purpose=Purpose.ASSISTANTS)
    file.blob.save(name, ContentFile(content), save=False)
    file.save()
    return stores.attach(vector_store, file)


def claim_one() -> FileClaim:
    (claim,) = claim_files("worker-1", 10)
    return claim


def run_out(store_file: VectorStoreFile) -> None:
    """The holder of the claim has not been heard of."""
    VectorStoreFile.objects.filter(pk=store_file.pk).update(claimed_until=clock.now() - timedelta(seconds=1))


def processed(store_file: VectorStoreFile) -> VectorStoreFile:
    async_to_sync(process)(claim_one())
    store_file.refresh_from_db()
    return store_file


def test_a_file_becomes_searchable(vector_store: VectorStore) -> None:
    store_file = waiting_file(vector_store)
    assert waiting_in([vector_store.id], clock.now())

    processed(store_file)

    assert (store_file.status, store_file.usage_bytes, store_file.last_error) == ("completed", len(TIDES), None)
    assert store_file.claimed_until is None
    assert not waiting_in([vector_store.id], clock.now())
    assert [passage.text for passage in search([vector_store.id], "who keeps the tables")] == [TIDES.decode()]


def test_the_chunk_sizes_of_the_attachment_count(vector_store: VectorStore) -> None:
    content = "\n".join(f"Line {number} of the log." for number in range(400)).encode()
    store_file = waiting_file(vector_store, content)
    VectorStoreFile.objects.update(max_chunk_size_tokens=100, chunk_overlap_tokens=0)

    processed(store_file)

    chunks = list(store_file.chunks.all())
    assert [chunk.position for chunk in chunks] == list(range(len(chunks)))
    assert "".join(chunk.text for chunk in chunks) == index.text_of(store_file.pk) == content.decode()
    assert len(chunks) > 20


@pytest.mark.parametrize(
    ("content", "name", "error"),
    [
        (b"\x89PNG", "a.png", {"code": "unsupported_file", "message": "The file type is not supported."}),
        (b"", "a.txt", {"code": "invalid_file", "message": "The file is empty."}),
        (
            b"PK",
            "a.docx",
            {"code": "invalid_file", "message": "The file is damaged or not what its name says."},
        ),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    vector_store: VectorStore, content: bytes, name: str, error: dict[str, str]
) -> None:
    store_file = processed(waiting_file(vector_store, content, name))
    assert (store_file.status, store_file.last_error, store_file.usage_bytes) == ("failed", error, 0)


def test_bytes_that_are_gone_are_a_server_error(vector_store: VectorStore, caplog: pytest.LogCaptureFixture) -> None:
    store_file = waiting_file(vector_store)
    store_file.file.blob.delete(save=False)
    assert processed(store_file).last_error == {"code": "server_error", "message": "The file could not be processed."}
    assert "FileNotFoundError" in caplog.text


def test_a_bomb_is_an_invalid_file(vector_store: VectorStore) -> None:
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b"1 0 0 1 0 0 cm " * 70_000) for _ in range(1_000)) + packer.flush()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(packed), packed),
    ]
    body = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, content) for number, content in enumerate(objects, 1))
    content = b"%PDF-1.4\n" + body + b"trailer << /Root 1 0 R /Size 5 >>\n%%EOF"
    store_file = processed(waiting_file(vector_store, content, "bomb.pdf"))
    assert store_file.status == FileStatus.FAILED
    assert store_file.last_error is not None
    assert store_file.last_error["code"] == "invalid_file"


def test_a_child_that_does_not_end_is_killed(
    vector_store: VectorStore, endless_child: EndlessChild, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "READ_SECONDS", 3)  # time enough for it to say who it is
    store_file = waiting_file(vector_store)
    claim = claim_one()

    async def read_in_vain() -> None:
        reading = asyncio.create_task(process(claim))
        await endless_child.started()
        await reading

    run_async(read_in_vain)
    endless_child.assert_dead()
    store_file.refresh_from_db()
    assert store_file.last_error == {"code": "invalid_file", "message": "The file takes too long to read."}


def test_cancelled_the_child_is_killed_and_the_file_waits(
    vector_store: VectorStore, endless_child: EndlessChild
) -> None:
    store_file = waiting_file(vector_store)
    claim = claim_one()

    async def cancel_in_the_middle() -> None:
        reading = asyncio.create_task(process(claim))
        await endless_child.started()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    run_async(cancel_in_the_middle)
    endless_child.assert_dead()
    release(claim)
    store_file.refresh_from_db()
    assert (store_file.status, store_file.claimed_until) == ("in_progress", None)
    assert claim_one().epoch == claim.epoch + 1


def test_remote_storage_is_read_through_a_copy(vector_store: VectorStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(File._meta.get_field("blob"), "storage", InMemoryStorage())
    assert processed(waiting_file(vector_store)).status == FileStatus.COMPLETED


def test_claims_are_exclusive_and_oldest_first(vector_store: VectorStore) -> None:
    files = [waiting_file(vector_store, name=f"{number}.txt") for number in range(3)]
    first = claim_files("worker-1", 2)
    second = claim_files("worker-2", 2)
    assert [claim.store_file_id for claim in first + second] == [file.pk for file in files]


def test_a_stale_holder_writes_nothing(vector_store: VectorStore) -> None:
    store_file = waiting_file(vector_store)
    stale = claim_one()
    run_out(store_file)
    current = claim_one()
    index.add_passages(store_file.pk, 0, [Slice("The new holder's first passage.")])

    assert not store(stale, [Slice("Old news.")])
    assert not fail(stale, Refusal("invalid_file", "No."))
    release(stale)

    store_file.refresh_from_db()
    assert store_file.status == FileStatus.IN_PROGRESS
    assert store_file.claimed_until is not None
    assert [chunk.text for chunk in store_file.chunks.all()] == ["The new holder's first passage."]
    assert store(current, [Slice("News.")])
    assert [chunk.text for chunk in store_file.chunks.all()] == ["News."]


def test_a_holder_that_loses_the_claim_in_the_middle_stops(vector_store: VectorStore) -> None:
    store_file = waiting_file(vector_store)
    claim = claim_one()

    def passages() -> list[str]:
        run_out(store_file)
        claim_one()
        return ["late"]

    assert not store(claim, (Slice(text) for _ in range(1) for text in passages()))
    assert not Chunk.objects.exists()


def test_a_file_that_ends_three_holders_fails(vector_store: VectorStore) -> None:
    store_file = waiting_file(vector_store)
    for _ in range(3):
        claim_one()
        run_out(store_file)

    assert claim_files("worker-1", 10) == []

    store_file.refresh_from_db()
    assert store_file.status == FileStatus.FAILED
    assert store_file.last_error == {"code": "server_error", "message": "The file could not be processed."}


def test_a_file_attached_again_gets_another_try(vector_store: VectorStore) -> None:
    test_a_file_that_ends_three_holders_fails(vector_store)
    store_file = stores.attach(vector_store, File.objects.get())
    assert processed(store_file).status == FileStatus.COMPLETED


def test_what_was_detached_or_deleted_meanwhile_breaks_nothing(
    vector_store: VectorStore, caplog: pytest.LogCaptureFixture
) -> None:
    detached, deleted = waiting_file(vector_store), waiting_file(vector_store)
    claims = claim_files("worker-1", 10)
    detached.delete()
    deleted.file.delete()

    for claim in claims:
        async_to_sync(process)(claim)
        assert not store(claim, [Slice("text")])
        assert not fail(claim, Refusal("invalid_file", "No."))

    assert not Chunk.objects.exists()
    assert caplog.text == ""


def test_a_cancelled_file_stays_cancelled(vector_store: VectorStore) -> None:
    store_file = waiting_file(vector_store)
    claim = claim_one()
    VectorStoreFile.objects.update(status=FileStatus.CANCELLED)
    async_to_sync(process)(claim)
    store_file.refresh_from_db()
    assert store_file.status == FileStatus.CANCELLED
    assert not store_file.chunks.exists()
