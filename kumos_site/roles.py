"""Two groups to begin with: "Operators", who run the service, and "Read-only operators", who only look.

They are made with the tables, and are the operators' own from then on: what was taken from a group, or a group itself,
does not come back. Only a permission that is new, as a later release brings with a table, is given to them; whether
it had been there before is all that has to be known.

Neither group may read what people and models wrote: that is `assistants.read_content`, to be given to whom it concerns.
"""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import Group, Permission
from django.db import connection, transaction
from django.db.models import Q

OPERATORS = "Operators"
READERS = "Read-only operators"
OUR_APPS = ("assistants", "runs", "streaming")
READ_CONTENT = Q(content_type__app_label="assistants", codename="read_content")
AUDIT_LOG = Q(content_type__app_label="admin", codename="view_logentry")
PEOPLE = Q(content_type__app_label="auth", codename__in=("view_user", "add_user", "change_user", "view_group"))
OURS = Q(content_type__app_label__in=OUR_APPS)

WANTED = {
    OPERATORS: (OURS & ~READ_CONTENT) | AUDIT_LOG | PEOPLE,
    READERS: (OURS & Q(codename__startswith="view_")) | AUDIT_LOG,
}


def known() -> set[int]:
    """The permissions that there are; none where there are no tables yet."""
    if Permission._meta.db_table not in connection.introspection.table_names():
        return set()
    return set(Permission.objects.values_list("pk", flat=True))


@transaction.atomic
def grant(before: Collection[int]) -> None:
    """Gives the groups what they shall have of the permissions that are not among those of `before`.

    A group is made when it is given something for the first time.
    """
    for name, wanted in WANTED.items():
        fresh = list(Permission.objects.filter(wanted).exclude(pk__in=before))
        if not fresh:
            continue
        group, _ = Group.objects.get_or_create(name=name)
        group.permissions.add(*fresh)
