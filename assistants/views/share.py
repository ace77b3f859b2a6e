"""/threads/{thread_id}/shares: links to a thread for people without a login (docs/extensions.md)."""

from __future__ import annotations

from typing import Literal

from django.urls import reverse
from rest_framework.request import Request

from assistants.answers import Answer, Deletion, Page
from assistants.authentication import Principal, share_of
from assistants.clock import now
from assistants.conversation import find_thread
from assistants.errors import not_found
from assistants.models import Share
from assistants.pagination import paginate
from assistants.scopes import Area, within
from assistants.serializers.file import deletion_object
from assistants.serializers.share import ShareInput, ShareObject, share_object
from assistants.views.resource import ResourceViewSet, takes


@within(Area.THREADS)
class ShareViewSet(ResourceViewSet):
    def find(self, thread_id: str, id: str) -> Share:
        """ApiError 404 also where the share is another thread's, or was revoked."""
        share = Share.objects.filter(thread=find_thread(self.project, thread_id), revoked_at=None, pk=id).first()
        if share is None:
            raise not_found("share", id)
        return share

    def list(self, request: Request, thread_id: str) -> Answer[Page[ShareObject]]:
        """Those that were not revoked. Expired ones are among them."""
        shares = Share.objects.filter(thread=find_thread(self.project, thread_id))
        return paginate(shares.filter(revoked_at=None), request, share_object, scope=shares)

    @takes(ShareInput)
    def create(self, request: Request, thread_id: str) -> Answer[ShareObject]:
        """`url` is shown here and never again: whoever has it reads the thread."""
        thread = find_thread(self.project, thread_id)
        data = self.body()
        share, token = Share.issue(
            thread,
            expires_after=(data.get("expires_after") or {}).get("seconds"),
            frozen=bool(data.get("frozen")),
            created_by=self.maker(),
        )
        page = request.build_absolute_uri(reverse("shared"))
        # Behind the #: no server hears of it, no log keeps it, no page that is left for another passes it on.
        return Answer(share_object(share, f"{page}#{thread.pk}/{token}"), kept=share_object(share))

    def retrieve(self, request: Request, thread_id: str, share_id: str) -> Answer[ShareObject]:
        return Answer(share_object(share_of(request) or self.find(thread_id, share_id)))

    def destroy(
        self, request: Request, thread_id: str, share_id: str
    ) -> Answer[Deletion[Literal["thread.share.deleted"]]]:
        """Revokes it. Readers who are there at the moment are cut off within seconds."""
        share = self.find(thread_id, share_id)
        Share.objects.filter(pk=share.pk, revoked_at=None).update(revoked_at=now())
        return Answer(deletion_object(share_id, "thread.share.deleted"))

    def maker(self) -> str:
        """Who made it, for the admin."""
        assert isinstance(self.request.auth, Principal)
        who = self.request.auth
        return f"key {who.key.name}" if who.key else who.user.get_username() if who.user else ""
