"""The uploaded file on the wire (contract 5.1), and the answer to every deletion (1.5)."""

from __future__ import annotations

from typing import Any, Literal, TypedDict

from assistants.answers import Deletion
from assistants.clock import unix
from assistants.errors import ApiError
from assistants.models import File, Purpose
from assistants.serializers.fields import ClosedSerializer, Enum, Integer, WireField
from assistants.serializers.refusals import wrong_type

UPLOAD_PURPOSES = (
    Purpose.FINE_TUNE,
    Purpose.ASSISTANTS,
    Purpose.BATCH,
    Purpose.USER_DATA,
    Purpose.VISION,
    Purpose.EVALS,
)


class UploadPurpose(WireField):
    """Files have their own words for a bad value (contract 4.3)."""

    expected = "a string"

    def to_internal_value(self, data: Any) -> str:
        if data not in UPLOAD_PURPOSES:
            choices = [purpose.value for purpose in UPLOAD_PURPOSES]
            raise ApiError(f"'{data}' is not one of {choices} - 'purpose'", param="purpose")
        return str(data)


class Upload(WireField):
    """The part that holds the bytes."""

    expected = "a file"

    def to_internal_value(self, data: Any) -> Any:
        if not hasattr(data, "chunks"):
            raise wrong_type(self.expected, data)
        return data


class FileExpiry(ClosedSerializer):
    anchor = Enum("created_at")
    seconds = Integer(min=3600, max=2_592_000)


class FileInput(ClosedSerializer):
    """The parts of an upload, in any order."""

    file = Upload()
    purpose = UploadPurpose()
    expires_after = FileExpiry(required=False)


class FileObject(TypedDict):
    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: Purpose
    status: Literal["processed"]
    status_details: None


def file_object(file: File) -> FileObject:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": unix(file.created_at),
        "expires_at": unix(file.expires_at),
        "filename": file.filename,
        "purpose": Purpose(file.purpose),
        "status": "processed",
        "status_details": None,
    }


def deletion_object[Kind: str](id: str, object: Kind) -> Deletion[Kind]:
    return {"id": id, "object": object, "deleted": True}
