"""The admin site of Kumos. Its first page says what is there, what went wrong and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import path, reverse

from assistants import clock
from assistants.models import ApiKey, Assistant, Membership, Project


@dataclass(frozen=True, slots=True)
class Advice:
    """Something a fresh installation still lacks, and where to make it."""

    text: str
    href: str


def may_view(request: HttpRequest, model: str) -> bool:
    app, name = model.split(".")
    user = request.user
    return user.has_perm(f"{app}.view_{name}") or user.has_perm(f"{app}.change_{name}")


def advice(request: HttpRequest) -> list[Advice]:
    """What to do next, as long as a fresh installation is not ready for its first question."""
    from assistants.admin.markup import page_of

    user = request.user
    steps: list[Advice] = []
    project = Project.objects.order_by("created_at").first()
    if project is None:
        if user.has_perm("assistants.add_project"):
            steps.append(Advice("Make a project: everything belongs to one.", reverse("admin:assistants_project_add")))
        return steps
    if not Assistant.objects.filter(scratch_of=None).exists() and user.has_perm("assistants.add_assistant"):
        steps.append(
            Advice("Make an assistant: a model with instructions and tools.", reverse("admin:assistants_assistant_add"))
        )
    if not ApiKey.objects.usable(clock.now()).exists() and user.has_perm("assistants.add_apikey"):
        steps.append(Advice("Make an API key for your programs.", reverse("admin:assistants_apikey_add")))
    if user.has_perm("assistants.add_membership") and not Membership.objects.filter(user_id=user.pk or 0).exists():
        href = page_of(Project, project.pk)
        steps.append(Advice(f"Make yourself a member of “{project}”, so that the chat page lets you in.", href))
    return steps


PAGES = [
    ("Usage", "usage", "runs.view_usagerecord"),
    ("Tools", "tools", "runs.view_run"),
    ("System", "system", "runs.view_worker"),
]
"""Name, view and the permission that it takes, of the pages that belong to no table."""


NUL = "There is a NUL character in the address or the form. It cannot be stored or looked for, and nothing was done."


def texts_of(request: HttpRequest) -> Iterator[str]:
    """What somebody has written into the address and the form."""
    yield request.path
    for sent in (request.GET, request.POST):
        for name, values in sent.lists():
            yield name
            yield from map(str, values)


class KumosAdminSite(AdminSite):
    site_header = "Kumos"
    site_title = "Kumos"
    index_title = "Overview"
    site_url = "/chat/"

    def get_urls(self) -> list[Any]:
        """The site's own pages, which belong to no table, before Django's."""
        from kumos_site import dashboard, usage_page  # their imports register pages here: this is first
        from kumos_site.system import system_page
        from runs.admin.tool_trial import try_page
        from runs.admin.tools import tools_page

        own = [
            path("dashboard/", self.admin_view(dashboard.live), name="dashboard"),
            path("usage/", self.admin_view(usage_page.page), name="usage"),
            path("system/", self.admin_view(system_page), name="system"),
            path("tools/", self.admin_view(tools_page), name="tools"),
            path("tools/try/", self.admin_view(try_page), name="tool_try"),
        ]
        return [*own, *super().get_urls()]

    def admin_view(self, view: Callable[..., HttpResponseBase], cacheable: bool = False) -> Any:
        """Of every page of every table: what PostgreSQL would fail at is refused, as /v1 does (check_address)."""

        @wraps(view)
        def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if any("\0" in text for text in texts_of(request)):
                return HttpResponse(NUL, status=400, content_type="text/plain")
            return view(request, *args, **kwargs)

        return super().admin_view(checked, cacheable)

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        """Those pages stand among the tables, in the overview and beside every page."""
        apps = super().get_app_list(request, app_label)
        for app in apps:
            if app["app_label"] == "runs":
                app["models"] += [
                    {"name": name, "object_name": name, "admin_url": reverse(f"admin:{view}"), "view_only": True}
                    for name, view, permission in PAGES
                    if request.user.has_perm(permission)
                ]
            for page in app["models"]:
                if page["object_name"] == "LogEntry":
                    page["name"] = "Audit log"
        return apps

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        from kumos_site import dashboard

        return super().index(
            request, {"advice": advice(request), **dashboard.context(request), **(extra_context or {})}
        )
