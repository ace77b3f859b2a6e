"""Vector stores: the list, making one, and one store's page: files in and out of it, and what became of each.

Searching a store and reading its passages have pages of their own (`store_search.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html_join
from django.views.decorators.http import require_POST, require_safe

from assistants import stores
from assistants.errors import ApiError
from assistants.masking import masked
from assistants.models import Assistant, File, FileStatus, Project, Purpose, Thread, VectorStore, VectorStoreFile
from assistants.rows import Vanished
from assistants.serializers.tools import AUTO_CHUNK_TOKENS, AUTO_OVERLAP_TOKENS
from assistants.serializers.vector_store import DESCRIPTION_MAX, NAME_MAX

from . import audit, holders, store_search
from .file import RemovableAdmin, named_store
from .lists import BoundedChangeList, ProjectFilter
from .markup import badge, error_in_words, json_block, link, moment, page_of, titled
from .passages import passages_address
from .uploads import answer, receive

FILES_PER_PAGE = 50
SUGGESTED = 100
AGAIN = (FileStatus.FAILED, FileStatus.CANCELLED)


class StoreForm(forms.Form):
    project = forms.ModelChoiceField(Project.objects.all(), empty_label=None)
    name = forms.CharField(max_length=NAME_MAX, widget=forms.TextInput(attrs={"class": "vTextField"}))
    description = forms.CharField(
        max_length=DESCRIPTION_MAX, required=False, widget=forms.TextInput(attrs={"class": "vTextField"})
    )
    expires_after_days = forms.IntegerField(
        min_value=1,
        max_value=365,
        required=False,
        label="Expires after",
        help_text="Days after its last use. Empty: never.",
    )


class StoreChangeList(BoundedChangeList):
    """Counts what the stores of a page hold, in one query."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        contents = stores.contents_of(self.result_list)
        for store in self.result_list:
            store.contents = contents[store.pk]


