"""The one-time login link: it logs in once, for an hour, and nobody else."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from kumos_site import login

pytestmark = pytest.mark.django_db


@pytest.fixture
def user() -> User:
    return User.objects.create(username="ada")


def logged_in_as(client: Client) -> str | None:
    return client.session.get("_auth_user_id")


def test_link_logs_in_and_leads_to_the_chat_page(client: Client, user: User) -> None:
    answer = client.get(login.one_time_path(user))
    assert (answer.status_code, answer.headers["Location"]) == (302, "/chat/")
    assert logged_in_as(client) == str(user.pk)


def test_link_works_once(user: User) -> None:
    link = login.one_time_path(user)
    Client().get(link)
    second = Client()
    answer = second.get(link)
    assert answer.status_code == 410
    assert settings.LOGIN_URL in answer.content.decode()
    assert logged_in_as(second) is None


def test_link_made_within_the_second_of_the_last_login_works_once(user: User) -> None:
    Client().get(login.one_time_path(user))
    user.refresh_from_db()
    link = login.one_time_path(user)
    assert Client().get(link).status_code == 302
    assert Client().get(link).status_code == 410


def test_only_one_of_two_requests_at_once_may_use_it(user: User) -> None:
    token = login.one_time_path(user).rstrip("/").rpartition("/")[2]
    first, second = User.objects.get(pk=user.pk), User.objects.get(pk=user.pk)  # both read before either writes
    assert [login.claim(first, token), login.claim(second, token)] == [True, False]


def test_any_other_login_ends_it(client: Client, user: User) -> None:
    link = login.one_time_path(user)
    client.force_login(user)
    assert Client().get(link).status_code == 410


def test_clicking_again_in_the_same_browser_still_leads_to_the_chat_page(client: Client, user: User) -> None:
    link = login.one_time_path(user)
    client.get(link)
    assert client.get(link).headers["Location"] == "/chat/"


def test_a_glance_does_not_use_it_up(client: Client, user: User) -> None:
    link = login.one_time_path(user)
    assert client.head(link).status_code == 204
    assert client.get(link, headers={"Sec-Purpose": "prefetch;prerender"}).status_code == 204
    assert logged_in_as(client) is None
    assert client.get(link).status_code == 302


def test_link_expires(client: Client, user: User, monkeypatch: pytest.MonkeyPatch) -> None:
    link = login.one_time_path(user)
    monkeypatch.setattr(login, "LIFETIME", timedelta(seconds=-1))
    assert client.get(link).status_code == 410
    assert logged_in_as(client) is None


def test_login_gives_a_new_session(client: Client, user: User) -> None:
    session = client.session
    session["seen"] = "before"
    session.save()
    before = session.session_key
    client.get(login.one_time_path(user))
    assert client.session.session_key != before


def test_inactive_user_stays_out(client: Client, user: User) -> None:
    link = login.one_time_path(user)
    User.objects.update(is_active=False)
    assert client.get(link).status_code == 410


def test_link_of_one_user_does_not_open_another(client: Client, user: User) -> None:
    other = User.objects.create(username="bob")
    token = login.one_time_path(user).rstrip("/").rpartition("/")[2]
    uid = login.one_time_path(other).split("/")[2]
    assert client.get(f"/login/{uid}/{token}/").status_code == 410


@pytest.mark.parametrize("path", ["/login/x/y/", "/login/%F0%9F/-/", "/login/MQ/abc-def/", f"/login/{'9' * 400}/a-b/"])
def test_nonsense_is_a_used_link(client: Client, user: User, path: str) -> None:
    assert client.get(path).status_code == 410
