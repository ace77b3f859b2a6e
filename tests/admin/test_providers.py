"""Providers in the admin: keys that nobody reads again, addresses that are checked, where names lead, trying out."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from assistants.models import Assistant, Project
from runs.completers import catalogue, vault
from runs.models import Provider
from tests.upstream import Upstream

from .manyruns import trial_of

ADDRESS = "https://models.example.org/v1"
SECRET = "sk-of-acme-0123456789"
LIST = "/admin/runs/provider/"
ADD = f"{LIST}add/"
TEST = f"{LIST}test/"


@pytest.fixture(autouse=True)
def nothing_set(settings: Settings) -> Iterator[None]:
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = settings.OLLAMA_BASE_URL = settings.OLLAMA_MODEL = ""
    settings.KUMOS_DEFAULT_MODEL, settings.KUMOS_PROVIDER_KEYS = "scripted", {}
    yield
    catalogue._lists.clear()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def form(**changed: str) -> dict[str, str]:
    given = {"name": "acme", "base_url": ADDRESS, "api_key": "", "key_variable": "", "enabled": "on", **changed}
    return {name: value for name, value in given.items() if value != "off"}


def page_of(provider: Provider) -> str:
    return reverse("admin:runs_provider_change", args=[provider.pk])


def errors_of(answer: Any) -> str:
    """The text of a refused form's errors."""
    assert answer.status_code == 200
    return " ".join(re.findall(r'<ul class="errorlist.*?</ul>', answer.content.decode(), re.DOTALL))


def made(key: str = SECRET, **fields: Any) -> Provider:
    given = {"name": "acme", "base_url": ADDRESS, **fields}
    return Provider.objects.create(sealed_key=vault.seal(key, given["base_url"]) if key else "", **given)


def key_of(provider: Provider) -> str:
    provider.refresh_from_db()
    return vault.unseal(provider.sealed_key, provider.base_url)


def test_a_key_is_sealed_and_never_shown_again(root: Client) -> None:
    assert root.post(ADD, form(api_key=SECRET)).status_code == 302
    provider = Provider.objects.get()
    assert key_of(provider) == SECRET
    assert SECRET not in provider.sealed_key
    page = root.get(page_of(provider)).content.decode()
    assert "One is kept" in page
    for address in (page_of(provider), LIST, f"{page_of(provider)[:-7]}history/", f"{LIST}models/"):
        shown = root.get(address).content.decode()
        assert SECRET not in shown
        assert provider.sealed_key not in shown


def test_an_empty_box_keeps_the_key_and_a_full_one_replaces_it(root: Client) -> None:
    provider = made()
    root.post(page_of(provider), form())
    assert key_of(provider) == SECRET
    root.post(page_of(provider), form(api_key="sk-new"))
    assert key_of(provider) == "sk-new"
    root.post(page_of(provider), form(forget_key="on"))
    provider.refresh_from_db()
    assert provider.sealed_key == ""


def test_a_refused_form_does_not_send_the_key_back(root: Client) -> None:
    answer = root.post(ADD, form(base_url="ftp://x", api_key=SECRET))
    assert answer.status_code == 200
    assert SECRET not in answer.content.decode()


def test_another_address_asks_for_the_key_again(root: Client) -> None:
    provider = made()
    answer = root.post(page_of(provider), form(base_url="https://thief.example.org/v1"))
    assert "another address" in errors_of(answer)
    provider.refresh_from_db()
    assert provider.base_url == ADDRESS
    assert root.post(page_of(provider), form(base_url=f"{ADDRESS}/beta")).status_code == 302, "the same server"
    assert key_of(provider) == SECRET
    moved = form(base_url="https://new.example.org/v1", api_key="sk-new")
    assert root.post(page_of(provider), moved).status_code == 302
    assert key_of(provider) == "sk-new"