@admin.register(VectorStore)
class VectorStoreAdmin(RemovableAdmin):
    empty_hint = "A vector store holds files that assistants search. Make one, and drop files into it:"
    empty_shell = ("/vector_stores", '{"name": "Handbooks"}')
    list_display = ("title", "files", "size", "project", "created_at", "last_active_at")
    list_filter = (ProjectFilter,)
    list_select_related = ("project",)
    list_defer = ("metadata", "description")
    search_fields = ("id__exact", "name")
    search_help_text = "A store's whole id, or a part of its name: looked for in every project."
    change_form_template = "admin/assistants/vectorstore/page.html"
    goes_along = "… and the index of its files. The files themselves stay."

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[BoundedChangeList]:
        return StoreChangeList

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("assistants.add_vectorstore")

    def has_delete_permission(self, request: HttpRequest, obj: VectorStore | None = None) -> bool:
        if obj is not None and obj.covers_project:
            return False  # it answers "all available files"; it would have to be built again
        return super().has_delete_permission(request, obj)

    def delete_model(self, request: HttpRequest, obj: VectorStore) -> None:
        stores.delete_store(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[VectorStore]) -> None:
        super().delete_queryset(request, queryset.filter(covers_project=False))

    def get_urls(self) -> list[Any]:
        def page(address: str, view: Callable[..., HttpResponse], name: str) -> Any:
            wrapped = self.admin_site.admin_view(view)
            return path(f"<path:object_id>/{address}", wrapped, name=f"assistants_vectorstore_{name}")

        return [
            page("files/", require_safe(self.files_view), "files"),
            page("upload/", require_POST(self.upload_view), "upload"),
            page("attach/", require_POST(self.attach_view), "attach"),
            page("detach/", require_POST(self.detach_view), "detach"),
            page("again/", require_POST(self.again_view), "again"),
            page("passages/<str:file_id>/", require_safe(self.passages_view), "passages"),
            page("search/", require_safe(self.search_view), "search"),
            *super().get_urls(),
        ]

    # The list ---------------------------------------------------------------------------------------------------------

    @admin.display(description="Name")
    def title(self, store: VectorStore) -> str:
        return titled(named_store(store), store.id)

    @admin.display(description="Files")
    def files(self, store: Any) -> str:
        return counts_in_words(store.contents)

    @admin.display(description="Size")
    def size(self, store: Any) -> str:
        return filesizeformat(store.contents.usage_bytes)

    # Making one -------------------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        if not Project.objects.exists():
            self.message_user(request, "Make a project first: vector stores belong to one.", messages.WARNING)
            return redirect("admin:assistants_project_add")
        form = StoreForm(request.POST or None, initial={"project": request.GET.get("project")})
        if request.method == "POST" and form.is_valid():
            wanted = dict(form.cleaned_data)
            store = stores.create_store(
                wanted.pop("project"), **{**wanted, "description": wanted["description"] or None}
            )
            self.log_addition(request, store, [{"added": {}}])
            self.message_user(request, "The store is there. Drop files into it.", messages.SUCCESS)
            return HttpResponseRedirect(page_of(VectorStore, store.id))
        context = self.page_context(request, "Add vector store", form=form, add=True)
        return TemplateResponse(request, "admin/assistants/vectorstore/add.html", context)

    # Its page ---------------------------------------------------------------------------------------------------------

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        store: VectorStore = kwargs["obj"]
        context.update(
            self.page_context(request, "Vector store"),
            **self.files_context(request, store),
            facts=facts_of(store),
            suggestions=suggestions_for(store) if self.may_change(request, store) else [],
            assistants=holders.of_store(Assistant, store),
            threads=holders.of_store(Thread, store),
            looked_at=holders.LOOKED_AT,
            expired=stores.is_expired(store),
            may_upload=self.may_change(request, store) and request.user.has_perm("assistants.add_file"),
        )
        return super().render_change_form(request, context, *args, **kwargs)

    def may_change(self, request: HttpRequest, store: VectorStore) -> bool:
        """Whether files may be put in and out. The store of all files follows the files alone."""
        return request.user.has_perm("assistants.change_vectorstore") and not store.covers_project

    def files_context(self, request: HttpRequest, store: VectorStore) -> dict[str, Any]:
        """What the table of files shows: on the page at first, then alone as often as something changes."""
        contents = stores.contents_of([store])[store.pk]
        status = request.GET.get("status", "")
        status = status if status in FileStatus.values else ""
        asked = request.GET.get("p", "1")
        number = max(1, int(asked)) if asked.isdecimal() and len(asked) < 5 else 1
        rows = VectorStoreFile.objects.filter(vector_store=store).select_related("file").order_by("-created_at", "-id")
        if status:
            rows = rows.filter(status=status)
        start = (number - 1) * FILES_PER_PAGE
        found = list(rows[start : start + FILES_PER_PAGE + 1])
        return {
            "store": store,
            "rows": [row_of(row) for row in found[:FILES_PER_PAGE]],
            "statuses": [
                (name, badge(name), getattr(contents, name)) for name in FileStatus.values if getattr(contents, name)
            ],
            "total": contents.total,
            "failed": contents.failed,
            "is_active": bool(contents.in_progress),
            "status": status,
            "number": number,
            "previous": number - 1,
            "next": number + 1 if len(found) > FILES_PER_PAGE else 0,
            "may_change": self.may_change(request, store),
            "may_again": request.user.has_perm("assistants.change_vectorstore"),
            "addresses": {
                name: reverse(f"admin:assistants_vectorstore_{name}", args=[quote(store.pk)])
                for name in ("files", "upload", "attach", "detach", "again", "search")
            },
        }

    def files_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The table alone, for the page's script."""
        store = self.asked_for(request, object_id)
        answer = render(request, "admin/assistants/vectorstore/files.html", self.files_context(request, store))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    # Files in and out -------------------------------------------------------------------------------------------------

    def changing(self, request: HttpRequest, object_id: str) -> VectorStore:
        store: VectorStore = self.asked_for(request, object_id)
        if not self.may_change(request, store):
            raise PermissionDenied
        return store

    def upload_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Files that are kept and attached at once."""
        store = self.changing(request, object_id)
        if not request.user.has_perm("assistants.add_file"):
            raise PermissionDenied
        outcomes = receive(request, store.project, Purpose.ASSISTANTS, lambda file: stores.attach(store, file))
        self.note(request, store, "attached", [outcome.name for outcome in outcomes if not outcome.error])
        return answer(self, request, outcomes, page_of(VectorStore, store.pk))

    def attach_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A file that is there already."""
        store = self.changing(request, object_id)
        try:
            (file,) = stores.find_files(store.project, [named_file(request)])
            stores.attach(store, file)
        except (ApiError, Vanished) as error:
            return self.back(request, store, str(error) or "The file is gone.", messages.ERROR)
        self.note(request, store, "attached", [file.filename])
        return self.back(request, store, f"{file.filename} is attached; it is being read.")

    def detach_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        store = self.changing(request, object_id)
        held = VectorStoreFile.objects.filter(vector_store=store, file=named_file(request))
        row = held.select_related("file").first()
        if row is None:
            return self.back(request, store, "That file is not in this store any more.", messages.WARNING)
        stores.detach(row)
        self.note(request, store, "detached", [row.file.filename])
        return self.back(request, store, f"{row.file.filename} is detached. The file itself stays.")

    def again_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Reads what failed once more: one file, or all of them. They keep their attributes and sizes of passages."""
        store: VectorStore = self.asked_for(request, object_id)
        if not request.user.has_perm("assistants.change_vectorstore"):
            raise PermissionDenied
        failed = VectorStoreFile.objects.filter(vector_store=store, status__in=AGAIN).select_related("file")
        if file_id := named_file(request):
            failed = failed.filter(file=file_id)
        rows = list(failed)
        wanted = [stores.Attachment(row.file, row.max_chunk_size_tokens, row.chunk_overlap_tokens) for row in rows]
        try:
            stores.attach_together(store, wanted)
        except (ApiError, Vanished) as error:
            return self.back(request, store, str(error) or "A file is gone. Try again.", messages.ERROR)
        if not rows:
            return self.back(request, store, "Nothing to read again: no file has failed.", messages.WARNING)
        self.note(request, store, "attached again", [row.file.filename for row in rows])
        return self.back(request, store, f"{len(rows)} file{'s' if len(rows) != 1 else ''} read once more.")

    def note(self, request: HttpRequest, store: VectorStore, what: str, names: list[str]) -> None:
        if names:
            words = f"Files {what}: {', '.join(names[:20])}{' …' if len(names) > 20 else ''}."
            listed = {"files": "\n".join(names)}
            old, new = {"attached": ({}, listed), "detached": (listed, {})}.get(what, ({}, {}))
            self.log_change(request, store, audit.said(words, VectorStore, old, new))

    def back(self, request: HttpRequest, store: VectorStore, text: str, level: int = messages.SUCCESS) -> HttpResponse:
        self.message_user(request, text, level)
        return HttpResponseRedirect(page_of(VectorStore, store.pk))

    # Pages beside it --------------------------------------------------------------------------------------------------

    def passages_view(self, request: HttpRequest, object_id: str, file_id: str) -> HttpResponse:
        store = self.asked_for(request, object_id)
        context = store_search.passages_context(request, store, file_id)
        title = f"Passages of {context['row'].file.filename}"
        return TemplateResponse(
            request, "admin/assistants/vectorstore/passages.html", self.page_context(request, title, **context)
        )

    def search_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        store = self.asked_for(request, object_id)
        context = store_search.search_context(request, store)
        return TemplateResponse(
            request,
            "admin/assistants/vectorstore/search.html",
            self.page_context(request, f"Search in {named_store(store)}", **context),
        )


def named_file(request: HttpRequest) -> str:
    """The id that a button or the form names."""
    return request.POST.get("file", "").strip()


def counts_in_words(contents: stores.Contents) -> str:
    counts = ((badge(name), getattr(contents, name)) for name in FileStatus.values if getattr(contents, name))
    return format_html_join(" ", "{} {}", counts) or "none"


def facts_of(store: VectorStore) -> list[tuple[str, object]]:
    expiry = f"{store.expires_after_days} days after the last use" if store.expires_after_days else "never"
    if stores.is_expired(store):
        expiry = f"expired ({expiry}): nothing is found in it"
    return [
        ("Id", store.id),
        ("Project", link(Project, store.project_id, str(store.project))),
        ("Created", moment(store.created_at)),
        ("Last used", moment(store.last_active_at)),
        ("Expires", expiry),
        (
            "Passages",
            f"{AUTO_CHUNK_TOKENS} tokens, {AUTO_OVERLAP_TOKENS} shared with the one in front, unless a file says more",
        ),
        ("Description", store.description or "–"),
        ("Metadata", json_block(masked(store.metadata))),
    ]


def row_of(row: VectorStoreFile) -> dict[str, Any]:
    return {
        "id": row.file_id,
        "link": link(File, row.file_id, row.file.filename),
        "name": row.file.filename,
        "state": badge(row.status),
        "error": error_in_words(row.last_error),
        "size": filesizeformat(row.file.bytes),
        "chunks": f"{row.max_chunk_size_tokens} / {row.chunk_overlap_tokens}",
        "added": moment(row.created_at),
        "passages": passages_address(row) if row.status == FileStatus.COMPLETED else "",
        "again": row.status in AGAIN,
    }


def suggestions_for(store: VectorStore) -> list[tuple[str, str]]:
    """The newest files of the project that are not in the store."""
    held = VectorStoreFile.objects.filter(vector_store=store).values("file")
    others = stores.files_of(store.project).exclude(pk__in=held).order_by("-created_at", "-id")
    return list(others.values_list("id", "filename")[:SUGGESTED])
