"""API keys in the admin: made, shown once, rotated and revoked here. The digest is never shown and never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import ActionLocation
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.decorators import method_decorator
from django.utils.html import format_html_join
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables

from assistants import clock, keys
from assistants.models import ApiKey
from assistants.models.project import usable_at
from assistants.scopes import in_words

from . import audit
from .credentials import revoke_all, state_badges, state_of
from .key_form import GRACES, KeyForm, RotateForm, expiry_of_next
from .lists import BoundedAdmin, ProjectFilter
from .markup import ago, moment, page_of, titled


class OfProject(ProjectFilter):
    """One project, or all: this table is small enough for that."""

    def chosen(self) -> str | None:
        return self.value()

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(project_id=self.value()) if self.value() else queryset

    def choices(self, changelist: Any) -> Any:
        everything = changelist.get_query_string(remove=[self.parameter_name])
        yield {"selected": not self.value(), "query_string": everything, "display": "All"}
        yield from super().choices(changelist)


class StateFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("usable", "Usable"), ("soon", "Expires soon"), ("over", "Revoked or expired")]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        now = clock.now()
        match self.value():
            case "usable":
                return queryset.filter(usable_at(now))
            case "soon":
                return queryset.filter(usable_at(now), expires_at__lte=now + keys.EXPIRES_SOON)
            case "over":
                return queryset.exclude(usable_at(now))
        return queryset


@admin.register(ApiKey)
class ApiKeyAdmin(BoundedAdmin):
    empty_hint = "Programs show a key with every request. It belongs to one project, and its secret is shown once."
    form = KeyForm
    list_display = ("called", "project", "may", "state", "last_used", "expires")
    list_filter = (StateFilter, OfProject)
    list_select_related = ("project",)
    search_fields = ("name", "prefix__startswith", "id__exact")
    search_help_text = "Name, the first characters of a key, or its id."
    autocomplete_fields = ("project",)
    actions = ("revoke",)
    change_form_template = "admin/assistants/apikey/change_form.html"

    told = ("name", "project", "shown_prefix", "succession", "state", "last_used", "created_at")

    class Media:
        js = (Script("admin_kumos/key.js", defer=True),)
        css = {"all": ("admin_kumos/keys.css",)}

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("project", "name", "access", "scopes", "expires_at", "budget")
        if not self.has_change_permission(request, obj):
            return (*self.told, "all_scopes", "expires_at", "budget")
        return (*self.told, "access", "scopes", "expires_at", "budget")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        if obj is None:
            return ()
        return ("project", "shown_prefix", "succession", "state", "all_scopes", "last_used", "created_at")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked key stays, so that it can still be told whose it was

    def has_rotate_permission(self, request: HttpRequest) -> bool:
        return self.has_change_permission(request) and self.has_add_permission(request)

    @admin.display(description="Name")
    def called(self, key: ApiKey) -> str:
        return titled(key.name, self.shown_prefix(key))

    @admin.display(description="Expires")
    def expires(self, key: ApiKey) -> str:
        return moment(key.expires_at)

    @admin.display(description="Key")
    def shown_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="One line with")
    def succession(self, key: ApiKey) -> str:
        """The keys that it took the place of, or that took its own: their usage is one sum, under one budget."""
        line = keys.lines_of([key.succession]).get(key.succession, ())
        others = [(page_of(ApiKey, other.pk), f"{other.prefix}…") for other in line if other != key]
        return format_html_join(", ", '<a href="{}">{}</a>', others) or "–"

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        return state_badges(key)

    @admin.display(description="Scopes")
    def all_scopes(self, key: ApiKey) -> str:
        return ", ".join(sorted(key.scopes)) or "Everything"

    @admin.display(description="May do")
    def may(self, key: ApiKey) -> str:
        return in_words(key.scopes)

    @admin.display(description="Last used")
    def last_used(self, key: ApiKey) -> str:
        return ago(key.last_used_at)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        key: ApiKey | None = kwargs.get("obj")
        if key is not None:
            is_usable = state_of(key) == "usable"
            context["may_rotate"] = is_usable and self.has_rotate_permission(request)
            if is_usable and keys.expires_soon(key, clock.now()):
                context["expires_soon"] = key.expires_at
        return super().render_change_form(request, context, *args, **kwargs)

    @method_decorator(sensitive_variables("secret"))
    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, secret = ApiKey.issue(
            obj.project, obj.name, expires_at=obj.expires_at, scopes=obj.scopes, budget=obj.budget
        )
        obj.__dict__.update(key.__dict__, secret=secret)  # lives until `response_add`, on this object only

    @method_decorator(sensitive_variables("secret"))
    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> HttpResponse:
        return self.issued(request, obj, obj.__dict__.pop("secret"))

    @method_decorator(sensitive_variables("secret"))
    def issued(self, request: HttpRequest, key: ApiKey, secret: str, old: ApiKey | None = None) -> HttpResponse:
        """The page that shows the secret: the answer to the POST itself, so nothing has to keep it for a redirect."""
        context = {
            **self.admin_site.each_context(request),
            "title": "The key is made",
            "key": key,
            "secret": secret,
            "may": ", ".join(sorted(key.scopes)) or "everything",
            "old": old,
            "opts": self.opts,
        }
        return TemplateResponse(request, "admin/assistants/apikey/issued.html", context)  # the admin says "no-store"

    def get_urls(self) -> list[Any]:
        rotate = self.admin_site.admin_view(self.rotate)
        return [path("<path:object_id>/rotate/", rotate, name="assistants_apikey_rotate"), *super().get_urls()]

    @method_decorator([never_cache, sensitive_variables("secret")])
    def rotate(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Asks how long the old key shall work on; then makes the new one and shows it, once."""
        if not self.has_rotate_permission(request):
            raise PermissionDenied
        key = self.get_object(request, unquote(object_id))
        if key is None:
            raise Http404
        if state_of(key) != "usable":
            return self.refuse(request, key)
        asked = RotateForm(
            request.POST if request.method == "POST" else None, initial={"expires_at": expiry_of_next(key)}
        )
        if request.method != "POST" or not asked.is_valid():
            context = {
                **self.admin_site.each_context(request),
                "title": f"Rotate “{key.name}”",
                "key": key,
                "form": asked,
                "opts": self.opts,
            }
            return TemplateResponse(request, "admin/assistants/apikey/rotate.html", context)
        grace, words = GRACES[asked.cleaned_data["grace"]]
        was = audit.values_of(key)
        try:
            made, secret = keys.rotate(key, grace, asked.cleaned_data["expires_at"])
        except keys.NotUsable:
            return self.refuse(request, key)
        self.log_addition(request, made, audit.made(f"Made in place of {key}.", made))
        self.log_change(request, key, audit.told(f"Replaced by {made}; it works on {words}.", was, key))
        return self.issued(request, made, secret, old=key)

    def refuse(self, request: HttpRequest, key: ApiKey) -> HttpResponse:
        self.message_user(request, "This key works no longer: make a new one in its place.", messages.WARNING)
        return HttpResponseRedirect(page_of(ApiKey, key.pk))

    @admin.action(
        permissions=["change"],
        description="Revoke this key",
        description_plural="Revoke selected keys",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def revoke(self, request: HttpRequest, keys: Any) -> None:
        revoke_all(self, request, keys, "Requests with it get 401 from now on.")
