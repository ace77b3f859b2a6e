"""Providers: where every model name leads, what an operator adds to the servers of the settings, and trying one out.

Their keys are written and never read here (provider_form.py). What their models cost is said by prices.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from assistants.admin.lists import capped_count, spoken
from assistants.admin.markup import badge, list_of, page_of
from assistants.models import Assistant, Project
from runs import prices
from runs.completers import CompleterError, catalogue, providers
from runs.completers.providers import Server
from runs.completers.trial import try_out
from runs.models import Provider

from .keyed_form import KeyedAdmin
from .provider_form import ProviderForm

USERS_NAMED = 5
MODELS_SHOWN = 200
PRICED = 10_000
"""Tokens whose price is asked for: enough to be exact, and fewer than any model charges more for."""
NAMES_COUNTED = 1000
"""Different names of models that assistants use, for the list."""


@dataclass(frozen=True, slots=True)
class Lead:
    """Where the model names of the settings lead: the read-only part of the list."""

    names: str
    to: str
    key: str
    setting: str
    server: str = ""
    """What can be tried; "" for what is in the box."""


@dataclass(frozen=True, slots=True)
class Users:
    """Who depends on a provider."""

    assistants: Sequence[tuple[str, str]]
    """(address, name) of the first few."""
    count: str
    projects: Sequence[str]
    is_default: bool

    def __bool__(self) -> bool:
        return bool(self.assistants or self.projects or self.is_default)

    def __str__(self) -> str:
        told = [f"{self.count} assistant{'s' if self.count != '1' else ''}"] if self.assistants else []
        told += [f"the default of “{name}”" for name in self.projects]
        return ", ".join([*told, "KUMOS_DEFAULT_MODEL"] if self.is_default else told)


def users_of(name: str) -> Users:
    """Who names models of that provider, as far as a list says it."""
    begins = f"{name}/"
    found = Assistant.objects.filter(model__startswith=begins, scratch_of=None)
    first = list(found.order_by().values_list("pk", "name")[:USERS_NAMED])
    projects = Project.objects.filter(default_model__startswith=begins).values_list("name", flat=True)[:USERS_NAMED]
    return Users(
        [(page_of(Assistant, id), called or id) for id, called in first],
        spoken(capped_count(found)) if first else "0",
        list(projects),
        settings.KUMOS_DEFAULT_MODEL.startswith(begins),
    )


def leads() -> list[Lead]:
    """What the settings say, in words. Makes no call."""
    found = [Lead("scripted", "built in: it answers offline", "–", "")]
    first, second = providers.openai(), providers.ollama()
    if first is not None:
        key = "OPENAI_API_KEY" if first.api_key else "none"
        setting = "OPENAI_BASE_URL" if settings.OPENAI_BASE_URL else "OPENAI_API_KEY"
        found.append(Lead("openai/…", first.base_url, key, setting, "openai"))
    if second is not None:
        setting = "OLLAMA_BASE_URL" if settings.OLLAMA_BASE_URL else "OLLAMA_MODEL"
        found.append(Lead("ollama/…", second.base_url, "none", setting, "ollama"))
    if rest := first or second:
        found.append(Lead("every other name", rest.base_url, found[1].key, found[1].setting))
    else:
        found.append(Lead("every other name", "nowhere: such runs are refused", "–", "OPENAI_BASE_URL is not set"))
    found.append(Lead("default", settings.KUMOS_DEFAULT_MODEL, "–", "KUMOS_DEFAULT_MODEL, or the project's own"))
    return found


def where(model: str) -> str:
    """Where that name leads, in words."""
    real = providers.meant(model)
    if real == providers.SCRIPTED:
        return f"“{model}” is answered by the model that is built in."
    try:
        server, name = providers.server_for(real)
        server.completer()
    except CompleterError as error:
        return error.message
    key = f"with {server.key_place}" if server.api_key else "without a key"
    return f"“{model}” goes to {server.base_url} as “{name}”, {key}."


@admin.register(Provider)
class ProviderAdmin(KeyedAdmin):
    form = ProviderForm
    empty_hint = (
        "Enter one with its base URL and key: its models are then called “NAME/model”, and no restart is needed."
    )
    list_display = ("models_named", "address", "key", "state", "used")
    change_list_template = "admin/runs/provider/change_list.html"
    change_form_template = "admin/runs/provider/change_form.html"
    delete_confirmation_template = "admin/runs/provider/delete_confirmation.html"
    actions = None  # each is deleted on a page that says who uses it

    # What is shown ------------------------------------------------------------------------------------------------

    def get_fieldsets(self, request: HttpRequest, obj: Provider | None = None) -> Any:
        if not self.may_write(request, obj):
            return [(None, {"fields": ("name", "base_url", "key", "enabled", "used", "created_at")})]
        kept = ("forget_key",) if obj is not None and obj.sealed_key else ()
        after = () if obj is None else ("used",)
        fields = ("name", "base_url", "api_key", *kept, "key_variable", "enabled", *after)
        return [(None, {"fields": fields})]

    def get_readonly_fields(self, request: HttpRequest, obj: Provider | None = None) -> tuple[str, ...]:
        if not self.may_write(request, obj):
            return ("name", "base_url", "key", "enabled", "used", "created_at")
        return () if obj is None else ("name", "used")

    @admin.display(description="Models named")
    def models_named(self, provider: Provider) -> str:
        return f"{provider.name}/…"

    @admin.display(description="Base URL")
    def address(self, provider: Provider) -> str:
        return provider.base_url  # as text: nobody reads there

    @admin.display(description="Key")
    def key(self, provider: Provider) -> str:
        server = providers.server_of(Provider(**{**row(provider), "enabled": True}))
        if server.problem:
            return format_html('<span class="kumos-trouble">{}</span>', server.problem)
        if provider.key_variable:
            return f"from {provider.key_variable}"
        return "kept, sealed" if provider.sealed_key else "none"

    @admin.display(description="State")
    def state(self, provider: Provider) -> SafeString:
        if provider.name in {server.name for server in providers.of_settings()}:
            return badge("unused: the settings have this name")
        return badge("usable" if provider.enabled else "switched off")

    @admin.display(description="Used by")
    def used(self, provider: Any) -> str:
        if hasattr(provider, "assistants"):  # the list has counted them for all
            count = provider.assistants
            return f"{count:,} assistant{'s' if count != 1 else ''}" if count else "no assistant"
        return str(users_of(provider.name)) or "nobody yet"

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changelist = super().get_changelist_instance(request)
        named = Assistant.objects.filter(model__contains="/", scratch_of=None).order_by().values_list("model")
        users: Counter[str] = Counter()
        for model, count in named.annotate(Count("pk"))[:NAMES_COUNTED]:
            users[model.partition("/")[0]] += count
        for provider in changelist.result_list:
            provider.assistants = users[provider.name]
        return changelist

    # Changing -----------------------------------------------------------------------------------------------------

    @method_decorator(sensitive_post_parameters("api_key"))
    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        return super().changeform_view(request, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Provider, form: Any, change: bool) -> None:
        super().save_model(request, obj, form, change)
        if not obj.enabled and (users := users_of(obj.name)):
            self.message_user(
                request, f"“{obj.name}” is switched off and used by {users}: their runs fail now.", messages.WARNING
            )

    def delete_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        provider = self.get_object(request, object_id)
        users = users_of(provider.name) if isinstance(provider, Provider) else None
        return super().delete_view(request, object_id, {**(extra_context or {}), "users": users})

    # Pages --------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[Any]:
        own = self.admin_site.admin_view
        return [
            path("test/", own(require_POST(self.test)), name="runs_provider_test"),
            path("models/", own(self.models_page), name="runs_provider_models"),
            *super().get_urls(),
        ]

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        asked = request.GET.get("model", "").strip()[:256] if self.has_view_permission(request) else ""
        query = request.GET.copy()
        query.pop("model", None)  # or the list takes it for a filter of its own
        request.GET = query  # type: ignore[assignment]
        context = {
            "leads": leads(),
            "asked": asked,
            "answer": where(asked) if asked and asked.isprintable() else "",
            "may_test": self.has_change_permission(request),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        context["may_test"] = self.has_change_permission(request)
        return super().render_change_form(request, context, *args, **kwargs)

    def server_named(self, name: str) -> Server:
        """The one to be tried, also while it is switched off. Raises Http404."""
        found = {server.name: server for server in providers.of_settings()}
        provider = Provider.objects.filter(name=name).first()
        if name not in found and provider is not None:
            provider.enabled = True  # of this copy, which nobody saves
            return providers.server_of(provider)
        if name not in found:
            raise Http404("There is no such provider.")
        return found[name]

    def test(self, request: HttpRequest) -> HttpResponse:
        """Asks the server for its models and for one short answer. Takes seconds: see kumos_site/asgi.py."""
        if not self.has_change_permission(request):
            raise PermissionDenied  # it sends the key, and costs some tokens
        server = self.server_named(request.POST.get("provider", ""))
        wanted = request.POST.get("model", "").strip()[:256].removeprefix(server.prefix)
        saved = Assistant.objects.filter(scratch_of=None)
        used = saved.filter(model__startswith=server.prefix) if server.prefix else saved.none()
        preferred = [name.removeprefix(server.prefix) for name in used.values_list("model", flat=True)[:USERS_NAMED]]
        trial = try_out(server, wanted if wanted.isprintable() else "", preferred)
        listed = trial.listing.models or ()
        context = {
            **self.admin_site.each_context(request),
            "title": f"Test of {server.name}",
            "opts": self.opts,
            "server": server,
            "trial": trial,
            "listed": [model.id for model in listed[:MODELS_SHOWN]],
            "count": len(listed),
        }
        return TemplateResponse(request, "admin/runs/provider/tested.html", context)

    def models_page(self, request: HttpRequest) -> HttpResponse:
        """What each provider lists. It may ask them, and then takes some seconds."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()[:256]
        groups = []
        for server, listing in catalogue.asked():
            names = [f"{server.prefix}{model.id}" for model in listing.models or ()]
            found = [name for name in names if asked.lower() in name.lower()]
            shown = [(name, price_of(name)) for name in found[:MODELS_SHOWN]]
            groups.append({"server": server, "listing": listing, "shown": shown, "more": len(found) - len(shown)})
        context = {
            **self.admin_site.each_context(request),
            "title": "Models",
            "opts": self.opts,
            "groups": groups,
            "asked": asked,
            "list_href": reverse("admin:runs_provider_changelist"),
            "assistants_href": list_of(Assistant),
        }
        return TemplateResponse(request, "admin/runs/provider/models.html", context)


def row(provider: Provider) -> dict[str, Any]:
    """Its fields, to make a copy of."""
    return {field.attname: getattr(provider, field.attname) for field in provider._meta.concrete_fields}


def price_of(model: str) -> str:
    """US dollars a million tokens, in and out."""
    asked, answered = (prices.cost_of(model, *tokens) for tokens in ((PRICED, 0, 0), (0, 0, PRICED)))
    if asked is None or answered is None:
        return "no price known"
    if not (asked or answered):
        return "free"
    return f"in {asked / PRICED:,.4g}, out {answered / PRICED:,.4g}"
