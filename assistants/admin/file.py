"""Uploaded files, and the vector stores that hold them: to look at and to delete. Uploading is the API's business."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html, format_html_join

from assistants import storage
from assistants.models import File, Project, VectorStore, VectorStoreFile

from .content import masked
from .lists import ProjectFilter, ReadOnlyAdmin
from .markup import badge, error_in_words, json_block, link, moment, titled

FILES_SHOWN = 200


class RemovableAdmin(ReadOnlyAdmin):
    """Read-only except that it may be deleted. What goes along is said in one line, not listed chunk by chunk."""

    goes_along = ""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.delete_{self.opts.model_name}")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        names = [f"{obj} ({obj.pk})" for obj in objs[: self.delete_confirmation_max_display]]
        return [*names, self.goes_along], {str(self.opts.verbose_name_plural): len(objs)}, set(), []

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for obj in queryset:
            self.delete_model(request, obj)


@admin.register(File)
class FileAdmin(RemovableAdmin):
    list_display = ("title", "purpose", "size", "project", "created_at")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    search_fields = ("id__exact", "filename__startswith")
    search_help_text = "A file's whole id, or how its name begins: looked for in every project."
    change_form_template = "admin/assistants/facts_page.html"
    goes_along = "… its bytes, and its place in every vector store. Citations keep the id."

    @admin.display(description="Name")
    def title(self, file: File) -> str:
        return titled(file.filename, file.id)

    @admin.display(description="Size")
    def size(self, file: File) -> str:
        return filesizeformat(file.bytes)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        file: File = kwargs["obj"]
        rows = file.store_files.select_related("vector_store").order_by("-created_at")[:FILES_SHOWN]
        context.update(
            title="File",
            facts=[
                ("Id", file.id),
                ("Project", link(Project, file.project_id, str(file.project))),
                ("Purpose", file.purpose),
                ("Size", f"{filesizeformat(file.bytes)} ({file.bytes:,} bytes)"),
                ("Created", moment(file.created_at)),
                ("Expires", moment(file.expires_at)),
            ],
            table_heading="Vector stores with this file",
            table_columns=("Vector store", "Status", "Size in the store", "Error"),
            table_rows=[
                (
                    link(VectorStore, row.vector_store_id, named(row.vector_store)),
                    badge(row.status),
                    filesizeformat(row.usage_bytes),
                    error_in_words(row.last_error),
                )
                for row in rows
            ],
            table_empty="None.",
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def delete_model(self, request: HttpRequest, obj: File) -> None:
        storage.delete_file(obj)


def named(store: VectorStore) -> str:
    return "All files of the project" if store.covers_project else str(store)


@admin.register(VectorStore)
class VectorStoreAdmin(RemovableAdmin):
    list_display = ("title", "project", "created_at", "last_active_at")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    list_defer = ("metadata", "description")
    search_fields = ("id__exact", "name")
    search_help_text = "A store's whole id, or a part of its name: looked for in every project."
    change_form_template = "admin/assistants/facts_page.html"
    goes_along = "… and the index of its files. The files themselves stay."

    def has_delete_permission(self, request: HttpRequest, obj: VectorStore | None = None) -> bool:
        if obj is not None and obj.covers_project:
            return False  # it answers "all available files"; it would have to be built again
        return super().has_delete_permission(request, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[VectorStore]) -> None:
        super().delete_queryset(request, queryset.filter(covers_project=False))

    @admin.display(description="Name")
    def title(self, store: VectorStore) -> str:
        return titled(named(store), store.id)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        store: VectorStore = kwargs["obj"]
        counts = store.store_files.order_by().values_list("status").annotate(Count("id"))  # ≤ 10,000 files a store
        rows = list(store.store_files.select_related("file").order_by("-created_at", "-id")[: FILES_SHOWN + 1])
        context.update(
            title="Vector store",
            facts=[
                ("Id", store.id),
                ("Project", link(Project, store.project_id, str(store.project))),
                (
                    "Files",
                    format_html_join(" ", "{} {}", ((badge(status), count) for status, count in counts)) or "none",
                ),
                ("Created", moment(store.created_at)),
                ("Last used", moment(store.last_active_at)),
                ("Expires", f"{store.expires_after_days} days after the last use" if store.expires_after_days else "–"),
                ("Description", store.description or "–"),
                ("Metadata", json_block(masked(store.metadata))),
            ],
            table_heading=f"The newest {FILES_SHOWN} files" if len(rows) > FILES_SHOWN else "Files",
            table_columns=("File", "Status", "Size in the store", "Chunks of", "Added", "Error"),
            table_rows=[file_row(row) for row in rows[:FILES_SHOWN]],
            table_empty="No file yet. Clients add files with POST /v1/vector_stores/ID/files.",
        )
        return super().render_change_form(request, context, *args, **kwargs)


def file_row(row: VectorStoreFile) -> tuple[object, ...]:
    return (
        link(File, row.file_id, row.file.filename),
        badge(row.status),
        filesizeformat(row.usage_bytes),
        format_html("{} tokens, {} shared", row.max_chunk_size_tokens, row.chunk_overlap_tokens),
        moment(row.created_at),
        error_in_words(row.last_error),
    )
