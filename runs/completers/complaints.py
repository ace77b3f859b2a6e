"""What a model server says is wrong, as one line for `last_error.message`, which everybody reads who sees the run.

So it must hold neither secrets nor what people wrote: servers repeat the request they refuse. What a refusal means for
the run is `openai_compatible.py`'s business.
"""

from __future__ import annotations

import re
from typing import Any

import orjson

from runs.completers.chunks import mapping

CHARS_MAX = 300
DEPTH_MAX = 4
FAULTS_MAX = 5
SECRETS = re.compile(r"(?<=//)[^/\s@]+@|\b(?:sk|key)-[\w*-]{6,}|(?<=Bearer )\S+")
REPEATED = re.compile(
    r"""
    \binput_value=.*                   # pydantic's errors, as text
    | ['"]input['"]\s*:.*              # a list of them, as Python writes it (vLLM)
    | \b(?:messages|tools)\s=\s.*      # llama.cpp: the whole request
    | \braw=.*                         # Ollama: what the model wrote
    | \bdata:[^\s,'"]{0,99},[^\s'"]*   # an image
    """,
    re.VERBOSE | re.DOTALL,
)
"""Where servers begin to repeat what they were sent."""


def error_text(body: Any, api_key: str) -> tuple[str, str]:
    """(message, code) of an error body in any usual form, without secrets and input, in one bounded line."""
    error = mapping(body).get("error", body)
    found = mapping(error)
    text = told(error, 0)
    if api_key:
        text = text.replace(api_key, "…")
    text = " ".join(SECRETS.sub("…", text).split())
    text = text if len(text) <= CHARS_MAX else f"{text[:CHARS_MAX]}…"
    return text, str(found.get("code") or found.get("type") or "")


def told(error: Any, depth: int) -> str:
    """The words in it: of an object its message and its place, of a list those of the first, and nothing else."""
    if depth > DEPTH_MAX:
        return ""
    match error:
        case str():
            if error.lstrip()[:1] in ("{", "["):
                try:
                    return told(orjson.loads(error), depth + 1)
                except orjson.JSONDecodeError:
                    pass
            return REPEATED.sub("…", error)
        case list():
            return "; ".join(filter(None, (told(one, depth + 1) for one in error[:FAULTS_MAX])))
        case dict():
            words = next(filter(None, (error.get(name) for name in ("message", "detail", "msg", "error"))), "")
            loc = error.get("loc")
            place = ".".join(str(step) for step in loc) if isinstance(loc, list) else ""
            return ": ".join(filter(None, (place, told(words, depth + 1))))
    return ""
