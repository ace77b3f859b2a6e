"""/threads (contract 2.6), and what the API never had: a list of threads, and forks of one (docs/extensions.md)."""

from __future__ import annotations

from typing import Literal, cast

from django.db import transaction
from rest_framework.request import Request

from assistants import forks, stores
from assistants.answers import Answer, Deletion, Page
from assistants.conversation import create_thread, delete_thread, find_thread
from assistants.models import Thread
from assistants.pagination import envelope, page, parse_text, remember_place
from assistants.retrieval import conversations
from assistants.retrieval.conversations import QUERY_CHARACTERS_MAX, ThreadMatch
from assistants.rows import hold
from assistants.scopes import Area, within
from assistants.serializers.fields import String, merge_metadata
from assistants.serializers.file import deletion_object
from assistants.serializers.thread import (
    ForkInput,
    ListedThread,
    ThreadChanges,
    ThreadInput,
    ThreadObject,
    thread_object,
)
from assistants.views.resource import ResourceViewSet, takes


@within(Area.THREADS)
class ThreadViewSet(ResourceViewSet):
    @takes(query={"family": String(required=False), "query": String(max=QUERY_CHARACTERS_MAX, required=False)})
    def list(self, request: Request) -> Answer[Page[ListedThread]]:
        threads = Thread.objects.filter(project=self.project)
        family = request.query_params.get("family")
        shown = forks.family_of(threads, family) if family else threads
        query = parse_text(request, "query", QUERY_CHARACTERS_MAX)
        found = conversations.search(self.project, query) if query else {}
        if query:
            shown = shown.filter(pk__in=list(found))
        listed, has_more = page(shown, request, scope=threads)
        matches = conversations.matches([found[thread.pk] for thread in listed], query) if query else {}
        return envelope([self.listed(thread, matches.get(thread.pk)) for thread in listed], has_more)

    @staticmethod
    def listed(thread: Thread, match: ThreadMatch | None) -> ListedThread:
        shown = cast(ListedThread, thread_object(thread, long=True))
        if match is not None:
            shown["match"] = match
        return shown

    @takes(ThreadInput)
    def create(self, request: Request) -> Answer[ThreadObject]:
        thread = create_thread(self.project, self.body())
        return Answer(thread_object(thread, long=False))

    def retrieve(self, request: Request, thread_id: str) -> Answer[ThreadObject]:
        return Answer(thread_object(find_thread(self.project, thread_id), long=True))

    @takes(ThreadChanges)
    def modify(self, request: Request, thread_id: str) -> Answer[ThreadObject]:
        data = self.body()
        with transaction.atomic():
            hold(Thread.objects.filter(project=self.project, pk=thread_id))
            thread = find_thread(self.project, thread_id)
            if "metadata" in data:
                thread.metadata = merge_metadata(thread.metadata, data["metadata"])
                conversations.note_title(thread)
            if "tool_resources" in data:
                thread.tool_resources = stores.changed_tool_resources(thread, data["tool_resources"])
            thread.save(update_fields=data.keys())
        return Answer(thread_object(thread, long=False))

    @takes(ForkInput)
    def fork(self, request: Request, thread_id: str) -> Answer[ThreadObject]:
        fork = forks.create_fork(find_thread(self.project, thread_id), self.body())
        return Answer(thread_object(fork, long=False))

    @transaction.atomic
    def destroy(self, request: Request, thread_id: str) -> Answer[Deletion[Literal["thread.deleted"]]]:
        thread = find_thread(self.project, thread_id)
        remember_place(request, thread)
        delete_thread(thread)
        return Answer(deletion_object(thread_id, "thread.deleted"))
