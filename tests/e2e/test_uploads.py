"""Uploads and downloads of the real server: of any size, in constant memory, however they are framed (contract 5.1)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.process import KumosProcess

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

MEGABYTE = 1024 * 1024
BLOCK = bytes(range(256)) * 4096
HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
)
TAIL = b"\r\n--b--\r\n"
FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def form(megabytes: int) -> Iterator[bytes]:
    """A multipart upload of so many megabytes, in pieces."""
    yield HEAD
    for _ in range(megabytes):
        yield BLOCK
    yield TAIL


def sized(megabytes: int) -> dict[str, str]:
    return {**FORM, "Content-Length": str(len(HEAD) + megabytes * MEGABYTE + len(TAIL))}


class Peak:
    """The most resident memory that a process had of its own, while this was open: bytes."""

    def __init__(self, server: KumosProcess) -> None:
        self.status = Path(f"/proc/{server.pid}/status")
        self.first = self.now()
        self.most = self.first
        self.over = threading.Event()
        self.watch = threading.Thread(target=self.look)

    def now(self) -> int:
        return int(self.status.read_text().split("RssAnon:")[1].split()[0]) * 1024

    def look(self) -> None:
        while not self.over.wait(0.01):
            self.most = max(self.most, self.now())

    def __enter__(self) -> Peak:
        self.watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.watch.join()

    @property
    def growth(self) -> int:
        return self.most - self.first


def there_and_back(server: KumosProcess, megabytes: int, headers: dict[str, str]) -> int:
    """Uploads, compares, downloads, compares, deletes; how much the server's memory grew at most."""
    with server.client(timeout=300) as client:
        client.post("/v1/files", content=form(1), headers=FORM).raise_for_status()  # what is loaded once, is
        with Peak(server) as peak:
            answer = client.post("/v1/files", content=form(megabytes), headers=headers)
            assert answer.status_code == 200, answer.text
            file = answer.json()
            assert file["bytes"] == megabytes * MEGABYTE
            assert client.get("/v1/files").json()["data"][0] == file
            digest = hashlib.sha256()
            with client.stream("GET", f"/v1/files/{file['id']}/content") as download:
                assert download.headers["Content-Length"] == str(file["bytes"])
                for piece in download.iter_bytes():
                    digest.update(piece)
        assert digest.digest() == hashlib.sha256(BLOCK * megabytes).digest()
        assert client.delete(f"/v1/files/{file['id']}").json()["deleted"] is True
    print(f"{megabytes} MB: grown by {peak.growth / MEGABYTE:.1f} MB")  # noqa: T201
    return peak.growth


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_an_upload_takes_no_memory(server: KumosProcess, framing: str) -> None:
    assert there_and_back(server, 64, sized(64) if framing == "sized" else FORM) < 16 * MEGABYTE


@pytest.mark.slow
def test_the_largest_upload_takes_no_more(server: KumosProcess) -> None:
    assert there_and_back(server, 512, sized(512)) < 32 * MEGABYTE


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_file_that_is_too_large_is_refused_and_leaves_nothing(tmp_path: Path, framing: str) -> None:
    with KumosProcess(tmp_path, KUMOS_FILE_BYTES_MAX=str(2 * MEGABYTE)) as server:
        before = len(list((server.data_dir / "files").rglob("file-*")))  # those of the demo
        with server.client() as client, Peak(server) as peak:
            answer = client.post("/v1/files", content=form(40), headers=sized(40) if framing == "sized" else FORM)
            assert answer.status_code == 400
            files = (server.data_dir / "files").rglob("file-*")
            assert len(list(files)) == before
            assert answer.json()["error"] == {
                "message": f"The file is too large. Its maximum size is {2 * MEGABYTE} bytes.",
                "type": "invalid_request_error",
                "param": "file",
                "code": None,
            }
            assert client.post("/v1/files", content=form(2), headers=FORM).status_code == 200
        assert peak.growth < 32 * MEGABYTE


@pytest.mark.slow
def test_others_are_answered_while_a_large_upload_is_taken_apart(server: KumosProcess) -> None:
    """More of them than there are threads for requests: the upload has none of those."""
    sent, done = threading.Event(), threading.Event()

    def announced() -> Iterator[bytes]:
        yield from form(512)
        sent.set()

    def upload() -> None:
        try:
            with server.client(timeout=300) as client:
                client.post("/v1/files", content=announced(), headers=sized(512)).raise_for_status()
        finally:
            done.set()

    uploading = threading.Thread(target=upload)
    uploading.start()
    assert sent.wait(120)
    answered = 0
    with server.client() as client:
        while not done.is_set():
            answered += client.get("/v1/assistants").is_success
    uploading.join()
    assert answered > 8


def test_a_client_that_goes_in_mid_upload_leaves_nothing(server: KumosProcess) -> None:
    def broken() -> Iterator[bytes]:
        yield HEAD
        yield BLOCK
        raise ConnectionError

    with server.client() as client:
        before = client.get("/v1/files").json()
        with pytest.raises(ConnectionError):
            client.post("/v1/files", content=broken(), headers=sized(3))
        with pytest.raises((ConnectionError, httpx.TransportError)):
            client.post("/v1/files", content=broken(), headers=FORM)
        assert client.get("/v1/files").json() == before
