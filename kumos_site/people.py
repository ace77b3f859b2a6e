"""Users and groups in the admin: Django's pages, in the audit log, and without a way up.

Whoever manages users gives nobody more than he has himself: the superuser flag and single permissions are for
superusers, groups only those whose permissions he has, and of a user or a group that may more than he does he changes
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin import ActionLocation
from django.contrib.admin.models import LogEntry
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.db.models import Q, QuerySet
from django.http import HttpRequest

from assistants.admin.audit import Audited
from assistants.admin.lists import SoundChangeList
from kumos_site.roles import OPERATORS, READERS

HINT = (
    f"“{OPERATORS}” run the service, “{READERS}” see everything and change nothing; neither reads what people and"
    " models wrote. That is the permission “Can read what people and models wrote”, which a superuser gives to a group"
    " or to somebody alone."
)


def permissions_of(user: Any) -> set[str]:
    """What `user` may, also while he is inactive: Django says "nothing" then, and he would have it once activated."""
    granted = Permission.objects.filter(Q(user=user) | Q(group__user=user))
    return named(granted).union(user.get_all_permissions())


def named(permissions: QuerySet[Permission]) -> set[str]:
    return {f"{app}.{codename}" for app, codename in permissions.values_list("content_type__app_label", "codename")}


def may_more(user: Any, than: Any) -> bool:
    """Whether `user` may do something that the other may not."""
    if than.is_superuser:
        return False
    return user.is_superuser or bool(permissions_of(user) - than.get_all_permissions())


if TYPE_CHECKING:
    StockUserAdmin = UserAdmin[User]
else:  # Django's own class cannot be subscripted at run time
    StockUserAdmin = UserAdmin


class Listed(Audited):
    """A list that answers whatever its address holds."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return SoundChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """No range, which an address cannot say: Django fails at the one text that it has for both ends."""
        return not lookup.endswith("__range") and super().lookup_allowed(lookup, value, request)


class PersonAdmin(Listed, StockUserAdmin):
    unaudited = ("last_login",)
    raised = ("is_superuser", "user_permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        given = super().get_readonly_fields(request, obj)
        return given if request.user.is_superuser else (*given, *self.raised)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if not super().has_change_permission(request, obj):
            return False
        return obj is None or not may_more(obj, request.user)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """His entries in the audit log would go along: who has some is made inactive instead."""
        if not super().has_delete_permission(request, obj):
            return False
        return obj is None or not (may_more(obj, request.user) or LogEntry.objects.filter(user=obj).exists())

    def get_actions(self, request: HttpRequest, action_location: Any = ActionLocation.CHANGE_LIST) -> Any:
        actions = super().get_actions(request, action_location)
        return {name: action for name, action in actions.items() if name != "delete_selected"}

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None and db_field.name == "groups":
            field.help_text = HINT
            if not request.user.is_superuser:
                allowed = [group.pk for group in Group.objects.all() if within(group, request.user)]
                field.queryset = Group.objects.filter(pk__in=allowed)
        return field


def within(group: Group, user: Any) -> bool:
    """Whether `user` may all that the group may."""
    return bool(user.is_superuser or named(group.permissions.all()) <= user.get_all_permissions())


class RoleAdmin(Listed, GroupAdmin):
    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and (obj is None or within(obj, request.user))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and (obj is None or within(obj, request.user))

    def formfield_for_manytomany(self, db_field: Any, request: HttpRequest | None = None, **kwargs: Any) -> Any:
        field = super().formfield_for_manytomany(db_field, request, **kwargs)
        if field is not None and db_field.name == "permissions":
            field.help_text = HINT
            if request is not None and not request.user.is_superuser:
                mine = request.user.get_all_permissions()
                known = Permission.objects.select_related("content_type")
                allowed = [one.pk for one in known if f"{one.content_type.app_label}.{one.codename}" in mine]
                field.queryset = known.filter(pk__in=allowed)
        return field


def register(site: admin.AdminSite) -> None:
    """In place of Django's own."""
    for model, page in ((User, PersonAdmin), (Group, RoleAdmin)):
        site.unregister(model)
        site.register(model, page)
