"""/assistants (contract 2.2)."""

from __future__ import annotations

from typing import Literal

from django.db import transaction
from rest_framework.request import Request

from assistants import stores, versions
from assistants.answers import Answer, Deletion, Page
from assistants.authentication import principal_of
from assistants.errors import not_found
from assistants.models import Assistant
from assistants.pagination import paginate, remember_place
from assistants.rows import hold
from assistants.scopes import Area, within
from assistants.serializers.assistant import (
    AssistantChanges,
    AssistantInput,
    AssistantObject,
    assistant_object,
    columns,
)
from assistants.serializers.fields import merge_metadata
from assistants.serializers.file import deletion_object
from assistants.views.resource import ResourceViewSet, takes


@within(Area.ASSISTANTS)
class AssistantViewSet(ResourceViewSet):
    def find(self, id: str) -> Assistant:
        assistant = Assistant.objects.filter(project=self.project, pk=id).first()
        if assistant is None:
            raise not_found("assistant", id)
        return assistant

    def list(self, request: Request) -> Answer[Page[AssistantObject]]:
        return paginate(Assistant.objects.filter(project=self.project, scratch_of=None), request, assistant_object)

    @takes(AssistantInput)
    def create(self, request: Request) -> Answer[AssistantObject]:
        data = columns(self.body())
        data["metadata"] = data.get("metadata") or {}
        with transaction.atomic():
            data["tool_resources"] = stores.resolve_tool_resources(self.project, data.get("tool_resources"))
            assistant = Assistant.objects.create(project=self.project, **data)
            versions.record(assistant, principal_of(request).called)
        return Answer(assistant_object(assistant))

    def retrieve(self, request: Request, assistant_id: str) -> Answer[AssistantObject]:
        return Answer(assistant_object(self.find(assistant_id)))

    @takes(AssistantChanges)
    def modify(self, request: Request, assistant_id: str) -> Answer[AssistantObject]:
        data = columns(self.body())
        with transaction.atomic():
            hold(Assistant.objects.filter(project=self.project, pk=assistant_id))
            assistant = self.find(assistant_id)
            if "metadata" in data:
                data["metadata"] = merge_metadata(assistant.metadata, data["metadata"])
            if "tool_resources" in data:
                data["tool_resources"] = stores.changed_tool_resources(assistant, data["tool_resources"])
            for name, value in data.items():
                setattr(assistant, name, value)
            assistant.save(update_fields=data.keys())
            versions.record(assistant, principal_of(request).called)
        return Answer(assistant_object(assistant))

    def destroy(self, request: Request, assistant_id: str) -> Answer[Deletion[Literal["assistant.deleted"]]]:
        assistant = self.find(assistant_id)
        remember_place(request, assistant)
        assistant.delete()
        return Answer(deletion_object(assistant_id, "assistant.deleted"))
