"""The one-time login link that `make serve` prints: who may log in by it, and the page it opens.

A plain GET logs in, because a click in the terminal is one. What must not use the link up is kept from it: HEAD (link
checkers) and prefetches only look. Passwords and their form belong to the admin.
"""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.models import User
from django.contrib.auth.tokens import PasswordResetTokenGenerator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.http import base36_to_int, urlsafe_base64_decode, urlsafe_base64_encode
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from assistants import clock

LIFETIME = timedelta(hours=1)
AFTER_LOGIN = "/chat/"


class OneTimeToken(PasswordResetTokenGenerator):
    """Valid for LIFETIME and until the user's next login, which changes `last_login` and with it every token."""

    key_salt = "kumos_site.login.OneTimeToken"

    def _make_hash_value(self, user: User, timestamp: int) -> str:
        # Django cuts last_login to seconds; a link made and used within one second would then work twice.
        last_login = user.last_login.isoformat() if user.last_login else ""
        return f"{user.pk}|{user.password}|{last_login}|{timestamp}"

    def check_token(self, user: User | None, token: str | None) -> bool:
        if not super().check_token(user, token):
            return False
        made = base36_to_int(str(token).partition("-")[0])
        return self._num_seconds(self._now()) - made <= LIFETIME.total_seconds()


tokens = OneTimeToken()


def one_time_path(user: User) -> str:
    """`/login/<uid>/<token>/`: logs `user` in once, within LIFETIME, and leads to the chat page."""
    uid = urlsafe_base64_encode(str(user.pk).encode())
    return reverse("one-time-login", args=[uid, tokens.make_token(user)])


def user_of(uid: str) -> User | None:
    try:
        pk = int(urlsafe_base64_decode(uid))
    except ValueError:  # not the uid of any link
        return None
    return User.objects.filter(pk=pk, is_active=True).first()


def claim(user: User, token: str) -> bool:
    """Uses the link up. Of two requests with the same link one is told True: the other finds last_login changed."""
    if not tokens.check_token(user, token):
        return False
    unused = User.objects.filter(pk=user.pk, last_login=user.last_login)
    return bool(unused.update(last_login=clock.now()))


@require_safe
@never_cache
def one_time(request: HttpRequest, uid: str, token: str) -> HttpResponse:
    user = user_of(uid)
    if user is not None and request.user.pk == user.pk:
        return HttpResponseRedirect(AFTER_LOGIN)  # the same link clicked again, or Back
    only_looking = request.method == "HEAD" or "prefetch" in request.headers.get("Sec-Purpose", "")
    if only_looking:
        return HttpResponse(status=204)
    if user is None or not claim(user, token):
        return render(request, "login/used.html", {"login_url": settings.LOGIN_URL}, status=410)
    login(request, user)
    return HttpResponseRedirect(AFTER_LOGIN)
