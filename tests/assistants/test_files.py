"""/files: uploads, their names and limits, downloads, deletion everywhere, and whose they are (contract 5.1)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from assistants import clock, storage, stores
from assistants.models import File, VectorStore, VectorStoreFile
from tests.conftest import ApiClient


def test_the_object_has_every_field(alice: ApiClient) -> None:
    file = alice.upload("Projekt Drache.md", "# Drache ☂".encode()).json()
    assert file["id"].startswith("file-")
    assert file == {
        "id": file["id"],
        "object": "file",
        "bytes": 12,
        "created_at": file["created_at"],
        "expires_at": None,
        "filename": "Projekt Drache.md",
        "purpose": "assistants",
        "status": "processed",
        "status_details": None,
    }
    assert alice.get(f"/files/{file['id']}").json() == file


def test_parts_come_in_any_order_and_may_nest(alice: ApiClient) -> None:
    parts = {"file": SimpleUploadedFile("a.txt", b"a"), "purpose": "user_data"}
    parts |= {"expires_after[seconds]": "3600", "expires_after[anchor]": "created_at"}
    file = alice.client.post("/v1/files", parts).json()
    assert file["purpose"] == "user_data"
    assert file["expires_at"] == file["created_at"] + 3600


@pytest.mark.parametrize(
    ("parts", "message", "param"),
    [
        ({"purpose": "assistants"}, "Missing required parameter: 'file'.", "file"),
        ({"file": b"a"}, "Missing required parameter: 'purpose'.", "purpose"),
        (
            {"file": b"a", "purpose": "x"},
            "'x' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'",
            "purpose",
        ),
        (
            {"file": "text", "purpose": "assistants"},
            "Invalid type for 'file': expected a file, but got a string instead.",
            "file",
        ),
        (
            {"file": b"a", "purpose": "assistants", "expires_after[anchor]": "created_at"},
            "Missing required parameter: 'expires_after.seconds'.",
            "expires_after.seconds",
        ),
        (
            {
                "file": b"a",
                "purpose": "assistants",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "60",
            },
            "Invalid 'expires_after.seconds': integer below minimum value. Expected a value >= 3600,"
            " but got 60 instead.",
            "expires_after.seconds",
        ),
        ({"file": b"a", "purpose": "assistants", "foo": "1"}, "Unknown parameter: 'foo'.", "foo"),
    ],
)
def test_refused(alice: ApiClient, media: Path, parts: dict[str, Any], message: str, param: str) -> None:
    form = {
        name: SimpleUploadedFile("a.txt", part) if isinstance(part, bytes) else part for name, part in parts.items()
    }
    answer = alice.client.post("/v1/files", form)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["message"], error["param"]) == (message, param)
    assert not File.objects.exists()
    assert not [path for path in media.rglob("*") if path.is_file()]


PURPOSE = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary here",
        PURPOSE + b"\r\nassist",
        PURPOSE + b"Content-Transfer-Encoding: base64\r\n\r\n*\r\n--b--\r\n",
        PURPOSE + b"\r\n\x00\xff\r\n--b--\r\n",
        PURPOSE.replace(b"purpose", b"a[") + b"\r\n1\r\n--b--\r\n",
    ],
)
@pytest.mark.parametrize("boundary", ["; boundary=b", "", "; boundary=é", "; charset=nonsense; boundary=b"])
def test_a_broken_form_is_the_clients_fault(alice: ApiClient, body: bytes, boundary: str) -> None:
    answer = alice.client.generic("POST", "/v1/files", body, content_type=f"multipart/form-data{boundary}")
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"


def upload_form(client: ApiClient, *parts: bytes) -> Any:
    body = b"".join(parts) + b"--b--\r\n"
    return client.client.generic("POST", "/v1/files", body, content_type="multipart/form-data; boundary=b")


GOOD_PURPOSE = part("purpose", b"assistants")
GOOD = [GOOD_PURPOSE, part("file", b"a", "a.txt")]
CREATED_AT = part("expires_after[anchor]", b"created_at")


@pytest.mark.parametrize(
    ("parts", "message", "param"),
    [
        ([GOOD_PURPOSE], "Missing required parameter: 'file'.", "file"),
        (
            [GOOD_PURPOSE, part("file", b"a", "")],
            "Invalid type for 'file': expected a file, but got a string instead.",
            "file",
        ),
        (
            [*GOOD, part("file", b"b", "b.txt")],
            "Invalid 'file': expected one file, but got 2 instead.",
            "file",
        ),
        (
            [*GOOD, part("other", b"b", "b.txt")],
            "Unknown parameter: 'other'.",
            "other",
        ),
        (
            [part("purpose", b"assistants", "a.txt"), part("file", b"a", "a.txt")],
            "'a.txt' is not one of ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'",
            "purpose",
        ),
        (
            [part("purpose", b"assistants_output"), part("file", b"a", "a.txt")],
            "'assistants_output' is not one of"
            " ['fine-tune', 'assistants', 'batch', 'user_data', 'vision', 'evals'] - 'purpose'",
            "purpose",
        ),
        (
            [*GOOD, part("expires_after[anchor]", b"now"), part("expires_after[seconds]", b"3600")],
            "Invalid value: 'now'. Supported values are: 'created_at'.",
            "expires_after.anchor",
        ),
        (
            [*GOOD, CREATED_AT, part("expires_after[seconds]", b"2592001")],
            "Invalid 'expires_after.seconds': integer above maximum value. Expected a value <= 2592000,"
            " but got 2592001 instead.",
            "expires_after.seconds",
        ),
        (
            [*GOOD, CREATED_AT, part("expires_after[seconds]", b"1e4")],
            "Invalid type for 'expires_after.seconds': expected an integer, but got a string instead.",
            "expires_after.seconds",
        ),
        (
            [*GOOD, part("expires_after", b"3600")],
            "Invalid type for 'expires_after': expected an object, but got a string instead.",
            "expires_after",
        ),
        (
            [*GOOD, part("expires_after[more]", b"1")],
            "Unknown parameter: 'expires_after.more'.",
            "expires_after.more",
        ),
    ],
)
def test_a_form_with_wrong_parts(alice: ApiClient, media: Path, parts: list[bytes], message: str, param: str) -> None:
    for order in (parts, parts[::-1]):
        answer = upload_form(alice, *order)
        assert answer.status_code == 400, answer.content
        error = answer.json()["error"]
        assert (error["message"], error["param"]) == (message, param)
    assert not File.objects.exists()
    assert not [path for path in media.rglob("*") if path.is_file()]


@pytest.mark.parametrize("purpose", ["fine-tune", "assistants", "batch", "user_data", "vision", "evals"])
def test_every_purpose(alice: ApiClient, purpose: str) -> None:
    file = alice.upload("a.jsonl", b"{}", purpose).json()
    assert file["purpose"] == purpose
    assert [one["id"] for one in alice.get("/files", {"purpose": purpose}).json()["data"]] == [file["id"]]
    assert alice.get(f"/files/{file['id']}/content").getvalue() == b"{}", "which may all be downloaded here"


def test_a_huge_field_is_refused(alice: ApiClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 1000
    answer = upload_form(alice, part("purpose", b"x" * 2000), part("file", b"a", "a.txt"))
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith("We could not parse the multipart form of your request")
    assert upload_form(alice, GOOD_PURPOSE, part("file", b"a" * 2000, "a.txt")).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "text/plain", "", "nonsense"])
def test_a_body_that_is_no_form_is_refused(alice: ApiClient, kind: str) -> None:
    answer = alice.client.generic("POST", "/v1/files", b'{"file": "a", "purpose": "assistants"}', content_type=kind)
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"]["type"] == "invalid_request_error"


def test_too_many_parts_are_refused(alice: ApiClient, settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 5
    form = {f"part{index}": "x" for index in range(10)}
    assert alice.client.post("/v1/files", form).status_code == 400


def test_size_limit(alice: ApiClient, settings: Settings, media: Path) -> None:
    settings.KUMOS_FILE_BYTES_MAX = 1000
    answer = alice.upload("a.txt", b"x" * 1001)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "file"
    settings.KUMOS_FILE_BYTES_MAX = 10
    assert alice.upload("a.txt", b"x" * 2_000_000).status_code == 400, "refused by its Content-Length"
    assert not [path for path in media.rglob("*") if path.is_file()]
    settings.KUMOS_FILE_BYTES_MAX = 1000
    assert alice.upload("a.txt", b"x" * 1000).status_code == 200


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\notes.txt", "notes.txt"),
        ("bad\x07name.txt", "badname.txt"),
        ("x" * 400 + ".txt", None),
        ("Bericht – Ü.pdf", "Bericht – Ü.pdf"),
    ],
)
def test_a_name_is_only_a_label(alice: ApiClient, media: Path, sent: str, kept: str | None) -> None:
    body = (
        f'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
        f'--b\r\nContent-Disposition: form-data; name="file"; filename="{sent}"\r\n\r\nhello\r\n--b--\r\n'
    )
    answer = alice.client.generic("POST", "/v1/files", body.encode(), content_type="multipart/form-data; boundary=b")
    file = answer.json()
    assert answer.status_code == 200, file
    assert 0 < len(file["filename"]) <= 255
    if kept:
        assert file["filename"] == kept
    (stored,) = [path for path in media.rglob("*") if path.is_file()]
    assert stored == media / alice.project.id / file["id"]


def test_content_is_a_harmless_download(alice: ApiClient) -> None:
    page = b"<script>alert(1)</script>\r\n\x00\xff"
    file_id = alice.make_file("página.html", page)
    answer = alice.get(f"/files/{file_id}/content")
    assert answer.status_code == 200
    assert answer.getvalue() == page
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "attachment; filename*=utf-8''p%C3%A1gina.html"


def test_delete_removes_it_everywhere(
    alice: ApiClient, media: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    file_id, other = alice.make_file("a.txt"), alice.make_file("b.txt")
    store = alice.make("/vector_stores", {"file_ids": [file_id, other]})
    resources = {"code_interpreter": {"file_ids": [file_id, other]}}
    assistant = alice.make("/assistants", {"model": "m", "tool_resources": resources})
    thread = alice.make("/threads", {"tool_resources": resources})
    with django_capture_on_commit_callbacks(execute=True):
        answer = alice.delete(f"/files/{file_id}")
        assert (media / alice.project.id / file_id).exists(), "the bytes go after the commit"
    assert answer.json() == {"id": file_id, "object": "file", "deleted": True}
    for path in ("", "/content"):
        answer = alice.get(f"/files/{file_id}{path}")
        assert answer.status_code == 404
        assert answer.json()["error"] == {
            "message": f"No such File object: {file_id}",
            "type": "invalid_request_error",
            "param": "id",
            "code": None,
        }
    listed = alice.get(f"/vector_stores/{store['id']}/files").json()["data"]
    assert [item["id"] for item in listed] == [other]
    left = {"code_interpreter": {"file_ids": [other]}}
    assert alice.get(f"/assistants/{assistant['id']}").json()["tool_resources"] == left
    assert alice.get(f"/threads/{thread['id']}").json()["tool_resources"] == left
    assert [path.name for path in media.rglob("*") if path.is_file()] == [other]


def test_delete_finds_whoever_names_it(alice: ApiClient, charlie: ApiClient) -> None:
    """However many they are, and however the file got there."""
    file_id, other = alice.make_file("a.txt"), alice.make_file("b.txt")
    code = {"code_interpreter": {"file_ids": [other, file_id]}}
    many = [alice.make("/threads", {"tool_resources": code})["id"] for _ in range(storage.HOLDERS_PER_TRANSACTION + 2)]
    modified, attached, dropped = (alice.make("/threads")["id"] for _ in range(3))
    alice.make(f"/threads/{modified}", {"tool_resources": code})
    attachments = [{"file_id": id, "tools": [{"type": "code_interpreter"}]} for id in (other, file_id)]
    alice.make(f"/threads/{attached}/messages", {"role": "user", "content": "x", "attachments": attachments})
    alice.make(f"/threads/{dropped}", {"tool_resources": code})
    alice.make(f"/threads/{dropped}", {"tool_resources": {"code_interpreter": {"file_ids": []}}})
    untouched = charlie.make("/threads", {"metadata": {"file": file_id}})
    assert alice.delete(f"/files/{file_id}").status_code == 200
    for thread_id in (*many, modified, attached):
        resources = alice.get(f"/threads/{thread_id}").json()["tool_resources"]
        assert resources["code_interpreter"] == {"file_ids": [other]}
    assert alice.get(f"/threads/{dropped}").json()["tool_resources"] == {"code_interpreter": {"file_ids": []}}
    assert charlie.get(f"/threads/{untouched['id']}").json()["metadata"] == {"file": file_id}
    assert alice.delete(f"/files/{other}").status_code == 200
    assert alice.get(f"/threads/{modified}").json()["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_list_filters_by_purpose_and_has_its_own_limits(alice: ApiClient) -> None:
    first, second = alice.make_file(), alice.make_file()
    picture = alice.make_file("a.png", purpose="vision")
    page = alice.get("/files").json()
    assert [file["id"] for file in page["data"]] == [picture, second, first]
    assert (page["first_id"], page["last_id"], page["has_more"]) == (picture, first, False)
    assert [file["id"] for file in alice.get("/files", {"purpose": "vision"}).json()["data"]] == [picture]
    assert alice.get("/files", {"limit": 10_000}).status_code == 200
    answer = alice.get("/files", {"limit": 10_001})
    assert answer.json()["error"]["message"] == (
        "Invalid 'limit': integer above maximum value. Expected a value <= 10000, but got 10001 instead."
    )


@pytest.mark.parametrize(("order", "back"), [("desc", "asc"), ("asc", "desc")])
def test_pages_of_the_list(alice: ApiClient, charlie: ApiClient, order: str, back: str) -> None:
    foreign = charlie.make_file()
    ids = [alice.make_file(f"{number}.txt", purpose="vision" if number % 2 else "batch") for number in range(7)]
    if order == "desc":
        ids.reverse()
    walked: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = alice.get("/files", {"limit": 3, "order": order, **after}).json()
        walked += [file["id"] for file in page["data"]]
        assert (page["first_id"], page["last_id"]) == (page["data"][0]["id"], page["data"][-1]["id"])
        if not page["has_more"]:
            break
        after = {"after": page["last_id"]}
    assert walked == ids
    rest = alice.get("/files", {"order": back, "after": ids[3]}).json()
    assert [file["id"] for file in rest["data"]] == ids[2::-1]
    filtered = alice.get("/files", {"order": order, "purpose": "vision", "after": ids[2]}).json()["data"]
    assert [file["id"] for file in filtered] == [id for id in ids[3:] if File.objects.get(pk=id).purpose == "vision"]
    empty = alice.get("/files", {"purpose": "evals"}).json()
    assert empty == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert alice.get("/files", {"after": foreign}).status_code == 400
    assert alice.get("/files", {"limit": 0}).status_code == 400


def test_an_expired_file_is_gone_and_swept(
    alice: ApiClient, media: Path, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    file_id, kept = alice.make_file(), alice.make_file()
    File.objects.filter(pk=file_id).update(expires_at=clock.now())
    assert alice.get(f"/files/{file_id}").status_code == 404
    assert [file["id"] for file in alice.get("/files").json()["data"]] == [kept]
    with django_capture_on_commit_callbacks(execute=True):
        assert storage.delete_expired_files() == 1
    assert [path.name for path in media.rglob("*") if path.is_file()] == [kept]


def test_an_assistants_file_joins_the_hidden_store_of_its_project(alice: ApiClient, settings: Settings) -> None:
    searchable = alice.make_file()
    alice.make_file("a.png", purpose="vision")
    store = stores.covering_store(alice.project)
    assert list(VectorStoreFile.objects.filter(vector_store=store).values_list("file_id", "status")) == [
        (searchable, "in_progress")
    ]
    assert alice.get("/vector_stores").json()["data"] == []
    for answer in (
        alice.get(f"/vector_stores/{store.id}"),
        alice.post(f"/vector_stores/{store.id}", {"name": "mine"}),
        alice.delete(f"/vector_stores/{store.id}"),
        alice.get(f"/vector_stores/{store.id}/files"),
        alice.post("/threads", {"tool_resources": {"file_search": {"vector_store_ids": [store.id]}}}),
    ):
        assert answer.status_code == 404
    settings.KUMOS_SEARCH_ALL_FILES = False
    alice.make_file("more.txt")
    assert store.store_files.count() == 1
    assert VectorStore.objects.count() == 1


def test_project_sees_its_own_only(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    file_id = alice.make_file("a.txt", b"secret")
    assert bob.get(f"/files/{file_id}/content").getvalue() == b"secret"
    assert charlie.get("/files").json()["data"] == []
    for answer in (
        charlie.get(f"/files/{file_id}"),
        charlie.get(f"/files/{file_id}/content"),
        charlie.delete(f"/files/{file_id}"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]["message"] == f"No such File object: {file_id}"
    assert alice.get(f"/files/{file_id}").status_code == 200


def test_somebody_logged_in_uploads_as_a_key_does(alice: ApiClient, settings: Settings) -> None:
    """The check of the page's token must not read the form: Django would parse it, without this server's limits."""
    page = Client(enforce_csrf_checks=True)
    page.force_login(alice.user)
    page.cookies["csrftoken"] = token = "t" * 32
    form = {"purpose": "user_data", "file": SimpleUploadedFile("a.txt", b"1234567890")}
    assert page.post("/v1/files", form).status_code == 403
    headers = {"X-CSRFToken": token}
    answer = page.post("/v1/files", {**form, "file": SimpleUploadedFile("a.txt", b"1234567890")}, headers=headers)
    assert answer.status_code == 200, answer.content
    assert (answer.json()["filename"], answer.json()["purpose"]) == ("a.txt", "user_data")
    settings.KUMOS_FILE_BYTES_MAX = 9
    answer = page.post("/v1/files", {**form, "file": SimpleUploadedFile("a.txt", b"1234567890")}, headers=headers)
    assert answer.json()["error"]["message"] == "The file is too large. Its maximum size is 9 bytes."


def test_nobody_uploads_without_a_key(db: None, media: Path) -> None:
    answer = Client().post("/v1/files", {"purpose": "assistants", "file": SimpleUploadedFile("a.txt", b"a")})
    assert answer.status_code == 401
    assert not media.exists()
