"""Whatever may wait for model servers has threads of its own, which kumos_site/asgi.py knows by its address."""

from __future__ import annotations

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from kumos_site.asgi import ASKING
from runs.completers import catalogue
from runs.models import McpServer
from tests.conftest import ApiClient
from tests.routes import ROUTES
from tests.upstream import Upstream
from tests.world import world_of

from .conftest import Talk
from .crawl import everything, pages, text_of

pytestmark = pytest.mark.any_database


def test_whatever_asks_model_servers_is_known_by_its_address(
    root: Client, talk: Talk, bob: ApiClient, settings: Settings
) -> None:
    """Every page of the admin, and whatever /v1 answers to GET."""
    world = world_of(bob)
    routes = [route for route in ROUTES if route.method == "GET" and "stream" not in route.path]
    of_api = [route.at(world.ids_for(route)) for route in routes]
    asking = set()
    with Upstream() as upstream:
        settings.OPENAI_BASE_URL = upstream.base_url
        things = everything(talk)
        McpServer.objects.update(base_url=upstream.base_url, sealed_key="")

        def asks(address: str) -> None:
            if upstream.calls:
                asking.add(address)
            upstream.calls.clear()
            catalogue._lists.clear()  # or only the first would ask

        asks("/before/")
        for page in pages(things, talk.run):
            answer = root.get(page.address)
            text_of(answer)  # which closes a file
            if answer.status_code == 405:
                root.post(page.address, {"provider": "openai", "server": "trains"})
            asks(page.address)
        root.post("/admin/tools/try/", {"tool": "trains__book", "arguments": "{}", "project": talk.run.project_id})
        asks("/admin/tools/try/")
        for path in of_api:
            text_of(bob.get(path))
            asks(f"/v1{path}")
    assert {address for address in asking if not address.startswith(ASKING)} == set()
    for known in ASKING:
        assert any(address.startswith(known) for address in asking), f"nothing below {known} asks"
