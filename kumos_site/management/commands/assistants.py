"""`manage.py assistants export` and `apply`: assistants as one YAML file, to be kept beside code and compared."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from assistants import assistant_files
from assistants.admin import audit
from assistants.assistant_files import Outcome, Refused
from assistants.differences import in_words
from assistants.models import Assistant, Project
from kumos_site.tables import missing_migrations

AUTHOR = "manage.py"
APPLIED = "Applied from YAML by `manage.py assistants apply`."


class Command(BaseCommand):
    help = "Writes assistants as YAML, and makes them what such a file says."

    def add_arguments(self, parser: ArgumentParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True)
        export = commands.add_parser("export", help="print assistants as YAML")
        export.add_argument("--project", help="name or id of the project; without it those of all projects")
        export.add_argument("ids", nargs="*", metavar="ID", help="only these assistants")
        apply = commands.add_parser("apply", help="make the assistants of a YAML file so: all of them, or none")
        apply.add_argument("-f", "--file", required=True, help="the file; - for standard input")
        apply.add_argument("--project", help="name or id of the project, instead of those that the file names")
        apply.add_argument("--dry-run", action="store_true", help="tell what would be done, and do nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            project = project_named(options["project"])
            if options["command"] == "export":
                self.stdout.write(exported(project, options["ids"]), ending="")
            else:
                self.apply(text_of(options["file"]), project, options["dry_run"])
        except DatabaseError as error:
            if missing_migrations():
                raise CommandError("The database has no tables of this release yet: run `manage.py migrate`.") from None
            raise CommandError(f"The database refused: {error}") from None

    def apply(self, text: str, project: Project | None, dry_run: bool) -> None:
        try:
            outcomes = assistant_files.apply(text, author=AUTHOR, project=project, dry_run=dry_run, enter=enter)
        except Refused as refused:
            raise CommandError("\n".join([*refused.faults, "Nothing was changed."])) from None
        for outcome in outcomes:
            self.stdout.write(told(outcome, dry_run))
        if dry_run:
            self.stdout.write("A dry run: nothing was changed.")


def enter(outcomes: Sequence[Outcome]) -> None:
    """In the audit log, as what is done in the admin is."""
    for outcome in outcomes:
        if outcome.did == "made":
            audit.enter_addition(outcome.assistant, APPLIED)
        elif outcome.did == "changed":
            audit.enter_change(outcome.assistant, APPLIED, outcome.before, outcome.after)


def project_named(name: str | None) -> Project | None:
    if name is None:
        return None
    found = Project.objects.filter(name=name).first() or Project.objects.filter(pk=name).first()
    if found is None:
        raise CommandError(f"There is no project “{name}”.")
    return found


def exported(project: Project | None, ids: list[str]) -> str:
    assistants = Assistant.objects.filter(scratch_of=None).select_related("project")
    if project is not None:
        assistants = assistants.filter(project=project)
    if ids:
        assistants = assistants.filter(pk__in=ids)
        if unknown := sorted(set(ids) - set(assistants.values_list("pk", flat=True))):
            raise CommandError(f"There is no assistant {', '.join(unknown)}.")
    return assistant_files.written(assistants)


def text_of(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CommandError(f"{file} is not text in UTF-8.") from None


def told(outcome: Outcome, dry_run: bool) -> str:
    """A line of what was done, and one for each thing that changed."""
    assistant = outcome.assistant
    id = "(a new id)" if dry_run and outcome.did == "made" else assistant.pk
    lines = [f"{outcome.did:9} {id}  {assistant.name or '(unnamed)'}  in {assistant.project}"]
    if outcome.remark:
        lines.append(f"          {outcome.remark}")
    if outcome.did == "changed":
        lines += [f"          {change}" for change in in_words(outcome.before, outcome.after)]
    return "\n".join(lines)
