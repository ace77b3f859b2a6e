"""Who may read what people and models wrote, and what nobody reads in the admin: values that are secrets by their name.

Every page of the admin that shows messages, instructions, arguments, outputs, events, passages or pieces of files asks
here. The API is not concerned: who has a key or is a member of the project reads what is his.
"""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest

from assistants.secret_names import is_secret

HIDDEN = "(hidden: reading content needs the permission “Can read what people and models wrote”)"
MASK = "•••"


def may_read(request: HttpRequest) -> bool:
    return request.user.has_perm("assistants.read_content")


def masked(value: Any) -> Any:
    """`value` with MASK in place of what is named by KUMOS_MASKED_FIELDS, at any depth, also in JSON within strings."""
    match value:
        case dict():
            return {name: MASK if is_secret(str(name)) else masked(inner) for name, inner in value.items()}
        case list():
            return [masked(inner) for inner in value]
        case str() if value[:1] in ("{", "["):
            try:
                inner = json.loads(value)
            except ValueError:
                return value
            return json.dumps(masked(inner), ensure_ascii=False)
    return value
