"""`manage.py createkey`."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from assistants import clock
from assistants.models import ApiKey, Project
from assistants.models.project import digest_of

pytestmark = pytest.mark.django_db


def created(*arguments: str) -> str:
    out = StringIO()
    call_command("createkey", *arguments, stdout=out)
    return out.getvalue()


def test_prints_the_usable_secret_alone() -> None:
    printed = created("--project", "Atlas")
    key = ApiKey.objects.usable(clock.now()).get(digest=digest_of(printed.removesuffix("\n")))
    assert key.project.name == "Atlas"
    assert printed.startswith("sk-")


def test_uses_the_project_of_that_name() -> None:
    project = Project.objects.create(name="Atlas")
    secrets = {created("--project", "Atlas"), created("--project", " Atlas ", "--name", "nightly job")}
    assert len(secrets) == 2
    assert Project.objects.count() == 1
    assert {key.name for key in project.keys.all()} == {"createkey", "nightly job"}


@pytest.mark.parametrize("name", ["", "   ", "x" * 129])
def test_refuses_a_name_that_is_empty_or_too_long(name: str) -> None:
    with pytest.raises(CommandError):
        created("--project", name)
    with pytest.raises(CommandError):
        created("--project", "Atlas", "--name", name)
    assert not Project.objects.exists()


def test_without_tables_one_line_says_what_to_do(tmp_path: Path) -> None:
    elsewhere = {**os.environ, "KUMOS_DATA_DIR": str(tmp_path), "DATABASE_URL": f"sqlite:///{tmp_path / 'new.sqlite3'}"}
    command = [sys.executable, "manage.py", "createkey", "--project", "Atlas"]
    done = subprocess.run(command, cwd=settings.BASE_DIR, env=elsewhere, capture_output=True, text=True, check=False)
    said = "CommandError: The database has no tables of this release yet: run `manage.py migrate`.\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", said)
