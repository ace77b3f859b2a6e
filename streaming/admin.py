"""The event log, read-only: asked for by thread or run, one event in full. The run page links here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from assistants.admin.content import shown
from assistants.admin.lists import ReadOnlyAdmin
from assistants.admin.markup import json_block, link, list_of, moment
from assistants.models import Thread
from streaming.models import Event


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = ("seq", "name", "run_id", "created_at")
    list_defer = ("data",)
    search_first = True
    empty_hint = "Everything that happens in a thread is an event: enter the whole id of a thread or of a run."
    search_fields = ("thread_id__exact", "run_id__exact")
    search_help_text = "Enter the whole id of a thread or a run."
    ordering = ("thread", "seq")
    change_form_template = "admin/streaming/event/page.html"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        event: Event = kwargs["obj"]
        context.update(
            title="Event",
            facts=[
                ("Name", event.name),
                ("Number in its thread", event.seq),
                ("Thread", link(Thread, event.thread_id)),
                ("Run", format_html('<a href="{}">{}</a>', list_of(Event, q=event.run_id), event.run_id or "–")),
                ("Time", moment(event.created_at)),
                ("Data", json_block(shown(request, event.data))),
            ],
        )
        return super().render_change_form(request, context, *args, **kwargs)
