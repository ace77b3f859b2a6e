"""The two groups: made with the tables, left as operators change them, and no way from one up to more rights."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.test import Client

from assistants.admin.markup import list_of, page_of
from kumos_site import roles
from kumos_site.roles import OPERATORS, READERS

CONTENT = "assistants.read_content"


@pytest.fixture
def groups(db: None) -> None:
    Group.objects.all().delete()
    roles.grant(())


def member(name: str, group: str, **more: Any) -> User:
    user = User.objects.create_user(name, is_staff=True, **more)
    user.groups.add(Group.objects.get(name=group))
    return user


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def names(group: str) -> set[str]:
    found = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}


def test_a_fresh_database_has_both(groups: None) -> None:
    ours = {
        f"{app}.{codename}"
        for app, codename in Permission.objects.filter(content_type__app_label__in=roles.OUR_APPS).values_list(
            "content_type__app_label", "codename"
        )
    }
    views = {name for name in ours if ".view_" in name}
    assert len(views) >= 15
    assert names(READERS) == views | {"admin.view_logentry"}
    assert (ours - {CONTENT}) < names(OPERATORS)
    assert CONTENT not in names(OPERATORS) | names(READERS)
    assert not {"auth.change_group", "auth.delete_user", "admin.change_logentry"} & names(OPERATORS)


@pytest.mark.django_db(transaction=True)
def test_migrate_makes_them_once_and_keeps_what_was_changed() -> None:
    Permission.objects.filter(content_type__app_label__in=roles.OUR_APPS).delete()
    Group.objects.all().delete()
    call_command("migrate", verbosity=0)  # as on an empty database: it makes the permissions
    operators = Group.objects.get(name=OPERATORS)
    taken = Permission.objects.get(codename="delete_thread")
    operators.permissions.remove(taken)
    operators.permissions.add(Permission.objects.get(codename="read_content"))
    Group.objects.filter(name=READERS).delete()
    before = names(OPERATORS)
    call_command("migrate", verbosity=0)
    assert names(OPERATORS) == before
    assert not Group.objects.filter(name=READERS).exists()


def test_what_a_release_brings_is_given_and_nothing_else(groups: None) -> None:
    operators = Group.objects.get(name=OPERATORS)
    operators.permissions.remove(Permission.objects.get(codename="delete_thread"))
    before = roles.known()
    thread = Permission.objects.get(codename="view_thread").content_type
    Permission.objects.create(content_type=thread, codename="view_new_table", name="Can view new table")
    roles.grant(before)
    assert "assistants.view_new_table" in names(OPERATORS) & names(READERS)
    assert "assistants.delete_thread" not in names(OPERATORS)


# Users: no way up -----------------------------------------------------------------------------------------------------


def user_form(user: User, **values: Any) -> dict[str, Any]:
    joined = user.date_joined
    return {
        "username": user.username,
        "is_active": "on",
        "is_staff": "on",
        "date_joined_0": f"{joined:%Y-%m-%d}",
        "date_joined_1": f"{joined:%H:%M:%S}",
        "groups": [group.pk for group in user.groups.all()],
        **values,
    }


def test_an_operator_raises_nobody_and_not_himself(groups: None) -> None:
    operator = member("ada", OPERATORS)
    client = client_of(operator)
    content = Permission.objects.get(codename="read_content")
    strong = Group.objects.create(name="Strong")
    strong.permissions.add(content)
    other = User.objects.create_user("ben")
    for user in (operator, other):
        form = user_form(user, is_superuser="on", user_permissions=[content.pk])
        assert client.post(page_of(User, user.pk), form).status_code == 302
        user = User.objects.get(pk=user.pk)
        assert (user.is_superuser, user.has_perm(CONTENT)) == (False, False)
        page = client.post(page_of(User, user.pk), user_form(user, groups=[strong.pk]))
        assert "is not one of the available choices" in page.content.decode()
        assert not User.objects.get(pk=user.pk).groups.filter(pk=strong.pk).exists()
    assert client.post(page_of(Group, strong.pk), {"name": "mine"}).status_code == 403
    readers = Group.objects.get(name=READERS)
    assert client.post(page_of(User, other.pk), user_form(other, groups=[readers.pk])).status_code == 302
    assert other.groups.get() == readers


def test_whoever_may_more_is_out_of_an_operators_reach(groups: None) -> None:
    client = client_of(member("ada", OPERATORS))
    boss = User.objects.create_superuser("boss", password="first password")
    reader = member("rex", READERS)
    reader.user_permissions.add(Permission.objects.get(codename="read_content"))
    for user in (boss, reader):
        assert client.post(page_of(User, user.pk), user_form(user, username="mine")).status_code == 403
        password = page_of(User, user.pk).replace("/change/", "/password/")
        stolen = {"password1": "another password", "password2": "another password"}
        assert client.post(password, stolen).status_code == 403
    assert User.objects.get(pk=boss.pk).check_password("first password")


def test_who_is_inactive_and_could_do_more_is_out_of_reach_too(groups: None) -> None:
    """His rights come back with a tick: with a password that an operator has set they would be the operator's."""
    client = client_of(member("ada", OPERATORS))
    alone, grouped = member("rex", READERS, is_active=False), member("kim", READERS, is_active=False)
    content = Permission.objects.get(codename="read_content")
    alone.user_permissions.add(content)
    strong = Group.objects.create(name="Strong")
    strong.permissions.add(content)
    grouped.groups.add(strong)
    for user in (alone, grouped):
        page = page_of(User, user.pk)
        chosen = {"password1": "another password", "password2": "another password"}
        password = client.post(
            page.replace("/change/", "/password/"), {"usable_password": "true", "set-password": "1", **chosen}
        )
        assert password.status_code == 403
        assert client.post(page, user_form(user)).status_code == 403
        assert not User.objects.get(pk=user.pk).is_active
    weaker = member("zoe", READERS, is_active=False)
    assert client.post(page_of(User, weaker.pk), user_form(weaker)).status_code == 302
    assert User.objects.get(pk=weaker.pk).is_active