def test_a_key_whose_secret_is_lost_is_asked_for_and_shown_as_lost(root: Client, settings: Settings) -> None:
    provider = made()
    settings.SECRET_KEY = "another secret key, of another installation"
    root.force_login(User.objects.get(username="root"))  # sessions are signed with it, too
    assert "Enter the key again" in root.get(LIST).content.decode()
    assert "Enter the key again" in errors_of(root.post(page_of(provider), form()))
    assert root.post(page_of(provider), form(api_key="sk-new")).status_code == 302
    assert key_of(provider) == "sk-new"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base_url": "ftp://models.example.org"}, "http"),
        ({"base_url": "models"}, "http"),
        ({"base_url": "http://models:port/v1"}, "not an address"),
        ({"base_url": "http://models/v1 x"}, "without spaces"),
        ({"base_url": "https://user:pw@models.example.org/v1"}, "No name and no password"),
        ({"base_url": "https://models.example.org/v1?key=1"}, "without ?"),
        ({"base_url": "https://models.example.org/v1/chat/completions"}, "Leave /chat/completions out"),
        ({"base_url": "http://127.0.0.1:3000/v1"}, "this Kumos itself"),
        ({"base_url": "http://testserver/v1"}, "this Kumos itself"),
        ({"api_key": "sk one"}, "no spaces"),
        ({"api_key": "sk-ключ"}, "no spaces"),
        ({"api_key": "sk-x", "key_variable": "KUMOS_PROVIDER_KEY_ACME"}, "not both"),
        ({"key_variable": "SECRET_KEY"}, "valid choice"),
        ({"key_variable": "OPENAI_API_KEY"}, "valid choice"),
        ({"name": "scripted"}, "name of a model"),
        ({"name": "openai"}, "settings already"),
        ({"name": "a/b"}, "slug"),
        ({"name": ""}, "required"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    root: Client, settings: Settings, change: dict[str, str], told: str
) -> None:
    settings.HOST, settings.PORT = "127.0.0.1", 3000
    settings.OPENAI_BASE_URL = "http://models:8000/v1"
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_ACME": "sk-env"}
    assert told in errors_of(root.post(ADD, form(**change)))
    assert not Provider.objects.exists()


def test_names_without_a_dot_are_addresses_too(root: Client) -> None:
    """Of services in compose, of hosts nearby."""
    assert root.post(ADD, form(base_url="http://ollama:11434/v1/")).status_code == 302
    assert Provider.objects.get().base_url == "http://ollama:11434/v1"


def test_a_variable_takes_the_place_of_a_key(root: Client, settings: Settings) -> None:
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_ACME": "sk-env-0123456789"}
    provider = made()
    assert root.post(page_of(provider), form(key_variable="KUMOS_PROVIDER_KEY_ACME")).status_code == 302
    provider.refresh_from_db()
    assert (provider.sealed_key, provider.key_variable) == ("", "KUMOS_PROVIDER_KEY_ACME")
    assert "sk-env" not in root.get(page_of(provider)).content.decode()
    settings.KUMOS_PROVIDER_KEYS = {}
    page = root.get(page_of(provider)).content.decode()
    assert "KUMOS_PROVIDER_KEY_ACME (not set)" in page
    assert "is not set" in root.get(LIST).content.decode()


def test_the_list_shows_where_every_name_leads(root: Client, settings: Settings) -> None:
    settings.OPENAI_BASE_URL, settings.OPENAI_API_KEY = "http://models:8000/v1", "sk-of-the-settings"
    made()
    page = root.get(LIST).content.decode()
    for told in ("scripted", "http://models:8000/v1", "OPENAI_BASE_URL", "every other name", "acme/…", ADDRESS):
        assert told in page
    assert "sk-of" not in page

    def where(name: str) -> str:
        said = re.search(r'<p role="status">(.*?)</p>', root.get(LIST, {"model": name}).content.decode())
        assert said is not None
        return said[1]

    assert ADDRESS in where("acme/small")
    assert "“small”" in where("acme/small")
    assert "http://models:8000/v1" in where("gpt-x")
    assert "built in" in where("default")
    Provider.objects.update(enabled=False)
    assert "switched off" in where("acme/small")
    settings.OPENAI_BASE_URL = settings.OPENAI_API_KEY = ""
    assert "needs a provider" in where("gpt-x")


def test_who_is_used_says_so(root: Client, dragons: Project) -> None:
    provider = made()
    Assistant.objects.create(project=dragons, model="acme/small", name="Searcher")
    trial_of(dragons, User.objects.get(username="root"), model="acme/small", name="Half a searcher")
    Project.objects.filter(pk=dragons.pk).update(default_model="acme/large")
    assert ">1 assistant<" in root.get(LIST).content.decode()
    deletion = root.get(page_of(provider).replace("/change/", "/delete/")).content.decode()
    assert "used by 1 assistant, the default of “Dragons”" in deletion
    assert "Searcher" in deletion
    assert "Half a searcher" not in deletion
    answer = root.post(page_of(provider), form(enabled="off"), follow=True)
    assert "switched off and used by 1 assistant" in answer.content.decode()
    provider.refresh_from_db()
    assert not provider.enabled


