"""`manage.py createkey --project NAME`: a new API key, for scripts. Prints the secret alone, once."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, transaction

from assistants.admin import audit
from assistants.models import ApiKey, Project
from assistants.scopes import Scope
from kumos_site.tables import missing_migrations


class Command(BaseCommand):
    help = "Makes an API key and prints it, once. The project is made if there is none of that name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", required=True, help="name of the project that the key acts for")
        parser.add_argument("--name", default="createkey", help="what the key is called in the admin")
        parser.add_argument(
            "--scopes", default="", help=f"what it may do, with commas between: {', '.join(Scope)}. Else everything"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            secret = new_key(options["project"].strip(), options["name"].strip(), scopes_of(options["scopes"]))
        except DatabaseError as error:
            if missing_migrations():
                raise CommandError("The database has no tables of this release yet: run `manage.py migrate`.") from None
            raise CommandError(f"The database refused: {error}") from None
        self.stdout.write(secret)


def scopes_of(text: str) -> list[str]:
    """CommandError for a name that is none. An empty text means every scope, a text of commas alone nothing."""
    named = [name.strip() for name in text.split(",")] if text else []
    if unknown := [name for name in named if name not in Scope]:
        raise CommandError(f"There is no scope “{unknown[0]}”. There are: {', '.join(Scope)}.")
    return sorted(set(named))


@transaction.atomic
def new_key(project_name: str, key_name: str, scopes: Sequence[str] = ()) -> str:
    """The secret of a new key. CommandError where a name is empty or too long."""
    project = Project.objects.filter(name=project_name).first() or Project(name=project_name)
    try:
        project.clean_fields()
        ApiKey(project=project, name=key_name).clean_fields(exclude=["project", "prefix", "digest"])
    except ValidationError as error:
        raise CommandError("; ".join(error.messages)) from None
    project.save()
    key, secret = ApiKey.issue(project, key_name, scopes=scopes)
    audit.enter_addition(key, "Made by `manage.py createkey`.")
    return secret
