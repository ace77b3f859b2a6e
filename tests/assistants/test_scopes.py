"""What a limited key may do: every route of /v1 says which scope it needs, and only that one opens it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.db import transaction
from django.urls import get_resolver

from assistants import scopes
from assistants.authentication import authenticate, still_allowed
from assistants.models import ApiKey
from assistants.scopes import Area, Scope
from tests.conftest import ApiClient
from tests.routes import ROUTES, Route, example
from tests.wire import CheckedClient
from tests.world import World, world_of

ANY = {"GET /models", "GET /models/{model}", "GET /openapi.json"}
SEARCH = "POST /vector_stores/{vector_store_id}/search"
AREAS = {"assistants": "assistants", "threads": "threads", "files": "files", "vector_stores": "files"}


def expected(route: Route) -> str:
    """As docs/operators.md says it: by the first part of the address and whether the request only looks."""
    if str(route) in ANY:
        return ""
    looks = route.method == "GET" or str(route) == SEARCH
    return f"{AREAS[route.path.split('/')[1]]}.{'read' if looks else 'write'}"


def limited(client: ApiClient, *wanted: str) -> ApiClient:
    """The same project through a key with these scopes."""
    key, secret = ApiKey.issue(client.project, "limited", scopes=wanted)
    other = ApiClient.__new__(ApiClient)
    other.project, other.user, other.key, other.secret = client.project, client.user, key, secret
    other.client = CheckedClient(raise_request_exception=False, headers={"Authorization": f"Bearer {secret}"})
    return other


def ask(client: ApiClient, route: Route, world: World) -> Any:
    own = world.ids_for(route)
    path = route.at(own)
    if route.method == "GET":
        return client.get(path)
    if route.method == "DELETE":
        return client.delete(path)
    if route.is_upload:
        return client.upload()
    return client.post(path, example(route.body(), "", own) if route.body else None)


def test_every_route_declares_what_it_needs() -> None:
    def walk(patterns: Any, prefix: str = "") -> Any:
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from walk(pattern.url_patterns, route)
            elif route.startswith("v1/"):
                yield route, scopes.area_of(pattern.callback)

    said = dict(walk(get_resolver().url_patterns))
    assert len(said) >= 20
    assert [route for route, area in said.items() if area is None] == []
    assert {f"v1{name.split()[1]}".replace("{", "<str:").replace("}", ">") for name in ANY} == {
        route.replace("<path:", "<str:") for route, area in said.items() if area is Area.ANY
    }


def test_only_the_scope_of_a_route_opens_it(alice: ApiClient, subtests: pytest.Subtests) -> None:
    world = world_of(alice)
    just = {scope: limited(alice, scope) for scope in Scope}
    but = {scope: limited(alice, *(other for other in Scope if other != scope)) for scope in Scope}
    for route in ROUTES:
        wanted = expected(route)
        with subtests.test(str(route)), transaction.atomic():
            opens = [just[Scope(wanted)]] if wanted else [*just.values()]
            for client in opens if not route.path.endswith("/stream") else ():  # a stream needs a server
                answer = ask(client, route, world)
                assert answer.status_code == 200, answer.content
                list(answer)  # a file is closed when it has been read
            transaction.set_rollback(True)
        with subtests.test(f"{route} with every other scope"):
            if wanted:
                answer = ask(but[Scope(wanted)], route, world)
                assert answer.status_code == 403, answer
                assert f"Missing scopes: {wanted}." in answer.json()["error"]["message"]


def test_a_limited_key_is_refused_with_the_missing_scope(alice: ApiClient) -> None:
    answer = limited(alice, "threads.read").post("/threads")
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", "missing_scope", None)
    assert error["message"].startswith(
        "You have insufficient permissions for this operation. Missing scopes: threads.write. "
    )


def test_a_refused_request_changes_nothing_and_is_not_kept_for_its_idempotency_key(alice: ApiClient) -> None:
    key = limited(alice, "threads.read")
    again = {"Idempotency-Key": "once"}
    assert key.client.post("/v1/threads", {}, content_type="application/json", headers=again).status_code == 403
    ApiKey.objects.filter(pk=key.key.pk).update(scopes=[])
    assert key.client.post("/v1/threads", {}, content_type="application/json", headers=again).status_code == 200


def test_a_wrong_method_is_told_as_such(alice: ApiClient) -> None:
    every = limited(alice, *Scope)
    assert every.client.put("/v1/assistants").status_code == 405
    assert every.client.head("/v1/assistants").status_code == 200
    assert limited(alice, "threads.read").client.head("/v1/assistants").status_code == 403


def test_a_view_that_says_nothing_is_closed_to_limited_keys(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    from assistants.views.thread import ThreadViewSet

    monkeypatch.delattr(ThreadViewSet, "area")
    assert limited(alice, *Scope).get("/threads").status_code == 403
    assert alice.get("/threads").status_code == 200


def test_a_scope_reaches_no_further_than_the_keys_project(alice: ApiClient, charlie: ApiClient) -> None:
    thread = charlie.make("/threads")["id"]
    every = limited(alice, *Scope)
    assert every.get(f"/threads/{thread}").status_code == 404
    refused = limited(alice, "files.read")
    answers = [refused.get(f"/threads/{id}").json() for id in (thread, "thread_nobody")]
    assert answers[0] == answers[1]  # what is refused says nothing of what is there


def test_people_with_a_session_need_no_scopes(alice: ApiClient) -> None:
    page = CheckedClient(raise_request_exception=False)
    page.force_login(alice.user)
    assert page.get("/v1/assistants").status_code == 200


def test_a_stream_is_cut_when_its_key_loses_the_scope(alice: ApiClient, rf: Any) -> None:
    thread = alice.make("/threads")["id"]
    key = limited(alice, "threads.read", "files.read")
    path = f"/v1/threads/{thread}/runs/stream"
    request = rf.get(path, headers={"Authorization": f"Bearer {key.secret}"})
    request.resolver_match = get_resolver().resolve(path)
    reader = authenticate(request)
    writer = replace(reader, scope="threads.write")
    assert still_allowed([reader]) == {reader}
    ApiKey.objects.filter(pk=key.key.pk).update(scopes=["files.read"])
    assert still_allowed([reader, writer]) == set()
    ApiKey.objects.filter(pk=key.key.pk).update(scopes=["threads.write"])
    assert still_allowed([reader, writer]) == {writer}
    ApiKey.objects.filter(pk=key.key.pk).update(scopes=[])
    assert still_allowed([reader, writer]) == {reader, writer}
    assert limited(alice, "files.read").get(f"/threads/{thread}/runs/stream").status_code == 403
