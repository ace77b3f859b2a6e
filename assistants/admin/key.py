"""API keys in the admin: made here, shown once, revoked here. The digest is never shown and never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ActionLocation
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.decorators import method_decorator
from django.views.decorators.debug import sensitive_variables

from assistants.models import ApiKey

from .credentials import revoke_all, state_of
from .lists import BoundedAdmin
from .markup import ago, badge


@admin.register(ApiKey)
class ApiKeyAdmin(BoundedAdmin):
    list_display = ("name", "shown_prefix", "project", "state", "last_used", "created_at", "expires_at")
    list_select_related = ("project",)
    search_fields = ("name", "prefix__startswith", "id__exact")
    search_help_text = "Name, the first characters of a key, or its id."
    autocomplete_fields = ("project",)
    actions = ("revoke",)

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("project", "name", "expires_at")
        return ("name", "project", "shown_prefix", "state", "last_used", "created_at", "expires_at")

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> tuple[str, ...]:
        return () if obj is None else ("project", "shown_prefix", "state", "last_used", "created_at")

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["help_texts"] = {
            "project": "The key reaches what belongs to this project, and nothing else.",
            "name": "Who or what uses it, for example “billing service”.",
            "expires_at": "Empty: the key works until it is revoked.",
        }
        return super().get_form(request, obj, change=change, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked key stays, so that it can still be told whose it was

    @admin.display(description="Key")
    def shown_prefix(self, key: ApiKey) -> str:
        return f"{key.prefix}…"

    @admin.display(description="State")
    def state(self, key: ApiKey) -> str:
        return badge(state_of(key))

    @admin.display(description="Last used")
    def last_used(self, key: ApiKey) -> str:
        return ago(key.last_used_at)

    @method_decorator(sensitive_variables("secret"))
    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        key, secret = ApiKey.issue(obj.project, obj.name, expires_at=obj.expires_at)
        obj.__dict__.update(key.__dict__, secret=secret)  # lives until `response_add`, on this object only

    @method_decorator(sensitive_variables("secret"))
    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: Any = None) -> HttpResponse:
        """The page that shows the secret: the answer to the POST itself, so nothing has to keep it for a redirect."""
        secret = obj.__dict__.pop("secret")
        context = {**self.admin_site.each_context(request), "title": "The key is made", "key": obj, "secret": secret}
        context["opts"] = self.opts
        return TemplateResponse(request, "admin/assistants/apikey/issued.html", context)  # the admin says "no-store"

    @admin.action(
        permissions=["change"],
        description="Revoke this key",
        description_plural="Revoke selected keys",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def revoke(self, request: HttpRequest, keys: Any) -> None:
        revoke_all(self, request, keys, "Requests with it get 401 from now on.")
