"""Who may read what people and models wrote. What nobody reads in the admin, secrets, `assistants/masking.py` hides.

Every page of the admin that shows messages, instructions, arguments, outputs, events, passages or pieces of files asks
here. The API is not concerned: who has a key or is a member of the project reads what is his.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from assistants.masking import masked

HIDDEN = "(hidden: reading content needs the permission “Can read what people and models wrote”)"
TITLE = "title"
"""What is written by people in the metadata of a thread: its title. Other labels are the clients' own."""


def may_read(request: HttpRequest) -> bool:
    return request.user.has_perm("assistants.read_content")


def shown(request: HttpRequest, value: Any) -> Any:
    """`value` without its secrets, for whom may read content; for others HIDDEN, if there is anything to hide."""
    if not value or may_read(request):
        return masked(value)
    return HIDDEN


def labels(request: HttpRequest, metadata: Mapping[str, Any]) -> Any:
    """Metadata without its secrets; for whom may not read content, without a title, too."""
    if TITLE in metadata and not may_read(request):
        metadata = {**metadata, TITLE: HIDDEN}
    return masked(metadata)
