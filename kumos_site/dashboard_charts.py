"""Small bar charts as SVG, drawn on the server: attributes and classes alone, for the policy allows no inline style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HEIGHT = 40
STEP = 4
GAP = 1


@dataclass(frozen=True, slots=True)
class Bar:
    """What one bar is called where somebody points at it, how high it is, and how much of it (from below) is `bad`."""

    label: str
    value: float
    bad: float = 0


def bars(name: str, data: Sequence[Bar], *, bad_only: bool = False) -> SafeString:
    """The chart; `name` says in words what can be seen in it, for those who do not."""
    top = max((bar.value for bar in data), default=0) or 1
    shapes = []
    for index, bar in enumerate(data):
        bad = bar.value if bad_only else bar.bad
        for value, kind in ((bar.value, "plain"), (bad, "bad")):
            if value > 0:
                height = max(round(value / top * HEIGHT, 1), 1)
                shapes.append((index * STEP, HEIGHT - height, STEP - GAP, height, kind, bar.label))
    return format_html(
        '<svg class="kumos-chart" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">'
        '<rect class="kumos-bar-base" x="0" y="{}" width="{}" height="0.5"></rect>{}</svg>',
        len(data) * STEP - GAP,
        HEIGHT + 1,
        name,
        HEIGHT + 0.5,
        len(data) * STEP - GAP,
        format_html_join(
            "",
            '<rect x="{}" y="{}" width="{}" height="{}" class="kumos-bar-{}"><title>{}</title></rect>',
            shapes,
        ),
    )
