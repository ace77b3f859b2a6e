"""Links to threads in the admin: which there are, and the action that revokes them. They are made in the chat page."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin import ActionLocation
from django.http import HttpRequest

from assistants.models import Share, Thread

from .credentials import revoke_all, state_of
from .lists import BoundedAdmin
from .markup import ago, badge, link


@admin.register(Share)
class ShareAdmin(BoundedAdmin):
    empty_hint = (
        "A share is a link that lets somebody read one thread. People make them in the chat page, with “Share”."
    )
    list_display = ("id", "thread_link", "project", "kind", "state", "created_by", "created_at", "expires_at", "used")
    list_select_related = ("thread__project",)
    list_defer = ("thread__metadata", "thread__tool_resources")
    search_fields = ("id__exact", "thread_id__exact")
    search_help_text = "The whole id of a share or of a thread."
    actions = ("revoke",)
    fields = ("id", "thread_link", "project", "kind", "state", "created_by", "created_at", "expires_at", "used")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked one stays, so that who opens it can be told

    @admin.display(description="Thread")
    def thread_link(self, share: Share) -> str:
        return link(Thread, share.thread_id)

    @admin.display(description="Project")
    def project(self, share: Share) -> str:
        return str(share.thread.project)

    @admin.display(description="Shows")
    def kind(self, share: Share) -> str:
        return "the thread as it was" if share.is_frozen else "the thread, live"

    @admin.display(description="State")
    def state(self, share: Share) -> str:
        return badge(state_of(share))

    @admin.display(description="Last opened")
    def used(self, share: Share) -> str:
        return ago(share.last_used_at)

    @admin.action(
        permissions=["change"],
        description="Revoke this link",
        description_plural="Revoke selected links",
        location=(ActionLocation.CHANGE_LIST, ActionLocation.CHANGE_FORM),
    )
    def revoke(self, request: HttpRequest, shares: Any) -> None:
        revoke_all(self, request, shares, "Whoever reads there is cut off.")
