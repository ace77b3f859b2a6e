"""For the history page of the admin: `{% for part in entry|parts %}`, what an entry tells (admin/audit.py)."""

from __future__ import annotations

from collections.abc import Sequence

from django import template
from django.contrib.admin.models import LogEntry

from assistants.admin.audit import Part, parts_of

register = template.Library()


@register.filter
def parts(entry: LogEntry) -> Sequence[Part]:
    return parts_of(entry)
