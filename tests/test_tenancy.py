"""P10: an id of another project is answered like one that was never given out, byte for byte, wherever it stands.

The probes are made from the URL patterns and the serializers (tests/routes.py): a new route or id field is probed from
the day it exists. Each puts a foreign id into a request that succeeds with ids of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.apps import apps
from django.db import transaction

from assistants.models import File
from assistants.views.resource import taken
from streaming.cursors import Cursors
from tests.conftest import ApiClient
from tests.routes import CURSORS, ROUTES, Ids, Place, Route, example, kind_of, places
from tests.world import World, world_of

OPEN = {
    "GET /openapi.json": "the document is the same for everybody",
    "GET /models": "models are the server's, not a project's",
    "GET /models/{model}": "models are the server's, not a project's",
    "POST /files": "nothing in an upload is an id",
}
"""Routes without a place for an id."""
FILTERS = ["GET /threads/{thread_id}/messages: query run_id", "GET /threads: query family"]
"""What narrows a list instead of naming something: no message is of a foreign run, as none is of a missing one."""
TOLD_APART = ("x-request-id", "openai-processing-ms")
"""Headers that differ from request to request."""


@dataclass(frozen=True)
class Probe:
    """A place for an id, or for several that belong together; `ask` sends the request with ids of these kinds."""

    place: str
    kinds: tuple[str, ...]
    ask: Callable[[Ids], Any]

    def with_any_kind(self, ids: Ids) -> Iterator[Ids]:
        """What to put there: the right kinds; in a path, one id of each wrong kind, too."""
        yield {kind: ids[kind] for kind in self.kinds}
        if self.place.startswith("path"):
            (kind,) = self.kinds
            yield from ({kind: id} for other, id in ids.items() if other != kind)


def probes(route: Route, world: World) -> Iterator[Probe]:
    own = world.ids_for(route)
    usual = example(route.body(), "", own) if route.body and not route.is_upload else None

    def send(ids: Ids, query: dict[str, str] | None = None, body: Any = usual) -> Any:
        path = route.at({**own, **ids})
        if route.method == "GET":
            return world.client.get(path, query)
        if route.method == "DELETE":
            return world.client.delete(path)
        return world.client.post(path, body)

    kinds = tuple(kind for name in route.path_names if (kind := kind_of(name)))
    for kind in kinds:
        yield Probe(f"path {kind}", (kind,), send)
    if len(kinds) > 1:
        yield Probe("whole path", kinds, send)
    for name, field in taken(route.action).query.items():
        if isinstance(field, Cursors):
            for cursor in ("", "0"):

                def follow(ids: Ids, name: str = name, cursor: str = cursor) -> Any:
                    return send({}, {f"{name}[{own['thread']}]": "", f"{name}[{ids['thread']}]": cursor})

                yield Probe(f"query {name}", ("thread",), follow)
    for name in route.query_names:
        for order in ("asc", "desc"):
            if kind := listed_kind(route) if name in CURSORS else kind_of(name):

                def narrow(ids: Ids, name: str = name, kind: str = kind, order: str = order) -> Any:
                    return send({}, {name: ids[kind], "order": order})

                yield Probe(f"query {name}", (kind,), narrow)
    if not route.body or route.is_upload:
        return
    for place in places(route.body, own):
        kind = place.kind
        if not kind:
            continue
        for extra in ({}, {"stream": True}) if "stream" in route.body().fields else ({},):

            def fill(ids: Ids, kind: str = kind, place: Place = place, extra: dict[str, bool] = extra) -> Any:
                return send({}, body={**place.fill(ids[kind]), **extra})

            yield Probe(f"{'streamed ' if extra else ''}body {place.path}", (kind,), fill)


def listed_kind(route: Route) -> str:
    """What a list holds: "/threads/{thread_id}/messages" → "message"."""
    return route.path.rpartition("/")[2].removesuffix("s")


def missing(id: str) -> str:
    """An id of the same form that nobody has."""
    prefix = re.match(r"[a-z]+[_-]", id)
    assert prefix, id
    return prefix[0] + "0" * (len(id) - len(prefix[0]))


def answer(response: Any, ids: Ids) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, without what differs anyway: the ids that were asked for, and TOLD_APART."""
    body: bytes = response.content
    for id in ids.values():
        body = body.replace(id.encode(), b"<id>")
    headers = {name: value for name, value in response.headers.items() if name not in TOLD_APART}
    return response.status_code, body, headers


def everything() -> dict[tuple[str, Any], dict[str, Any]]:
    """Every row that a request could change: (table, key) → its columns."""
    models = [model for app in ("assistants", "runs", "streaming") for model in apps.get_app_config(app).get_models()]
    return {(model._meta.label, row["pk"]): row for model in models for row in rows_of(model)}


def rows_of(model: Any) -> list[dict[str, Any]]:
    names = [field.attname for field in model._meta.concrete_fields if field.attname != "last_used_at"]
    return list(model.objects.values("pk", *names))


def test_p10_a_foreign_id_is_a_missing_one(alice: ApiClient, charlie: ApiClient, subtests: pytest.Subtests) -> None:
    foreign, own = world_of(alice), world_of(charlie)
    asked = 0
    for route in ROUTES:
        with subtests.test(str(route)):
            before = everything()
            of_route = list(probes(route, own))
            assert of_route or str(route) in OPEN, "has no place for an id? Then say in OPEN why"
            for probe in of_route:
                for ids in probe.with_any_kind(foreign.ids_for(route)):
                    absent = {kind: missing(id) for kind, id in ids.items()}
                    got = answer(probe.ask(ids), ids)
                    assert got == answer(probe.ask(absent), absent), (probe.place, ids)
                    assert got[0] in (400, 404) or f"{route}: {probe.place}" in FILTERS, (probe.place, got)
                    asked += 1
            assert everything() == before
    for file in File.objects.filter(project=alice.project):
        assert file.blob.storage.exists(str(file.blob.name))
    assert asked >= 300


def test_the_same_requests_succeed_with_ids_of_ones_own(charlie: ApiClient, subtests: pytest.Subtests) -> None:
    """Or the probes would have been refused for something else."""
    own = world_of(charlie)
    for route in ROUTES:
        with subtests.test(str(route)):
            for probe in probes(route, own):
                if route.path.endswith("/stream") or probe.place.startswith("streamed"):
                    continue  # what a stream answers with needs a server: tests/e2e/test_streams.py
                with transaction.atomic():
                    response = probe.ask(own.ids_for(route))
                    assert response.status_code == 200, probe.place
                    list(response)  # a file is closed when it has been read
                    transaction.set_rollback(True)


def test_a_session_chooses_among_its_own_projects(alice: ApiClient, charlie: ApiClient) -> None:
    """The header that names a project is a place for an id, too."""
    page = charlie.client.__class__(raise_request_exception=False)
    page.force_login(charlie.user)
    ids = [{"project": alice.project.pk}, {"project": missing(alice.project.pk)}]
    answers = [answer(page.get("/v1/assistants", headers={"OpenAI-Project": one["project"]}), one) for one in ids]
    assert answers[0] == answers[1]
    assert answers[0][0] == 403
    assert page.get("/v1/assistants", headers={"OpenAI-Project": charlie.project.pk}).status_code == 200
