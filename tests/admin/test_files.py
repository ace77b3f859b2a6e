"""Files in the admin: uploading several, what is refused and why, one file's page, and who gets the bytes."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.files.base import ContentFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from assistants import storage
from assistants.admin import content, markup
from assistants.models import Assistant, File, Project, Thread, VectorStore, VectorStoreFile
from assistants.retrieval import index
from assistants.retrieval.chunk import Slice

from .conftest import HOSTILE, SHOWN

ADD = "/admin/assistants/file/add/"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


def upload(name: str, data: bytes) -> BytesIO:
    file = BytesIO(data)
    file.name = name
    return file


def make(project: Project, name: str = "notes.txt", data: bytes = b"Dragons.", purpose: str = "assistants") -> File:
    return storage.store_file(project, ContentFile(data), filename=name, purpose=purpose)


def page(client: Client, file: File) -> str:
    answer = client.get(markup.page_of(File, file.pk))
    assert answer.status_code == 200
    return answer.content.decode()


def send(client: Client, project: Project, *files: BytesIO, **more: Any) -> Any:
    return client.post(ADD, {"project": project.pk, "purpose": "assistants", "file": list(files)}, **more)


def test_several_files_are_kept_at_once(root: Client, dragons: Project) -> None:
    answer = send(root, dragons, upload("one.txt", b"first"), upload("dir/two.txt", b"second"), follow=True)
    assert "2 files uploaded." in answer.content.decode()
    assert sorted(dragons.files.values_list("filename", "bytes")) == [("one.txt", 5), ("two.txt", 6)]
    for file in dragons.files.all():
        assert file.store_files.get().vector_store.covers_project
        assert LogEntry.objects.filter(object_id=file.pk).exists()


def test_the_script_is_answered_in_json(root: Client, dragons: Project) -> None:
    answer = send(root, dragons, upload("one.txt", b"first"), headers={"accept": "application/json"})
    file = dragons.files.get()
    assert answer.json() == {"files": [{"name": "one.txt", "id": file.pk, "href": markup.page_of(File, file.pk)}]}


def test_a_file_beyond_the_limit_is_refused_and_the_others_are_kept(
    root: Client, dragons: Project, settings: Settings
) -> None:
    settings.KUMOS_FILE_BYTES_MAX = 5
    answer = send(root, dragons, upload("big.txt", b"123456"), upload("small.txt", b"12345"), follow=True)
    assert "ig.txt: It is too large" in answer.content.decode()
    assert dragons.files.get().filename == "small.txt"


@pytest.mark.parametrize(
    "form", [{"project": "proj_none", "purpose": "assistants"}, {"purpose": "assistants"}, {"purpose": "nonsense"}]
)
@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_bad_input_is_named(root: Client, dragons: Project, form: dict[str, Any], accept: str) -> None:
    given = {"project": dragons.pk, **form} if form.get("purpose") == "nonsense" else form
    answer = root.post(ADD, {**given, "file": upload("a.txt", b"a")}, headers={"accept": accept})
    assert answer.status_code == (200 if accept == "text/html" else 400)
    assert re.search("valid choice|required", answer.content.decode())
    assert not File.objects.exists()


def test_an_upload_without_a_file_says_so(root: Client, dragons: Project) -> None:
    assert "Choose at least one file." in send(root, dragons, follow=True).content.decode()


def test_without_a_project_one_is_made_first(root: Client) -> None:
    assert root.get(ADD).headers["Location"] == reverse("admin:assistants_project_add")


def test_only_who_may_add_files_uploads(staff: Callable[..., Client], dragons: Project) -> None:
    client = staff("view_file", "change_file")
    assert client.get(ADD).status_code == 403
    assert send(client, dragons, upload("one.txt", b"first")).status_code == 403
    assert send(staff("add_file", "view_file"), dragons, upload("one.txt", b"first")).status_code == 302
    assert dragons.files.count() == 1


def held(file: File, *passages: str) -> VectorStoreFile:
    store = VectorStore.objects.create(project=file.project, name="Lore")
    row = VectorStoreFile.objects.create(vector_store=store, file=file, status="completed")
    index.add_passages(row.pk, 0, [Slice(text) for text in passages])
    return row


def test_its_page_shows_how_the_text_begins_and_who_uses_it(root: Client, dragons: Project) -> None:
    file = make(dragons, f"{HOSTILE}.txt")
    row = held(file, *(f"Passage number {number}. {HOSTILE}" for number in range(5)))
    resources = {"file_search": {"vector_store_ids": [row.vector_store_id]}}
    through_store = Assistant.objects.create(project=dragons, model="scripted", name="A", tool_resources=resources)
    by_code = Thread.objects.create(project=dragons, tool_resources={"code_interpreter": {"file_ids": [file.pk]}})
    other = Assistant.objects.create(project=dragons, model="scripted", name="B")
    shown = page(root, file)
    assert "The first 3 of 5 passages" in shown
    assert f"Passage number 2. {SHOWN}" in shown
    assert "Passage number 3." not in shown
    assert HOSTILE not in shown
    assert markup.page_of(Assistant, through_store.pk) in shown
    assert markup.page_of(Thread, by_code.pk) in shown
    assert markup.page_of(Assistant, other.pk) not in shown


def test_a_file_that_cannot_be_read_says_why(root: Client, dragons: Project) -> None:
    file = make(dragons)
    error = {"code": "unsupported_file", "message": "Only text."}
    file.store_files.update(status="failed", last_error=error)
    assert "File type not supported: Only text." in page(root, file)
    assert "badge kumos-failed" in root.get(markup.list_of(File)).content.decode()


def test_bytes_are_a_download_and_never_a_page(root: Client, dragons: Project) -> None:
    file = make(dragons, "page.html", b"<script>alert(1)</script>")
    answer = root.get(reverse("admin:assistants_file_download", args=[file.pk]))
    assert b"".join(answer.streaming_content) == b"<script>alert(1)</script>"  # type: ignore[attr-defined]
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_an_image_is_shown_and_what_only_claims_to_be_one_is_not(root: Client, dragons: Project) -> None:
    real, claimed = make(dragons, "a.png", PNG, "vision"), make(dragons, "b.png", b"<svg onload=alert(1)>", "vision")
    addresses = {file: reverse("admin:assistants_file_image", args=[file.pk]) for file in (real, claimed)}
    answer = root.get(addresses[real])
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert b"".join(answer.streaming_content) == PNG  # type: ignore[attr-defined]
    assert addresses[real] in page(root, real)
    assert root.get(addresses[claimed]).status_code == 404
    assert addresses[claimed] not in page(root, claimed)


def test_bytes_that_are_gone_are_not_found(root: Client, dragons: Project) -> None:
    file = make(dragons, "a.png", PNG, "vision")
    file.blob.storage.delete(str(file.blob.name))
    for name in ("download", "image"):
        assert root.get(reverse(f"admin:assistants_file_{name}", args=[file.pk])).status_code == 404
    assert page(root, file)


def test_who_may_not_read_content_sees_the_file_and_nothing_in_it(
    staff: Callable[..., Client], dragons: Project
) -> None:
    file = make(dragons, "a.png", PNG)
    held(file, "Dragons sleep at noon.")
    client = staff("view_file")
    shown = page(client, file)
    assert content.HIDDEN in shown
    assert "sleep" not in shown
    for name in ("download", "image"):
        assert name not in re.sub("<title>.*</title>", "", shown) or f"/{name}/" not in shown
        assert client.get(reverse(f"admin:assistants_file_{name}", args=[file.pk])).status_code == 403
    reader = staff("view_file", "read_content")
    assert "Dragons sleep at noon." in page(reader, file)


def test_bytes_need_the_right_to_see_files(staff: Callable[..., Client], dragons: Project) -> None:
    client = staff("read_content")
    assert client.get(reverse("admin:assistants_file_download", args=[make(dragons).pk])).status_code == 403


def test_the_list_costs_the_same_with_many_files(
    root: Client, dragons: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(30):
        make(dragons, f"{number}.txt")
    with django_assert_max_num_queries(10):
        assert root.get(markup.list_of(File)).status_code == 200


def test_a_page_costs_the_same_with_many_stores(
    root: Client, dragons: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    file = make(dragons)
    for _ in range(20):
        held(file, "Text.")
    with django_assert_max_num_queries(14):
        page(root, file)
