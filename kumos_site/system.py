"""The system page of the admin: what is wrong and its fix, every setting without secrets, the versions.

What is looked at is said in kumos_site/diagnosis; `manage.py doctor` says the same in a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from kumos_site import diagnosis
from kumos_site.diagnosis.surroundings import package_versions
from kumos_site.settings import GIVEN, VARIABLES, without_secrets

PERMISSION = "runs.view_worker"
"""The page belongs to no table: whoever may see the runners sees it."""


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: str
    given: bool
    """By the environment; otherwise it is the default."""


def settings_shown() -> Iterator[Setting]:
    for name, default in VARIABLES.items():
        given = name in GIVEN
        yield Setting(name, GIVEN[name] if given else without_secrets(name, default) if default else "–", given)
    for name in sorted(settings.KUMOS_PROVIDER_KEYS):
        yield Setting(name, "•••", True)


def system_page(request: HttpRequest) -> HttpResponse:
    """May take some seconds, for providers are asked: see kumos_site/asgi.py."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    findings = diagnosis.look()
    context = {
        **admin.site.each_context(request),
        "title": "System",
        "findings": diagnosis.by_gravity(findings),
        "worst": diagnosis.worst(findings),
        "trouble": sum(finding.level != diagnosis.Level.OK for finding in findings),
        "settings_shown": list(settings_shown()),
        "versions": package_versions().items(),
    }
    return TemplateResponse(request, "admin/system.html", context)
