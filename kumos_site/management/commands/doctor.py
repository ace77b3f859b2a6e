"""`manage.py doctor`: what is wrong with this installation and how to mend it. Changes nothing.

Exits with 0 if all is well, 1 with warnings, 2 if something is broken.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand

from kumos_site import diagnosis
from kumos_site.diagnosis import GRAVITY, Finding, Level

MARKS = {Level.OK: "  ok      ", Level.WARNING: "! warning ", Level.BROKEN: "x broken  "}


class Command(BaseCommand):
    help = "Says what is wrong with this installation, and the fix. Exit code: 0 all good, 1 warnings, 2 broken."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="for programs: one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        findings = diagnosis.look()
        worst = diagnosis.worst(findings)
        if options["json"]:
            whole = {"status": worst, "findings": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(whole, indent=2, ensure_ascii=False))
        else:
            self.stdout.write(report(findings))
        sys.exit(GRAVITY.index(worst))


def report(findings: Sequence[Finding]) -> str:
    """Every finding in a line, then the fixes, the gravest first."""
    lines = [f"{MARKS[finding.level]}{finding.subject}: {finding.told}" for finding in findings]
    bad = [finding for finding in diagnosis.by_gravity(findings) if finding.level != Level.OK]
    if not bad:
        return "\n".join([*lines, "", "All good."])
    fixes = [f"{number}. {finding.subject}: {finding.fix}" for number, finding in enumerate(bad, 1)]
    return "\n".join([*lines, "", "What to do:", *fixes])
