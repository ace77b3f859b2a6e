"""Threads: the list, with search in what was said, and one thread as the people in it saw it. And its messages.

The conversation is `transcript.py`; what else belongs beside it, and other filters, other apps add.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from assistants.conversation import delete_thread, delete_threads
from assistants.masking import masked
from assistants.models import File, Message, Project, Thread, ThreadText, VectorStore
from assistants.retrieval import conversations

from .content import labels, may_read, shown
from .file import RemovableAdmin
from .lists import BoundedChangeList, ProjectFilter, ReadOnlyAdmin
from .markup import badge, chat_link, clipped, json_block, link, list_of, moment, titled
from .transcript import conversation

MESSAGES_SHOWN = 200
TITLE_SHOWN = 80

beside: list[Callable[[Thread], SafeString]] = []
"""What a thread's page shows beside the conversation: `runs.admin` puts the thread's runs here."""

filters: list[type[admin.SimpleListFilter]] = []
"""Further filters of the list: `runs.admin` puts here what became of the threads' runs."""


class ThreadChangeList(BoundedChangeList):
    """Looks up the titles of a page's threads, in one query, for whom may read them."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if may_read(request):
            texts = ThreadText.objects.filter(thread__in=[thread.pk for thread in self.result_list], message_id=None)
            titles = dict(texts.values_list("thread", "text"))
            for thread in self.result_list:
                thread.title = titles.get(thread.pk, "")


@admin.register(Thread)
class ThreadAdmin(RemovableAdmin):
    empty_hint = "A thread is a conversation. People begin one in the chat page, programs through the API:"
    empty_shell = ("/threads", '{"messages": [{"role": "user", "content": "Hello"}]}')
    list_display = ("name", "project", "created_at", "last_seq", "state")
    list_select_related = ("project",)
    list_defer = ("tool_resources", "metadata")
    unaudited = ("metadata",)  # the log outlives a thread, and is nothing to keep its title in
    search_fields = ("id__exact",)
    search_help_text = (
        "A thread's whole id, in every project; or words of its title and messages, in the chosen one (for whom may"
        " read content)."
    )
    change_form_template = "admin/assistants/thread/page.html"
    goes_along = "… with all messages, runs, steps, events and shared links. Files, vector stores and forks stay."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return ThreadChangeList

    def get_list_filter(self, request: HttpRequest) -> Any:
        return (ProjectFilter, *filters)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A whole id, or what the search of the API finds. Words tell of texts, so they need the right to read them."""
        term = search_term.strip()
        by_id = queryset.filter(pk=term)
        if not term:
            return queryset, False
        if not may_read(request) or by_id.exists():
            return by_id, False
        chosen = request.GET.get("project")
        projects = Project.objects.filter(pk=chosen) if chosen else Project.objects.order_by("name")
        project = projects.first()
        found = conversations.search(project, term[: conversations.QUERY_CHARACTERS_MAX]) if project else {}
        return queryset.filter(pk__in=list(found)), False

    @admin.display(description="Thread")
    def name(self, thread: Any) -> str:
        title = clipped(masked(getattr(thread, "title", "")), TITLE_SHOWN)
        return titled(title, thread.pk) if title else str(thread.pk)

    # Deleting ---------------------------------------------------------------------------------------------------------

    def has_delete_permission(self, request: HttpRequest, obj: Thread | None = None) -> bool:
        if obj is not None and obj.active_run_id:
            return False  # its run would go on writing; it is cancelled first
        return super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: Thread) -> None:
        delete_thread(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Thread]) -> None:
        busy = queryset.exclude(active_run_id=None).count()
        if busy:
            self.message_user(request, f"{busy} left alone: cancel their active runs first.", messages.WARNING)
        delete_threads(queryset.filter(active_run_id=None))

    @admin.display(description="State")
    def state(self, thread: Thread) -> str:
        return badge("in_progress") if thread.active_run_id else "–"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        thread: Thread = kwargs["obj"]
        newest = thread.messages.filter(superseded=False).order_by("-created_at", "-id")[: MESSAGES_SHOWN + 1]
        context.update(
            self.page_context(request, "Thread"),
            conversation=conversation(list(newest)[:MESSAGES_SHOWN][::-1], readable=may_read(request)),
            facts=[
                ("Id", thread.id),
                ("Project", link(Project, thread.project_id, str(thread.project))),
                ("Created", moment(thread.created_at)),
                ("Events so far", thread.last_seq),
                ("Messages", format_html('<a href="{}">as a list</a>', list_of(Message, q=thread.id))),
                ("Vector stores", links_of(VectorStore, thread, "file_search", "vector_store_ids")),
                ("Files for code", links_of(File, thread, "code_interpreter", "file_ids")),
                ("Metadata", json_block(labels(request, thread.metadata))),
            ],
            shown=MESSAGES_SHOWN if len(newest) > MESSAGES_SHOWN else 0,
            beside=[panel(thread) for panel in beside],
            chat_link=chat_link(thread=thread.id),
            is_busy=bool(thread.active_run_id),
        )
        return super().render_change_form(request, context, *args, **kwargs)


def links_of(model: type[VectorStore] | type[File], thread: Thread, tool: str, name: str) -> str:
    """Links to what the thread's tool resources name."""
    ids = (thread.tool_resources.get(tool) or {}).get(name) or []
    return format_html_join(", ", "{}", ((link(model, id),) for id in ids)) or "–"


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("id", "role", "state", "beginning", "thread_link", "created_at")
    list_defer = ("attachments", "metadata")
    search_first = True
    empty_hint = "There are many messages: enter the whole id of one, of its thread or of the run that wrote it."
    search_fields = ("id__exact", "thread_id__exact", "run_id__exact")
    search_help_text = "Enter the whole id of a message, a thread or a run."
    change_form_template = "admin/assistants/message/page.html"

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.list_display if may_read(request) else [name for name in self.list_display if name != "beginning"]

    @admin.display(description="Status")
    def state(self, message: Message) -> str:
        return badge(message.status)

    @admin.display(description="Text")
    def beginning(self, message: Message) -> str:
        return clipped(masked(message.text), 100).partition("\n")[0]

    @admin.display(description="Thread")
    def thread_link(self, message: Message) -> str:
        return link(Thread, message.thread_id)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        message: Message = kwargs["obj"]
        context.update(
            title="Message",
            conversation=conversation([message], readable=may_read(request)),
            facts=[
                ("Thread", link(Thread, message.thread_id)),
                ("Status", format_html("{} {}", badge(message.status), message.incomplete_reason)),
                ("Completed", moment(message.completed_at)),
                ("Attachments", json_block(message.attachments)),
                ("Metadata", json_block(labels(request, message.metadata))),
                ("Content", json_block(shown(request, message.content))),
            ],
        )
        return super().render_change_form(request, context, *args, **kwargs)
