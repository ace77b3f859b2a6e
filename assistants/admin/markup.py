"""Small pieces of HTML for admin pages: badges, links, JSON, times. What people or models wrote is escaped."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote as quote_url
from urllib.parse import urlencode

from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from assistants import clock

JSON_SHOWN = 100_000
"""Characters of one JSON value a page shows."""


def badge(status: str) -> SafeString:
    """A run's, step's, message's or file's status, with its colour and in words."""
    return format_html('<span class="kumos-badge kumos-{}">{}</span>', status, status.replace("_", " "))


def page_of(model: type[Model], id: Any) -> str:
    """The address of an object's admin page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[quote(str(id))])


def list_of(model: type[Model], **query: str) -> str:
    """The address of a model's admin list, narrowed by `query` (`q` searches)."""
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    return f"{address}?{urlencode(query)}" if query else address


def link(model: type[Model], id: Any, text: str = "") -> SafeString:
    return format_html('<a href="{}">{}</a>', page_of(model, id), text or id)


def titled(title: str, below: str) -> SafeString:
    """Two lines of a list's cell: what people call a thing, and its id in small."""
    return format_html('{}<br><span class="kumos-id">{}</span>', title, below)


def chat_link(*, assistant: str = "", thread: str = "") -> SafeString:
    """To the chat page: a new talk with `assistant`, or `thread` as it is."""
    address = f"/chat/{quote_url(thread, safe='')}" if thread else f"/chat/?{urlencode({'assistant': assistant})}"
    return format_html('<a href="{}">Open in chat</a>', address)


def pretty(value: Any) -> str:
    """JSON for reading. A string that holds JSON (tool arguments, event data) is unfolded, any other stays as it is."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return clipped(value)
    try:
        return clipped(json.dumps(value, indent=2, ensure_ascii=False))
    except RecursionError:
        return "(nested too deep to be shown)"


def clipped(text: str, limit: int = JSON_SHOWN) -> str:
    """Not more than `limit` characters of it, and none that no page can carry: half of a surrogate pair."""
    whole = text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit:,} more characters"
    return whole.encode("utf-8", "backslashreplace").decode()


def json_block(value: Any) -> SafeString:
    return format_html('<pre class="kumos-json" tabindex="0">{}</pre>', pretty(value))


def moment(value: datetime | None) -> str:
    return "–" if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def ago(value: datetime | None) -> str:
    """ "3 hours ago", "just now", "never"."""
    if value is None:
        return "never"
    return "just now" if clock.now() - value < timedelta(minutes=1) else f"{timesince(value, depth=1)} ago"


def duration(span: timedelta | None) -> str:
    """ "0.42 s", "12.3 s", "3 min 5 s"; a dash where there is none."""
    if span is None:
        return "–"
    seconds = max(0.0, span.total_seconds())
    if seconds < 10:
        return f"{seconds:.2f} s"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def error_in_words(error: dict[str, Any] | None) -> str:
    """A `last_error` object as a sentence (contract 2.8)."""
    if not error:
        return ""
    kind = {
        "rate_limit_exceeded": "Rate limit at the model",
        "server_error": "Server error",
        "invalid_prompt": "The model refused the prompt",
        "unsupported_file": "File type not supported",
        "invalid_file": "File cannot be read",
    }.get(str(error.get("code")), str(error.get("code")))
    return f"{kind}: {error.get('message', '')}"
