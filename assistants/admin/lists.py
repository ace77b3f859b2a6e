"""Admin lists that cost the same with a hundred rows and with a million; every ModelAdmin of Kumos starts from here.

Three rules: never count further than `COUNT_CAP`, never sort a column without an index, never load what the list does
not show. What a page of one object shows is the business of that object's module.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters, ShowFacets
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import DateTimeField, DecimalField, Field, IntegerField, JSONField, Model, QuerySet, TextField
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext

from assistants.models import Project

from .audit import Audited

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:  # Django's own class cannot be subscripted at run time
    AnyPaginator = Paginator

COUNT_CAP = 1000


def may_see(request: HttpRequest, model: type[Model]) -> bool:
    """Whether whoever asks may open the pages of these: only then other pages call them by their names."""
    return bool(admin.site._registry[model].has_view_permission(request))


def capped_count(rows: QuerySet[Any], cap: int = COUNT_CAP) -> int:
    """How many rows there are, `cap + 1` standing for "more than `cap`": the database stops looking there."""
    return rows.order_by().values("pk")[: cap + 1].count()


def spoken(count: int, cap: int = COUNT_CAP) -> str:
    """`capped_count`'s answer for people: "12", "1,000+"."""
    return f"{cap:,}+" if count > cap else f"{count:,}"


class CappedPaginator(AnyPaginator):
    """Pages over the first `COUNT_CAP` rows. Older ones are found by id: nobody turns two hundred pages."""

    @cached_property
    def found(self) -> int:
        assert isinstance(self.object_list, QuerySet)
        return capped_count(self.object_list)

    @cached_property
    def count(self) -> int:
        return min(self.found, COUNT_CAP)

    @property
    def spoken(self) -> str:
        return spoken(self.found)


class SoundChangeList(ChangeList):
    """One whose address may hold a number or a time that Python or the database cannot: Django shows the whole list."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)  # which counts the rows, so that it shows here
        except (OverflowError, ValueError, DataError) as error:
            raise IncorrectLookupParameters(error) from error


class BoundedChangeList(SoundChangeList):
    """Leaves out the columns named by `list_defer`, and everything where a list must be asked for by id first."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_popup:
            self.title = capfirst(str(self.opts.verbose_name_plural))

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        rows = super().get_queryset(request, exclude_parameters)
        assert isinstance(self.model_admin, BoundedAdmin)
        if self.model_admin.search_first and not self.query.strip():
            return rows.none()
        return rows.defer(*self.model_admin.list_defer)


class BoundedAdmin(Audited):
    """A ModelAdmin under the three rules, which writes down who changed what (audit.py)."""

    list_defer: tuple[str, ...] = ()
    """Columns the list does not load: JSON and long texts."""
    search_first = False
    """True: the list is empty until somebody searches. For tables without an index on time alone."""
    empty_hint = ""
    """What an empty list says: where its things come from, and what to do next (templates/admin/empty.html)."""
    empty_shell: tuple[str, str] = ("", "")
    """The command that makes one through the API: the path behind /v1, and the JSON it sends, if any."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 0
    sortable_by = ()
    delete_confirmation_max_display = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return BoundedChangeList

    def action_checkbox(self, obj: Any) -> SafeString:
        """As Django's, but without a template for each box: they were a fifth of what a list's page takes."""
        about = gettext("Select this object for an action - {}").format(obj)
        box = '<input type="checkbox" name="{}" value="{}" class="action-select" aria-label="{}">'
        return format_html(box, ACTION_CHECKBOX_NAME, obj.pk, about)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Only what a filter offers, equality, and ranges of times and numbers.

        Django allows every look-up in a table's own columns, and `?content__contains=…` would tell, letter by letter,
        what the list does not show.
        """
        name, _, how = lookup.partition("__")
        try:
            field = self.model._meta.get_field(name)
        except FieldDoesNotExist:  # a filter's own name, or nothing's
            return super().lookup_allowed(lookup, value, request)
        filters = [one[0] if isinstance(one, list | tuple) else one for one in self.get_list_filter(request)]
        offered = [str(getattr(one, "parameter_name", one)) for one in filters]
        if any(lookup == one or lookup.startswith(f"{one}__") for one in offered):
            return super().lookup_allowed(lookup, value, request)
        if isinstance(field, JSONField | TextField) or not isinstance(field, Field):
            return False
        if field.is_relation:
            return how in ("", "exact", "in", "isnull", "id", "id__exact", "pk", "pk__exact")
        in_order = isinstance(field, DateTimeField | IntegerField | DecimalField)
        return how in ("", "exact", "in", "isnull") or (in_order and how in ("gt", "gte", "lt", "lte"))


class ReadOnlyAdmin(BoundedAdmin):
    """What people look at and the server alone writes. Seeing it still needs the view (or change) permission."""

    fieldsets = ((None, {"fields": ()}),)  # the object's page is its own template

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ProjectFilter(admin.SimpleListFilter):
    """One project at a time: the index of these tables starts with the project, so its newest rows cost nothing.

    Without a choice it is the first project by name, and a search by id looks in all of them.
    """

    title = "project"
    parameter_name = "project"
    SHOWN = 50

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(Project.objects.order_by("name").values_list("id", "name")[: self.SHOWN])

    def has_output(self) -> bool:
        return True

    def chosen(self) -> str | None:
        return self.value() or (str(self.lookup_choices[0][0]) if self.lookup_choices else None)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() is None and request.GET.get("q", "").strip():
            return queryset
        return queryset.filter(project_id=self.chosen())

    def choices(self, changelist: Any) -> Any:
        for key, name in self.lookup_choices:
            yield {
                "selected": str(key) == self.chosen(),
                "query_string": changelist.get_query_string({self.parameter_name: key}),
                "display": name,
            }
