"""A run as code that asks for the same again, with the official SDK or with curl."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pprint import pformat
from typing import Any

from assistants.admin.content import HIDDEN
from assistants.masking import masked
from runs.models import Run

PLAIN = {
    "temperature": 1.0,
    "top_p": 1.0,
    "response_format": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "tools": [],
    "metadata": {},
    "instructions": None,
    "reasoning_effort": None,
    "max_prompt_tokens": None,
    "max_completion_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
}
"""What a run has that was asked for nothing special, and what need not be sent."""
KEY = "KUMOS_API_KEY"


def body_of(run: Run, *, readable: bool) -> dict[str, Any]:
    """The body of a request that makes such a run, without secrets; what is content only for those who may read it."""
    body: dict[str, Any] = {"assistant_id": run.assistant_id, "model": run.model}
    for name, plain in PLAIN.items():
        value = getattr(run, name)
        if value != plain and value not in ({}, ""):
            body[name] = value
    if not readable:
        body |= {name: HIDDEN for name in ("instructions",) if name in body}
        body.pop("metadata", None)
    cleaned: dict[str, Any] = masked(body)
    return cleaned


def as_python(run: Run, base: str, body: Mapping[str, Any]) -> str:
    arguments = {"thread_id": run.thread_id, **body}
    lines = ",\n".join(f"    {name}={literal(value)}" for name, value in arguments.items())
    return (
        "import os\n\nfrom openai import OpenAI\n\n"
        f'client = OpenAI(base_url={base!r}, api_key=os.environ["{KEY}"])\n'
        f"run = client.beta.threads.runs.create_and_poll(\n{lines},\n)\n"
        "print(run.status, run.last_error)\n"
    )


def literal(value: Any) -> str:
    return pformat(value, width=100, sort_dicts=False).replace("\n", "\n    ")


def as_curl(run: Run, base: str, body: Mapping[str, Any]) -> str:
    """The body comes as lines that the shell leaves as they are; JSON has none that would end them."""
    return (
        f"curl {base}/threads/{run.thread_id}/runs \\\n"
        f'  -H "Authorization: Bearer ${KEY}" -H "OpenAI-Beta: assistants=v2" \\\n'
        "  -H \"Content-Type: application/json\" -d @- <<'BODY'\n"
        f"{json.dumps(body, indent=2, ensure_ascii=False)}\nBODY\n"
    )
