"""Which names say that their value is a secret, and what of an address is one: shown and written nowhere."""

from __future__ import annotations

import re

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


def without_credentials(text: str, mask: str = "…") -> str:
    """`text` for people: of an address neither the user, the password nor the parameters.

    They end at the last @ before the path: a password may hold one that nobody has escaped.
    """
    return re.sub(r"\?.*", "?…", re.sub(r"://[^/\s]*@", f"://{mask}@", text)) if "://" in text else text
