"""Uploaded files: the list, uploading, one file's page, its bytes. What a store makes of a file: `vector_store.py`."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html_join
from django.views.decorators.http import require_safe

from assistants import storage
from assistants.models import Assistant, File, Project, Thread, VectorStore, VectorStoreFile

from . import holders
from .content import HIDDEN, may_read
from .images import bytes_of, image_address, kind_of_image
from .lists import ProjectFilter, ReadOnlyAdmin
from .markup import badge, error_in_words, link, list_of, moment, titled
from .passages import PREVIEWED, passages_address, preview_of
from .uploads import UploadForm, answer, receive

STORES_SHOWN = 200


class RemovableAdmin(ReadOnlyAdmin):
    """Read-only except that it may be deleted. What goes along is said in one line, not listed chunk by chunk."""

    goes_along = ""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.delete_{self.opts.model_name}")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names = [f"{obj} ({obj.pk})" if str(obj) != obj.pk else str(obj) for obj in self.named(objs)]
        return [*names, self.goes_along], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def named(self, objs: Any) -> Any:
        return objs[: self.delete_confirmation_max_display]

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)

    def asked_for(self, request: HttpRequest, object_id: str) -> Any:
        """The object of a page of its own. 404 without one, 403 for whom may not see it."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        if not self.has_view_permission(request, obj):
            raise PermissionDenied
        return obj

    def page_context(self, request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
        """What templates of pages beside the usual ones need."""
        return {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "has_view_permission": self.has_view_permission(request),
            "may_read": may_read(request),
            "HIDDEN": HIDDEN,
            "file_bytes_max": settings.KUMOS_FILE_BYTES_MAX,
            **more,
        }


@admin.register(File)
class FileAdmin(RemovableAdmin):
    empty_hint = "Files are what assistants search and work with. Drop some into the upload page:"
    list_display = ("title", "purpose", "size", "in_stores", "project", "created_at")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    search_fields = ("id__exact", "filename__startswith")
    search_help_text = "A file's whole id, or how its name begins: looked for in every project."
    change_form_template = "admin/assistants/file/page.html"
    goes_along = "… its bytes, and its place in every vector store. Citations keep the id."

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("assistants.add_file")

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("<path:object_id>/download/", wrap(require_safe(self.download)), name="assistants_file_download"),
            path("<path:object_id>/image/", wrap(require_safe(self.image)), name="assistants_file_image"),
            *super().get_urls(),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        held = VectorStoreFile.objects.only("file_id", "status").order_by()
        return super().get_queryset(request).prefetch_related(Prefetch("store_files", held))

    @admin.display(description="Name")
    def title(self, file: File) -> str:
        return titled(file.filename, file.id)

    @admin.display(description="Size")
    def size(self, file: File) -> str:
        return filesizeformat(file.bytes)

    @admin.display(description="In stores")
    def in_stores(self, file: File) -> str:
        counts: dict[str, int] = {}
        for row in file.store_files.all():
            counts[row.status] = counts.get(row.status, 0) + 1
        return format_html_join(" ", "{} {}", ((badge(status), count) for status, count in counts.items())) or "–"

    # Uploading --------------------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = UploadForm(request.POST or None, initial={"project": request.GET.get("project")})
        if request.method == "POST" and form.is_valid():
            project = form.cleaned_data["project"]
            outcomes = receive(request, project, form.cleaned_data["purpose"])
            return answer(self, request, outcomes, list_of(File, project=project.id))
        if request.method == "POST" and not request.accepts("text/html"):
            return JsonResponse(
                {"error": "; ".join(str(text) for texts in form.errors.values() for text in texts)}, status=400
            )
        if not Project.objects.exists():
            self.message_user(request, "Make a project first: files belong to one.", "WARNING")
            return redirect("admin:assistants_project_add")
        context = self.page_context(request, "Upload files", form=form, add=True)
        return TemplateResponse(request, "admin/assistants/file/add.html", context)

    # One file ---------------------------------------------------------------------------------------------------------

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        file: File = kwargs["obj"]
        rows = list(
            VectorStoreFile.objects.filter(file=file)
            .select_related("vector_store")
            .order_by("-created_at", "-id")[:STORES_SHOWN]
        )
        named = [row.vector_store_id for row in rows if not row.vector_store.covers_project]
        context.update(
            self.page_context(request, "File"),
            facts=[
                ("Id", file.id),
                ("Project", link(Project, file.project_id, str(file.project))),
                ("Purpose", file.purpose),
                ("Size", f"{filesizeformat(file.bytes)} ({file.bytes:,} bytes)"),
                ("Created", moment(file.created_at)),
                ("Expires", moment(file.expires_at)),
            ],
            stores=[
                (
                    link(VectorStore, row.vector_store_id, named_store(row.vector_store)),
                    badge(row.status),
                    error_in_words(row.last_error),
                    passages_address(row) if row.status == "completed" else "",
                )
                for row in rows
            ],
            assistants=holders.of_file(Assistant, file, named),
            threads=holders.of_file(Thread, file, named),
            looked_at=holders.LOOKED_AT,
            preview=preview_of(rows) if may_read(request) else None,
            previewed=PREVIEWED,
            is_image=may_read(request) and kind_of_image(file) is not None,
            download=reverse("admin:assistants_file_download", args=[quote(file.id)]),
            image=image_address(file.id),
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def readable(self, request: HttpRequest, object_id: str) -> File:
        file: File = self.asked_for(request, object_id)
        if not may_read(request):
            raise PermissionDenied
        return file

    def download(self, request: HttpRequest, object_id: str) -> FileResponse:
        """The bytes, always as a download: what somebody uploaded never runs on a page of this server."""
        file = self.readable(request, object_id)
        return bytes_of(file, "application/octet-stream", as_attachment=True, filename=file.filename)

    def image(self, request: HttpRequest, object_id: str) -> FileResponse:
        """An image to be shown. What does not begin like one is none, whatever it is called."""
        file = self.readable(request, object_id)
        kind = kind_of_image(file)
        if kind is None:
            raise Http404
        return bytes_of(file, kind)

    def delete_model(self, request: HttpRequest, obj: File) -> None:
        storage.delete_file(obj)


def named_store(store: VectorStore) -> str:
    return "All files of the project" if store.covers_project else str(store)
