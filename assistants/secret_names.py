"""Which names say that their value is a secret: such values are shown and written nowhere."""

from __future__ import annotations

from django.conf import settings


def is_secret(name: str) -> bool:
    """Whether a part of `name` is one of KUMOS_MASKED_FIELDS: "api_key" hides "OPENAI_API_KEY" and "X-Api-Key", too."""
    plain = squeezed(name)
    return any(squeezed(word) in plain for word in settings.KUMOS_MASKED_FIELDS)


def squeezed(name: str) -> str:
    """`name` without what words are joined with. Whole texts pass here: a pattern takes ten times as long."""
    for joint in "_-. ":
        name = name.replace(joint, "")
    return name.lower()
