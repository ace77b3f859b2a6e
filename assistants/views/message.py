"""/threads/{thread_id}/messages (contract 2.7)."""

from __future__ import annotations

from typing import Literal

from django.db import transaction
from rest_framework.request import Request

from assistants.answers import Answer, Deletion, Page
from assistants.authentication import share_of
from assistants.conversation import add_message, find_thread
from assistants.errors import not_found
from assistants.models import Message
from assistants.pagination import paginate, remember_place
from assistants.retrieval import conversations
from assistants.rows import hold
from assistants.scopes import Area, within
from assistants.serializers.fields import String, merge_metadata
from assistants.serializers.file import deletion_object
from assistants.serializers.message import MessageInput, MessageObject, MetadataChanges, message_object
from assistants.shared import messages_of
from assistants.views.resource import ResourceViewSet, takes


@within(Area.THREADS)
class MessageViewSet(ResourceViewSet):
    def find(self, thread_id: str, id: str) -> Message:
        """ApiError 404 also where the message is another thread's."""
        thread = find_thread(self.project, thread_id)
        message = messages_of(thread, share_of(self.request)).filter(pk=id).first()
        if message is None:
            raise not_found("message", id)
        return message

    @takes(query={"run_id": String(required=False)})
    def list(self, request: Request, thread_id: str) -> Answer[Page[MessageObject]]:
        thread = find_thread(self.project, thread_id)
        messages = messages_of(thread, share_of(request))
        shown = messages.filter(superseded=False)
        if run_id := request.query_params.get("run_id"):
            shown = shown.filter(run_id=run_id)
        return paginate(shown, request, message_object, scope=messages, thread=thread)

    @takes(MessageInput)
    def create(self, request: Request, thread_id: str) -> Answer[MessageObject]:
        thread = find_thread(self.project, thread_id)
        return Answer(message_object(add_message(thread, self.body())))

    def retrieve(self, request: Request, thread_id: str, message_id: str) -> Answer[MessageObject]:
        return Answer(message_object(self.find(thread_id, message_id)))

    @takes(MetadataChanges)
    def modify(self, request: Request, thread_id: str, message_id: str) -> Answer[MessageObject]:
        data = self.body()
        with transaction.atomic():
            hold(Message.objects.filter(thread__project=self.project, pk=message_id))
            message = self.find(thread_id, message_id)
            if "metadata" in data:
                message.metadata = merge_metadata(message.metadata, data["metadata"])
                message.save(update_fields=["metadata"])
        return Answer(message_object(message))

    @transaction.atomic
    def destroy(
        self, request: Request, thread_id: str, message_id: str
    ) -> Answer[Deletion[Literal["thread.message.deleted"]]]:
        message = self.find(thread_id, message_id)
        remember_place(request, message)
        message.delete()
        conversations.forget_message(message_id)
        return Answer(deletion_object(message_id, "thread.message.deleted"))
