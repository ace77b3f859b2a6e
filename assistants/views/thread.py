"""/threads (contract 2.6), and what the API never had: a list of threads, and forks of one (docs/extensions.md)."""

from __future__ import annotations

from typing import Literal

from django.db import transaction
from rest_framework.request import Request

from assistants import forks, stores
from assistants.answers import Answer, Deletion, Page
from assistants.conversation import create_thread, find_thread
from assistants.models import Thread
from assistants.pagination import paginate, remember_place
from assistants.rows import hold
from assistants.serializers.fields import String, merge_metadata
from assistants.serializers.file import deletion_object
from assistants.serializers.thread import ForkInput, ThreadChanges, ThreadInput, ThreadObject, thread_object
from assistants.views.resource import ResourceViewSet, takes


class ThreadViewSet(ResourceViewSet):
    @takes(query={"family": String(required=False)})
    def list(self, request: Request) -> Answer[Page[ThreadObject]]:
        threads = Thread.objects.filter(project=self.project)
        family = request.query_params.get("family")
        shown = forks.family_of(threads, family) if family else threads
        return paginate(shown, request, lambda thread: thread_object(thread, long=True), scope=threads)

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
        thread.delete()
        return Answer(deletion_object(thread_id, "thread.deleted"))
