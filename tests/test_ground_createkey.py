"""`manage.py createkey`."""

from __future__ import annotations

from io import StringIO

import pytest
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
