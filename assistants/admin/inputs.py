"""Form fields of the admin that stock Django lacks: JSON as text with clear errors, a text box with suggestions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.http import QueryDict
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from assistants.errors import ApiError
from assistants.parsers import parse_value

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
            return parse_value(value.encode())
        except orjson.JSONDecodeError as error:
            raise ValidationError(
                f"This is not JSON: {error.msg} at line {error.lineno}, column {error.colno}."
            ) from None
        except ApiError as error:
            raise ValidationError(str(error)) from None

    def validate(self, value: Any) -> None:
        """An empty list or object is as good as any other value."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        return data

    def prepare_value(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        return pretty(value) if value else ""


class SeveralTexts(forms.Textarea):
    """A box for each of several texts, all posted under one name. There is always an empty one to fill."""

    def value_from_datadict(self, data: Mapping[str, Any], files: Any, name: str) -> list[str]:
        if isinstance(data, QueryDict):
            return [str(text) for text in data.getlist(name)]
        given = data.get(name, [])
        return [given] if isinstance(given, str) else list(given)

    def value_omitted_from_data(self, data: Mapping[str, Any], files: Any, name: str) -> bool:
        return name not in data

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        attrs = dict(attrs or {})
        id = attrs.pop("id", f"id_{name}")
        texts = [text for text in value or [] if text.strip()]
        boxes = (
            (
                super(SeveralTexts, self).render(
                    name, text, {**attrs, "id": id if place == 0 else f"{id}_{place}"}, renderer
                ),
            )
            for place, text in enumerate([*texts, ""])
        )
        return format_html('<div class="kumos-several" id="{}_all">{}</div>', id, format_html_join("", "{}", boxes))


class JSONTexts(JSONText):
    """A list whose items are written in boxes of their own. A box may also hold a list, of any length."""

    def __init__(self, *, rows: int, called: str, **kwargs: Any) -> None:
        super().__init__(rows=rows, blank=list, **kwargs)
        self.called = called
        """What one of them is, for messages: "Function"."""
        self.widget = SeveralTexts(attrs=self.widget.attrs)

    def to_python(self, value: Any) -> list[Any]:  # type: ignore[override]  # of several texts
        texts = [text for text in value or [] if text.strip()]
        items: list[Any] = []
        faults: list[str] = []
        for number, text in enumerate(texts, 1):
            try:
                found = super().to_python(text)
            except ValidationError as error:
                place = f"{self.called} {number}: " if len(texts) > 1 else ""
                faults += [f"{place}{message}" for message in error.messages]
                continue
            items += found if isinstance(found, list) else [found]
        if faults:
            raise ValidationError(faults)
        return items

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return list(initial or []) != self.to_python(data)
        except ValidationError:
            return True

    def prepare_value(self, value: Any) -> Any:
        return [item if isinstance(item, str) else pretty(item) for item in value or []]
