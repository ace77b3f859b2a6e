"""A thread as the people in it saw it, read-only, and its messages. What else belongs beside it, other apps add."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from assistants.models import Assistant, File, Message, MessageStatus, Project, Thread

from .content import HIDDEN, labels, may_read, shown
from .lists import ProjectFilter, ReadOnlyAdmin
from .markup import badge, chat_link, clipped, json_block, link, list_of, moment

MESSAGES_SHOWN = 200

beside: list[Callable[[Thread], SafeString]] = []
"""What a thread's page shows beside the conversation: `runs.admin` puts the thread's runs here."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message. `kind` is text, image, refusal, hidden or other; `href` leads to the file of an image."""

    kind: str
    text: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Citation:
    marker: str
    file_id: str
    filename: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """A message, ready to be shown."""

    message: Message
    speaker: str
    state: str
    parts: Sequence[Part]
    citations: Sequence[Citation]


def part_of(part: dict[str, Any]) -> Part:
    """Shown form of a content part (contract 2.7). Images of foreign servers are named, never loaded."""
    kind = part.get("type")
    if kind == "text":
        return Part("text", clipped(part["text"]["value"]))
    if kind == "image_file":
        file_id = part["image_file"]["file_id"]
        return Part("image", file_id, list_of(File, q=file_id))
    if kind == "image_url":
        return Part("image", clipped(str(part["image_url"]["url"]), 300))
    if kind == "refusal":
        return Part("refusal", clipped(str(part["refusal"])))
    return Part("other", str(kind))


def cited_ids(message: Message) -> Iterable[tuple[str, str]]:
    """(marker, file id) of each citation and each file a message links to, each pair once, in their order."""
    found: dict[tuple[str, str], None] = {}
    for part in message.content:
        if part.get("type") == "text":
            for note in part["text"].get("annotations", ()):
                target = note.get("file_citation") or note.get("file_path") or {}
                found[(str(note.get("text", "")), str(target.get("file_id", "")))] = None
    return found


def state_of(message: Message) -> str:
    """What is special about a message's status, nothing for a completed one."""
    if message.status == MessageStatus.COMPLETED:
        return ""
    return format_html("{} {}", badge(message.status), message.incomplete_reason.replace("_", " "))


def conversation(messages: Sequence[Message], *, readable: bool = False) -> list[Utterance]:
    """`messages` with the names of who speaks and what is cited: two queries, however many there are.

    Their texts only if they are `readable` for the viewer (content.may_read).
    """
    speakers = {message.assistant_id for message in messages if message.assistant_id}
    names = dict(Assistant.objects.filter(pk__in=speakers).values_list("id", "name"))
    cited = {message.id: list(cited_ids(message)) for message in messages}
    wanted = {file_id for pairs in cited.values() for _, file_id in pairs}
    filenames = dict(File.objects.filter(pk__in=wanted).values_list("id", "filename"))
    return [
        Utterance(
            message,
            "User"
            if message.role == "user"
            else names.get(message.assistant_id or "") or message.assistant_id or "Assistant",
            state_of(message),
            [part_of(part) for part in message.content] if readable else [Part("hidden", HIDDEN)],
            [Citation(mark, file_id, filenames.get(file_id, "(deleted file)")) for mark, file_id in cited[message.id]],
        )
        for message in messages
    ]


@admin.register(Thread)
class ThreadAdmin(ReadOnlyAdmin):
    list_display = ("id", "project", "created_at", "last_seq", "state")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    list_defer = ("tool_resources", "metadata")
    unaudited = ("metadata",)  # the log outlives a thread, and is nothing to keep its title in
    search_fields = ("id__exact",)
    search_help_text = "A thread's whole id, for example thread_4cF…: it is looked for in every project."
    change_form_template = "admin/assistants/thread/page.html"

    @admin.display(description="State")
    def state(self, thread: Thread) -> str:
        return badge("in_progress") if thread.active_run_id else "–"

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        thread: Thread = kwargs["obj"]
        newest = thread.messages.filter(superseded=False).order_by("-created_at", "-id")[: MESSAGES_SHOWN + 1]
        context.update(
            title="Thread",
            conversation=conversation(list(newest)[:MESSAGES_SHOWN][::-1], readable=may_read(request)),
            facts=[
                ("Id", thread.id),
                ("Project", link(Project, thread.project_id, str(thread.project))),
                ("Created", moment(thread.created_at)),
                ("Events so far", thread.last_seq),
                ("Messages", format_html('<a href="{}">as a list</a>', list_of(Message, q=thread.id))),
                ("Tool resources", json_block(thread.tool_resources)),
                ("Metadata", json_block(labels(request, thread.metadata))),
            ],
            shown=MESSAGES_SHOWN if len(newest) > MESSAGES_SHOWN else 0,
            beside=[panel(thread) for panel in beside],
            chat_link=chat_link(thread=thread.id),
        )
        return super().render_change_form(request, context, *args, **kwargs)


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    list_display = ("id", "role", "state", "beginning", "thread_link", "created_at")
    list_defer = ("attachments", "metadata")
    search_first = True
    search_fields = ("id__exact", "thread_id__exact", "run_id__exact")
    search_help_text = "Enter the whole id of a message, a thread or a run."
    change_form_template = "admin/assistants/message/page.html"

    def get_list_display(self, request: HttpRequest) -> Sequence[str]:
        if may_read(request):
            return self.list_display
        return [column for column in self.list_display if column != "beginning"]

    @admin.display(description="Status")
    def state(self, message: Message) -> str:
        return badge(message.status)

    @admin.display(description="Text")
    def beginning(self, message: Message) -> str:
        return clipped(message.text, 100).partition("\n")[0]

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
