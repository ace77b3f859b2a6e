"""What is wrong with this installation, and its fix, in words: for the system page and for `manage.py doctor`.

A check yields findings and changes nothing. Those of the surroundings need nothing at all (surroundings.py), those of
the stores the database and Redis (stores.py), those of the work the tables (work.py): where one kind cannot be had, the
next is not asked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

logger = logging.getLogger(__name__)


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    BROKEN = "broken"


GRAVITY = [Level.OK, Level.WARNING, Level.BROKEN]
"""A level's place here is also what `doctor` exits with."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `id` says to programs which; `told` and `fix` are sentences without secrets."""

    id: str
    level: Level
    subject: str
    told: str
    fix: str = ""


Check = Callable[[], Iterable[Finding]]


def look() -> list[Finding]:
    """All findings, in the order of the checks. May take some seconds: model servers are asked."""
    from kumos_site.diagnosis import stores, surroundings, work

    found = list(made(surroundings.CHECKS))
    found += made(stores.FIRST)
    if worst(found[-1:]) == Level.BROKEN or any(finding.id == "migrations.missing" for finding in found):
        later = "Not looked at: runs, runners and providers. The database must be mended first."
        return [*found, *made(stores.BESIDE), Finding("work", Level.WARNING, "Work", later, "See above.")]
    return [*found, *made(stores.BESIDE), *made(stores.TABLES), *made(work.CHECKS)]


def made(checks: Sequence[Check]) -> Iterator[Finding]:
    """What they find. A check that fails is a finding, too: no fault of one hides the others."""
    for check in checks:
        try:
            yield from check()
        except Exception as error:
            logger.exception("the check %s failed", check.__name__)
            name = check.__name__.replace("_", " ")
            told = f"This could not be looked at: {type(error).__name__}."
            yield Finding(f"{check.__name__}.failed", Level.BROKEN, name.capitalize(), told, "The log says more.")


def worst(findings: Iterable[Finding]) -> Level:
    return max((finding.level for finding in findings), key=GRAVITY.index, default=Level.OK)


def by_gravity(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first; of equals the order stays."""
    return sorted(findings, key=lambda finding: -GRAVITY.index(finding.level))
