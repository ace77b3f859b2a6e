"""The chat page's shell. Everything in it comes from `/v1` by its scripts (static/chat/); nothing is looked up here."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render, resolve_url
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.csp import csp_override
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe


@require_safe
@never_cache
@login_required
@ensure_csrf_cookie  # the scripts send it back as X-CSRFToken
def shell(request: HttpRequest, thread_id: str = "") -> HttpResponse:
    """The same page for every thread; the script reads the id from the address. Logged out: 302 to the login page."""
    return render(request, "chat/shell.html", {"login_url": resolve_url(settings.LOGIN_URL)})


@require_safe
@never_cache
@login_required
@ensure_csrf_cookie
@xframe_options_sameorigin
@csp_override({**settings.SECURE_CSP, "frame-ancestors": ["'self'"]})
def trial(request: HttpRequest) -> HttpResponse:
    """A talk and nothing around it, in a frame of the admin's page of an assistant: the one page that may be framed."""
    return render(request, "chat/trial.html")
