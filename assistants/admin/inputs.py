"""Form fields of the admin that stock Django lacks: JSON as text with clear errors, a text box with suggestions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from .markup import pretty

Suggestion = tuple[str, str]
"""The value a suggestion puts into the box, and what is said beside it."""


class SuggestingInput(AdminTextInputWidget):
    """A text box with a list of suggestions; any other text may be typed. They are asked for when the page is drawn."""

    suggest: Callable[[], Iterable[Suggestion]]
    """Set by the form, which knows what fits."""

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        attrs = {**(attrs or {}), "list": f"{name}-suggestions", "autocomplete": "off"}
        box = super().render(name, value, attrs, renderer)
        options = format_html_join("", '<option value="{}">{}</option>', self.suggest())
        return format_html('{}<datalist id="{}-suggestions">{}</datalist>', box, name, options)


class JSONText(forms.JSONField):
    """JSON in a monospaced box: pretty-printed when read, checked when saved, kept as typed when something is wrong."""

    def __init__(self, *, rows: int, blank: Callable[[], Any], **kwargs: Any) -> None:
        attrs = {"rows": rows, "cols": 80, "class": "kumos-code", "spellcheck": "false"}
        super().__init__(required=False, widget=forms.Textarea(attrs=attrs), **kwargs)
        self.blank = blank
        """Makes the value of an empty box."""

    def to_python(self, value: str | None) -> Any:
        if value is None or not value.strip():
            return self.blank()
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise ValidationError(
                f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None

    def validate(self, value: Any) -> None:
        """An empty list or object is as good as any other value."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        return data

    def prepare_value(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return pretty(value) if value else ""
