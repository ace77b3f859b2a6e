"""The overview, which is the admin's first page: numbers, what needs attention, and every page one click away.

`live` is the part of it that a small script asks for again every few seconds; without the script it is as it was when
the page was made. What the numbers are is said by `dashboard_figures.py` and `dashboard_attention.py`.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from assistants import clock

from .dashboard_attention import concerns
from .dashboard_figures import figures


def context(request: HttpRequest) -> dict[str, Any]:
    now = clock.now()
    return {"figures": figures(request, now), "concerns": concerns(request, now), "now": now}


def live(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(request, "admin/dashboard/live.html", context(request))
