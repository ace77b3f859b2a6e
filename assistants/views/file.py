"""/files (contract 5.1)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from django.http import FileResponse
from rest_framework.request import Request

from assistants import stores
from assistants.answers import Answer, Deletion, Page
from assistants.models import File
from assistants.pagination import paginate, remember_place
from assistants.parsers import StrictJSONParser, UploadParser
from assistants.scopes import Area, within
from assistants.serializers.fields import Integer, String
from assistants.serializers.file import FileInput, FileObject, deletion_object, file_object
from assistants.storage import delete_file, enter, received
from assistants.views.resource import ResourceViewSet, takes

LIMIT = 10_000


@within(Area.FILES)
class FileViewSet(ResourceViewSet):
    parser_classes = [UploadParser, StrictJSONParser]
    received: File

    def find(self, id: str) -> File:
        file = stores.files_of(self.project).filter(pk=id).first()
        if file is None:
            raise stores.no_such_file(id)
        return file

    @takes(query={"limit": Integer(min=1, max=LIMIT, required=False), "purpose": String(required=False)})
    def list(self, request: Request) -> Answer[Page[FileObject]]:
        files = stores.files_of(self.project)
        purpose = request.query_params.get("purpose")
        shown = files.filter(purpose=purpose) if purpose else files
        return paginate(shown, request, file_object, scope=files, default=LIMIT, maximum=LIMIT)

    @contextmanager
    def ahead(self) -> Iterator[None]:
        if self.action != "create":
            yield
            return
        data = self.body()
        upload = data["file"]
        expires_after = data.get("expires_after", {}).get("seconds")
        with received(
            self.project, upload, filename=upload.name, purpose=data["purpose"], expires_after_seconds=expires_after
        ) as self.received:
            yield

    @takes(FileInput)
    def create(self, request: Request) -> Answer[FileObject]:
        enter(self.received)
        return Answer(file_object(self.received))

    def retrieve(self, request: Request, file_id: str) -> Answer[FileObject]:
        return Answer(file_object(self.find(file_id)))

    def destroy(self, request: Request, file_id: str) -> Answer[Deletion[Literal["file"]]]:
        file = self.find(file_id)
        remember_place(request, file)
        delete_file(file)
        return Answer(deletion_object(file_id, "file"))

    def content(self, request: Request, file_id: str) -> FileResponse:
        """The bytes, always as a download: what somebody uploaded never runs on this server's pages."""
        file = self.find(file_id)
        return FileResponse(
            file.blob.open("rb"),
            as_attachment=True,
            filename=file.filename,
            content_type="application/octet-stream",
            headers={"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"},
        )