def test_it_is_tried_with_its_own_key(root: Client, upstream: Upstream) -> None:
    made(base_url=upstream.base_url)
    page = root.post(TEST, {"provider": "acme", "model": "acme/ok:3"}).content.decode()
    assert "answered" in page
    assert SECRET not in page
    listing, call = upstream.calls
    assert listing.headers["authorization"] == call.headers["authorization"] == f"Bearer {SECRET}"
    assert call.body["model"] == "ok:3"
    assert call.body["max_tokens"] == 16
    assert "no list of models" in page, "this one answers everything as if it were asked to talk"


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("401", "refused the key (401). Check the key of the provider"),
        ("404", "does not know the model"),
        ("html", "web page"),
    ],
)
def test_what_is_wrong_is_said_in_words(root: Client, upstream: Upstream, mode: str, told: str) -> None:
    made(base_url=upstream.base_url)
    page = root.post(TEST, {"provider": "acme", "model": mode}).content.decode()
    assert told in page
    assert SECRET not in page


def test_one_that_is_away_is_said_to_be(root: Client, settings: Settings) -> None:
    settings.KUMOS_UPSTREAM_ATTEMPTS = 1
    made(base_url="http://127.0.0.1:1/v1")
    page = root.post(TEST, {"provider": "acme", "model": "x"}).content.decode()
    assert page.count("cannot be reached") == 2
    assert "cannot be reached" in root.get(f"{LIST}models/").content.decode()


def test_what_it_lists_is_shown_under_its_names_here_and_one_of_it_is_tried(root: Client) -> None:
    from tests.runs.test_models import Provider as Lister

    lister = Lister()
    thread = threading.Thread(target=lister.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        lister.answer["data"] = [{"id": "embed-1"}, {"id": "small"}, {"id": "<b>large</b>"}]
        made(base_url=lister.base_url)
        page = root.get(f"{LIST}models/").content.decode()
        assert "acme/small" in page
        assert "no price known" in page
        assert "acme/&lt;b&gt;large" in page
        assert "acme/embed-1" not in root.get(f"{LIST}models/", {"q": "SMALL"}).content.decode()
        page = root.post(TEST, {"provider": "acme"}).content.decode()
        assert "3 models" in page
        assert "<dd>small</dd>" in page, "the first that talks"
        assert set(lister.asked) == {f"Bearer {SECRET}"}
    finally:
        lister.server.shutdown()
        thread.join()
        lister.server.server_close()


def test_those_of_the_settings_are_tried_too_and_unknown_ones_are_not(
    root: Client, settings: Settings, upstream: Upstream
) -> None:
    settings.OPENAI_BASE_URL = upstream.base_url
    assert "answered" in root.post(TEST, {"provider": "openai", "model": "ok"}).content.decode()
    assert root.post(TEST, {"provider": "nobody"}).status_code == 404
    assert root.get(TEST).status_code == 405


def test_a_viewer_sees_no_secret_and_sends_nothing(staff: Callable[..., Client], upstream: Upstream) -> None:
    provider = made(base_url=upstream.base_url)
    viewer = staff("view_provider")
    page = viewer.get(page_of(provider)).content.decode()
    assert "kept, sealed" in page
    assert 'name="api_key"' not in page
    for address in (LIST, f"{LIST}?model=acme/x", f"{LIST}models/"):
        assert viewer.get(address).status_code == 200
    listed = len(upstream.calls)
    assert viewer.post(TEST, {"provider": "acme", "model": "ok"}).status_code == 403
    assert viewer.post(page_of(provider), form(enabled="off")).status_code == 403
    assert viewer.post(ADD, form(name="other")).status_code == 403
    assert len(upstream.calls) == listed
    stranger = staff()
    assert {stranger.get(address).status_code for address in (LIST, f"{LIST}models/", ADD)} == {403}


def test_the_list_asks_little_however_many_there_are(
    root: Client, dragons: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        made(name=f"acme{number}")
        Assistant.objects.create(project=dragons, model=f"acme{number}/small")
    with django_assert_max_num_queries(8):
        assert root.get(LIST).content.decode().count("kept, sealed") == 20
