"""The page that a share's link opens: a shell for everybody, whoever they are and whatever they may see.

The token stands behind the # of the address, where only the page's script reads it: this server, its logs and the pages
that are linked from a conversation never hear of it. No cookie is read or set.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe


@require_safe
@never_cache
def shared(request: HttpRequest) -> HttpResponse:
    headers = {"Referrer-Policy": "no-referrer", "X-Robots-Tag": "noindex, nofollow, noarchive"}
    return HttpResponse(render_to_string("chat/shared.html"), headers=headers)
