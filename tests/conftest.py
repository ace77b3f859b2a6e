"""Three people for every test: Alice and Bob share the project Atlas, Charlie has Comet and must see nothing of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from pytest_django.fixtures import Settings

from assistants.models import ApiKey, Membership, Project
from tests import clearing, fresh_tables
from tests.wire import CheckedClient, check_log

clearing.install()


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """The tests' own database begins with its tables, too. Tests of migrations make theirs."""
    fresh_tables.begin_with_them(connection.settings_dict)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """SQLite's file is already the copy."""
    return connection.vendor == "sqlite"


class ApiClient:
    """The API as one person's key sees it. Paths are below /v1; answers are Django's, with `.json()`."""

    def __init__(self, project: Project, user: User) -> None:
        self.project = project
        self.user = user
        self.key, self.secret = ApiKey.issue(project, f"{user}'s key")
        self.client = CheckedClient(raise_request_exception=False, headers={"Authorization": f"Bearer {self.secret}"})

    def get(self, path: str, query: dict[str, Any] | None = None) -> Any:
        return self.client.get(f"/v1{path}", query or {})

    def post(self, path: str, json: Any = None) -> Any:
        """Without `json` the body is empty."""
        if json is None:
            return self.client.generic("POST", f"/v1{path}")
        return self.client.post(f"/v1{path}", json, content_type="application/json")

    def post_raw(self, path: str, body: bytes) -> Any:
        return self.client.generic("POST", f"/v1{path}", body, content_type="application/json")

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/v1{path}")

    def make(self, path: str, json: Any = None) -> dict[str, Any]:
        """POST that must succeed; the object."""
        response = self.post(path, json)
        assert response.status_code == 200, response.content
        return dict(response.json())

    def upload(self, name: str = "notes.txt", content: bytes = b"Notes.", purpose: str = "assistants") -> Any:
        return self.client.post("/v1/files", {"purpose": purpose, "file": SimpleUploadedFile(name, content)})

    def make_file(self, name: str = "notes.txt", content: bytes = b"Notes.", purpose: str = "assistants") -> str:
        """The id of a fresh file."""
        response = self.upload(name, content, purpose)
        assert response.status_code == 200, response.content
        return str(response.json()["id"])


def assert_refused(answer: Any, message: str, param: str | None, code: str | None) -> None:
    """400 with that error, and nothing else in it."""
    assert answer.status_code == 400, answer.content
    assert answer.json()["error"] == {
        "message": message,
        "type": "invalid_request_error",
        "param": param,
        "code": code,
    }


def client_of(name: str, project_name: str) -> ApiClient:
    project, _ = Project.objects.get_or_create(name=project_name)
    user = get_user_model().objects.create_user(name)
    Membership.objects.create(project=project, user=user)
    return ApiClient(project, user)


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Uploads of a test go to a folder of its own; static files come from the finders, so their folder may be empty.

    They are looked for when asked for: a walk over all of them by each test's client took a quarter of the time.
    """
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_AUTOREFRESH = True
    return tmp_path / "files"


@pytest.fixture
def alice(db: None) -> Iterator[ApiClient]:
    """In the end, every event that the test left behind must be what the document says."""
    yield client_of("alice", "Atlas")
    check_log()


@pytest.fixture
def bob(db: None) -> ApiClient:
    return client_of("bob", "Atlas")


@pytest.fixture
def charlie(db: None) -> ApiClient:
    return client_of("charlie", "Comet")
