"""Idempotency-Key on every POST of /v1 (draft-ietf-httpapi-idempotency-key-header-07): done once, answered as before.

The routes and their bodies are made from the URL patterns and the serializers (tests/routes.py). Streams that are
joined while they run: tests/e2e/test_idempotent_streams.py.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection, connections, transaction
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart

from assistants import idempotency
from assistants.clock import now
from assistants.models import Answered, Assistant, File, Message, Thread
from runs.models import Run
from tests.conftest import ApiClient
from tests.loops import PATIENCE_SECONDS
from tests.routes import ROUTES, Route, example
from tests.runs.conftest import ask
from tests.test_tenancy import everything
from tests.world import World, world_of

POSTS = [route for route in ROUTES if route.method == "POST"]
KEY = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'
ASSISTANT = {"model": "scripted", "name": "Ada"}


def post(client: ApiClient, path: str, json: Any = None, key: str = KEY) -> Any:
    if json is None:
        return client.client.generic("POST", f"/v1{path}", headers={"Idempotency-Key": key})
    return client.client.post(f"/v1{path}", json, content_type="application/json", headers={"Idempotency-Key": key})


def upload(client: ApiClient, content: bytes = b"Notes.", *, boundary: str = BOUNDARY, name: str = "notes.txt") -> Any:
    form = {"purpose": "assistants", "file": SimpleUploadedFile(name, content)}
    body = encode_multipart(boundary, form)
    media = MULTIPART_CONTENT.replace(BOUNDARY, boundary)
    return client.client.generic("POST", "/v1/files", body, media, headers={"Idempotency-Key": KEY})


def send(world: World, route: Route) -> Any:
    own = world.ids_for(route)
    if route.is_upload:
        return upload(world.client)
    return post(world.client, route.at(own), example(route.body(), "", own) if route.body else None)


def is_replay(answer: Any) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


def age(key: str, by: timedelta) -> None:
    Answered.objects.filter(key=key).update(created_at=now() - by)


def assert_key_refused(answer: Any, status: int, code: str) -> None:
    assert answer.status_code == status, answer.content
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert (error["param"], error["code"]) == ("Idempotency-Key", code)


# Once -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_every_post_is_done_once(route: Route, alice: ApiClient) -> None:
    world = world_of(alice)
    first = send(world, route)
    assert first.status_code == 200, first.content
    assert not is_replay(first)
    after_first = everything()

    second = send(world, route)

    if route.path.endswith("/shares"):  # its link is shown once: a copy of it is kept nowhere
        assert first.json()["url"]
        assert second.json() == {**first.json(), "url": None}
    else:
        assert (second.status_code, second.content) == (200, first.content)
    assert is_replay(second)
    assert everything() == after_first


@pytest.mark.parametrize("route", POSTS, ids=str)
def test_every_post_refuses_the_key_of_another_request(route: Route, alice: ApiClient) -> None:
    world = world_of(alice)
    post(alice, "/assistants", {"model": "another"})
    before = everything()

    assert_key_refused(send(world, route), 422, "idempotency_key_reused")

    assert everything() == before


def test_a_replay_has_the_headers_of_the_first_answer(alice: ApiClient) -> None:
    assistant = alice.make("/assistants", {"model": "scripted", "instructions": "Be brief."})["id"]
    thread = alice.make("/threads")["id"]
    first, second = (post(alice, f"/threads/{thread}/runs", {"assistant_id": assistant}) for _ in range(2))
    told_apart = {"x-request-id", "openai-processing-ms", "idempotent-replayed"}
    shown = [{k: v for k, v in one.headers.items() if k.lower() not in told_apart} for one in (first, second)]
    assert shown[0] == shown[1]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert Run.objects.count() == 1


def test_the_answer_is_that_of_then(alice: ApiClient) -> None:
    """Whatever has become of the object meanwhile."""
    first = post(alice, "/assistants", ASSISTANT)
    alice.delete(f"/assistants/{first.json()['id']}")
    assert post(alice, "/assistants", ASSISTANT).json() == first.json()
    assert not Assistant.objects.exists()


def test_without_a_key_all_are_done(alice: ApiClient) -> None:
    assert alice.make("/assistants", ASSISTANT)["id"] != alice.make("/assistants", ASSISTANT)["id"]
    assert not Answered.objects.exists()


def test_what_was_refused_may_be_put_right(alice: ApiClient) -> None:
    """It did nothing, so its key is free: also where it was refused after it had begun to write."""
    thread, run = ask(alice, "Hello")
    message = {"role": "user", "content": "And now?"}
    assert post(alice, "/assistants", {}).status_code == 400
    assert post(alice, f"/threads/{thread.pk}/messages", message).status_code == 400  # a run is active
    assert post(alice, f"/threads/{thread.pk}/runs", {"assistant_id": run.assistant_id}).status_code == 400
    assert not Answered.objects.exists()
    alice.make(f"/threads/{thread.pk}/runs/{run.pk}/cancel")

    assert post(alice, f"/threads/{thread.pk}/messages", message).status_code == 200


# The same request, and others -----------------------------------------------------------------------------------------


def test_the_order_of_the_names_is_no_difference(alice: ApiClient) -> None:
    first = post(alice, "/assistants", {"model": "scripted", "name": "Ada"})
    assert post(alice, "/assistants", {"name": "Ada", "model": "scripted"}).json() == first.json()


def test_another_body_path_or_query_is_another_request(alice: ApiClient) -> None:
    post(alice, "/assistants", ASSISTANT)
    for path, body in [
        ("/assistants", {**ASSISTANT, "name": "Bob"}),
        ("/assistants?x=1", ASSISTANT),
        ("/threads", ASSISTANT),
        ("/threads", None),
    ]:
        assert_key_refused(post(alice, path, body), 422, "idempotency_key_reused")
    assert Assistant.objects.count() == 1
    assert not Thread.objects.exists()


def test_an_upload_is_the_same_whatever_divides_its_parts(alice: ApiClient, media: Path) -> None:
    first = upload(alice)
    assert first.status_code == 200, first.content
    assert upload(alice, boundary="another").json() == first.json()
    assert_key_refused(upload(alice, b"Other."), 422, "idempotency_key_reused")
    assert_key_refused(upload(alice, name="other.txt"), 422, "idempotency_key_reused")

    file = File.objects.get()
    assert file.blob.read() == b"Notes."
    file.blob.close()
    assert len([path for path in media.rglob("*") if path.is_file()]) == 1, "bytes of a duplicate stayed"


@pytest.mark.parametrize("key", ["", " ", "ä", "a\tb", "x" * 256], ids=["empty", "blank", "umlaut", "tab", "long"])
def test_malformed_keys(key: str, alice: ApiClient) -> None:
    answer = post(alice, "/assistants", ASSISTANT, key)
    assert_key_refused(answer, 400, "invalid_idempotency_key")
    assert not Assistant.objects.exists()


@pytest.mark.parametrize("key", ["x", "x" * 255, "~ !", KEY], ids=["short", "long", "signs", "quoted"])
def test_keys(key: str, alice: ApiClient) -> None:
    ids = [post(alice, "/assistants", ASSISTANT, key).json()["id"] for _ in range(2)]
    assert ids[0] == ids[1]


# Whose, and how long --------------------------------------------------------------------------------------------------


def test_p10_a_key_is_the_projects(alice: ApiClient, bob: ApiClient, charlie: ApiClient) -> None:
    first = post(alice, "/assistants", ASSISTANT).json()
    assert post(bob, "/assistants", ASSISTANT).json() == first

    theirs = post(charlie, "/assistants", ASSISTANT)
    assert theirs.status_code == 200
    assert not is_replay(theirs)
    assert theirs.json()["id"] != first["id"]
    assert post(charlie, "/assistants", {"model": "another"}, "other").status_code == 200
    assert post(alice, "/assistants", ASSISTANT, "other").status_code == 200, "not a word of Charlie's key"


def test_a_key_is_kept_for_24_hours(alice: ApiClient) -> None:
    first = post(alice, "/assistants", ASSISTANT).json()
    age(KEY, timedelta(hours=23, minutes=59))
    assert post(alice, "/assistants", ASSISTANT).json() == first

    age(KEY, timedelta(hours=24))
    again = post(alice, "/assistants", {**ASSISTANT, "name": "Bob"})
    assert again.status_code == 200
    assert not is_replay(again)
    assert Answered.objects.get().body == again.content.decode()


def test_old_keys_are_swept(alice: ApiClient) -> None:
    for key in ("old", "young"):
        post(alice, "/assistants", ASSISTANT, key)
    age("old", timedelta(hours=24))
    age("young", timedelta(hours=23))
    idempotency.forget_old()
    assert [answered.key for answered in Answered.objects.all()] == ["young"]


# At the same time -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("kind", ["assistant", "message", "run", "upload"])
def test_ten_at_once_make_one(kind: str, alice: ApiClient, media: Path) -> None:
    assistant = alice.make("/assistants", {"model": "scripted", "instructions": "Be brief."})["id"]
    thread = alice.make("/threads")["id"]
    requests: dict[str, Any] = {
        "assistant": lambda: post(alice, "/assistants", ASSISTANT),
        "message": lambda: post(alice, f"/threads/{thread}/messages", {"role": "user", "content": "Hello"}),
        "run": lambda: post(alice, f"/threads/{thread}/runs", {"assistant_id": assistant}),
        "upload": lambda: upload(alice),
    }
    together = threading.Barrier(10)

    def ask_once(_: int) -> Any:
        together.wait(PATIENCE_SECONDS)
        try:
            return requests[kind]()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(ask_once, range(10)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(map(is_replay, answers)) == [False] + [True] * 9
    made = {"assistant": Assistant, "message": Message, "run": Run, "upload": File}[kind]
    assert made.objects.exclude(pk=assistant).count() == 1  # type: ignore[attr-defined]
    assert len([path for path in media.rglob("*") if path.is_file()]) == (kind == "upload")


@pytest.mark.django_db(transaction=True)
def test_while_the_first_is_at_work_the_second_may_ask_again(alice: ApiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite has one writer, so there everybody waits for it, and is told so; either way a client retries by itself."""
    alice.get("/assistants")
    entered, finish = threading.Event(), threading.Event()
    monkeypatch.setattr(idempotency, "WAIT_SECONDS", 0.2)
    on_sqlite = connection.vendor == "sqlite"

    def work() -> None:
        try:
            with transaction.atomic():
                idempotency.enter(alice.project, KEY, "first")
                entered.set()
                assert finish.wait(PATIENCE_SECONDS)
                transaction.set_rollback(True)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(work)
        try:
            assert entered.wait(PATIENCE_SECONDS)
            if on_sqlite:
                with connection.cursor() as cursor:
                    cursor.execute("PRAGMA busy_timeout = 200")
            second = post(alice, "/assistants", ASSISTANT)
        finally:
            finish.set()
        first.result(PATIENCE_SECONDS)
    connection.close()

    assert second.headers["x-should-retry"] == "true"
    assert "Retry-After" in second.headers
    if on_sqlite:
        assert second.status_code == 503
    else:
        assert_key_refused(second, 409, "idempotency_key_in_use")
    assert post(alice, "/assistants", ASSISTANT).status_code == 200, "the first did nothing in the end"
