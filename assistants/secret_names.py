"""Which names say that their value is a secret: such values are shown and written nowhere."""

from __future__ import annotations

from django.conf import settings


def is_secret(name: str) -> bool:
    """Whether a part of `name` is one of KUMOS_MASKED_FIELDS: "api_key" hides "OPENAI_API_KEY", too."""
    return any(word.lower() in name.lower() for word in settings.KUMOS_MASKED_FIELDS)