def test_who_manages_groups_gives_them_only_what_he_has(groups: None) -> None:
    ada = member("ada", OPERATORS)
    may = ("add_group", "change_group", "delete_group", "view_group")
    ada.user_permissions.set(Permission.objects.filter(codename__in=may))
    client = client_of(ada)
    content, mine = (Permission.objects.get(codename=name) for name in ("read_content", "view_thread"))
    own, readers = (Group.objects.get(name=name) for name in (OPERATORS, READERS))
    refused = client.post(page_of(Group, own.pk), {"name": OPERATORS, "permissions": [mine.pk, content.pk]})
    assert "is not one of the available choices" in refused.content.decode()
    assert CONTENT not in names(OPERATORS)
    offered = client.get(page_of(Group, own.pk)).context["adminform"].form.fields["permissions"].queryset
    assert {permission.pk for permission in offered} == {permission.pk for permission in own.permissions.all()} | {
        permission.pk for permission in ada.user_permissions.all()
    }
    refused = client.post(f"{list_of(Group)}add/", {"name": "Strong", "permissions": [content.pk]})
    assert not Group.objects.filter(name="Strong").exists()
    strong = Group.objects.create(name="Strong")
    strong.permissions.add(content)
    for address in (page_of(Group, strong.pk), page_of(Group, strong.pk).replace("/change/", "/delete/")):
        assert client.post(address, {"name": "Mine", "post": "yes"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [strong.pk, readers.pk], "post": "yes"}
    assert client.post(list_of(Group), chosen).status_code == 403
    assert {group.name for group in Group.objects.all()} == {OPERATORS, READERS, "Strong"}
    assert client.post(page_of(Group, readers.pk), {"name": READERS, "permissions": [mine.pk]}).status_code == 302
    assert names(READERS) == {"assistants.view_thread"}
    before = names(OPERATORS)
    given = [permission.pk for permission in own.permissions.all()]
    assert client.post(page_of(Group, own.pk), {"name": OPERATORS, "permissions": given}).status_code == 302
    assert names(OPERATORS) == before


def test_a_password_that_was_set_is_in_the_log_and_not_the_password(root: Client) -> None:
    ada = User.objects.create_user("ada", password="first password")
    address = page_of(User, ada.pk).replace("/change/", "/password/")
    form = {
        "usable_password": "true",
        "set-password": "1",
        "password1": "second password",
        "password2": "second password",
    }
    assert root.post(address, form).status_code == 302
    assert User.objects.get(pk=ada.pk).check_password("second password")
    entry = LogEntry.objects.get(object_id=str(ada.pk))
    assert "assword" in entry.change_message
    assert "second" not in entry.change_message
    assert User.objects.get(pk=ada.pk).password not in entry.change_message


def test_a_user_with_entries_in_the_log_is_not_deleted(root: Client) -> None:
    """They would go along."""
    ada, ben = User.objects.create_user("ada"), User.objects.create_user("ben")
    LogEntry.objects.create(user=ada, action_flag=2, object_repr="x")
    for user, status in ((ada, 403), (ben, 302)):
        assert root.post(page_of(User, user.pk).replace("/change/", "/delete/"), {"post": "yes"}).status_code == status
    root.post(list_of(User), {"action": "delete_selected", "_selected_action": [ada.pk], "post": "yes"})
    assert LogEntry.objects.filter(user=ada).exists()


def test_groups_are_given_with_a_hint_and_entered(root: Client, groups: None) -> None:
    ada = User.objects.create_user("ada")
    page = root.get(page_of(User, ada.pk)).content.decode()
    assert "Can read what people and models wrote" in page
    readers = Group.objects.get(name=READERS)
    assert root.post(page_of(User, ada.pk), user_form(ada, groups=[readers.pk])).status_code == 302
    assert READERS in LogEntry.objects.get(object_id=str(ada.pk)).change_message
