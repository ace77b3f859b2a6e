"""Shares: links by which anybody reads one thread, and nothing else (assistants/shared.py, docs/extensions.md).

What may be asked is tried with every route of /v1, as the URL patterns have them. Open streams are in
tests/e2e/test_shares.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, get_type_hints

import orjson
import pytest

from assistants import shared
from assistants.clock import now
from assistants.models import File, Message, Share, Thread
from assistants.serializers.assistant import AssistantObject
from assistants.serializers.file import FileObject
from assistants.serializers.message import MessageObject
from assistants.serializers.share import ShareObject
from assistants.serializers.thread import ThreadObject
from runs.events import MessageDeltaObject, StepDeltaObject
from runs.models import Run, RunStep
from runs.serializers import INCLUDE_CONTENT, RunObject, StepObject
from streaming import journal
from streaming.journal import Draft
from tests.conftest import ApiClient
from tests.routes import ROUTES, Route, example
from tests.test_tenancy import answer, everything, missing
from tests.wire import CheckedClient
from tests.world import World, world_of

SECRET = "the-owner's-own-business"
READABLE = {
    "GET /threads/{thread_id}",
    "GET /threads/{thread_id}/messages",
    "GET /threads/{thread_id}/messages/{message_id}",
    "GET /threads/{thread_id}/runs",
    "GET /threads/{thread_id}/runs/stream",
    "GET /threads/{thread_id}/runs/{run_id}",
    "GET /threads/{thread_id}/runs/{run_id}/steps",
    "GET /threads/{thread_id}/runs/{run_id}/steps/{step_id}",
    "GET /threads/{thread_id}/runs/{run_id}/stream",
    "GET /threads/{thread_id}/shares/{share_id}",
    "GET /assistants/{assistant_id}",
    "GET /files/{file_id}",
    "GET /files/{file_id}/content",
    "GET /openapi.json",
}
"""All that is there for a share."""


@dataclass(frozen=True)
class Viewer:
    """Somebody with a link."""

    token: str

    @property
    def client(self) -> CheckedClient:
        return CheckedClient(raise_request_exception=False, headers={"Authorization": f"Bearer {self.token}"})

    def ask(self, method: str, path: str, body: Any = None, query: dict[str, str] | None = None) -> Any:
        if body is None:
            return self.client.generic(method, f"/v1{path}", query_params=query)
        return self.client.generic(method, f"/v1{path}", orjson.dumps(body), "application/json")

    def get(self, path: str, **query: str) -> Any:
        return self.ask("GET", path, query=query)


def share_of(client: ApiClient, thread: str, **how: Any) -> tuple[dict[str, Any], Viewer]:
    made = client.make(f"/threads/{thread}/shares", how)
    return made, Viewer(made["url"].partition("#")[2].partition("/")[2])


def refused(response: Any, status: int, code: str | None) -> None:
    assert (response.status_code, response.json()["error"]["code"]) == (status, code), response.content


def say(thread: str, **fields: Any) -> Message:
    """A finished answer, as a run would have stored it."""
    moment = now()
    fields = {"role": "assistant", "created_at": moment, "completed_at": moment, **fields}
    return Message.objects.create(thread_id=thread, **fields)


def text(value: str, *annotations: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "text": {"value": value, "annotations": list(annotations)}}


def note(kind: str, file_id: str) -> dict[str, Any]:
    return {"type": kind, "text": "【0:0†x】", "start_index": 0, "end_index": 7, kind: {"file_id": file_id}}


# Made, listed, revoked ------------------------------------------------------------------------------------------------


def test_a_share_has_every_field_and_shows_its_link_once(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    made, viewer = share_of(alice, thread)
    assert viewer.token.startswith(f"{made['id']}.")
    assert made == {
        "id": made["id"],
        "object": "thread.share",
        "created_at": made["created_at"],
        "thread_id": thread,
        "expires_at": None,
        "last_used_at": None,
        "frozen": False,
        "url": f"http://testserver/shared/#{thread}/{viewer.token}",
    }
    kept = {**made, "url": None}
    assert alice.get(f"/threads/{thread}/shares").json()["data"] == [kept]
    assert alice.get(f"/threads/{thread}/shares/{made['id']}").json() == kept
    limited, _ = share_of(alice, thread, expires_after={"anchor": "created_at", "seconds": 3600}, frozen=True)
    assert limited["expires_at"] == limited["created_at"] + 3600
    assert limited["frozen"] is True


def test_only_a_digest_of_the_token_is_kept(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    headers = {"Idempotency-Key": "once"}
    first = alice.client.post(f"/v1/threads/{thread}/shares", {}, content_type="application/json", headers=headers)
    token = first.json()["url"].rpartition("/")[2]
    stored = str(everything())
    assert token not in stored
    assert token.rpartition(".")[2] not in stored
    again = alice.client.post(f"/v1/threads/{thread}/shares", {}, content_type="application/json", headers=headers)
    assert again.json() == {**first.json(), "url": None}
    assert Share.objects.count() == 1


def test_what_is_revoked_is_gone_for_its_owners_and_says_so_to_its_readers(alice: ApiClient, bob: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    made, viewer = share_of(alice, thread)
    other, _ = share_of(alice, thread)
    path = f"/threads/{thread}/shares"
    assert viewer.get(f"/threads/{thread}").status_code == 200
    gone = bob.delete(f"{path}/{made['id']}").json()
    assert gone == {"id": made["id"], "object": "thread.share.deleted", "deleted": True}
    refused(viewer.get(f"/threads/{thread}"), 401, "share_revoked")
    assert [one["id"] for one in bob.get(path).json()["data"]] == [other["id"]]
    refused(bob.get(f"{path}/{made['id']}"), 404, None)
    refused(bob.delete(f"{path}/{made['id']}"), 404, None)


def test_a_share_expires(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    made, viewer = share_of(alice, thread, expires_after={"anchor": "created_at", "seconds": 60})
    assert viewer.get(f"/threads/{thread}").status_code == 200
    Share.objects.filter(pk=made["id"]).update(expires_at=now() - timedelta(seconds=1))
    refused(viewer.get(f"/threads/{thread}"), 401, "share_expired")
    assert [one["id"] for one in alice.get(f"/threads/{thread}/shares").json()["data"]] == [made["id"]]


def test_a_share_goes_with_its_thread(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    _, viewer = share_of(alice, thread)
    alice.delete(f"/threads/{thread}")
    refused(viewer.get(f"/threads/{thread}"), 401, "invalid_share")
    refused(Viewer("share_x.y").get(f"/threads/{thread}"), 401, "invalid_share")
    assert not Share.objects.exists()


def test_bad_lives_are_refused(alice: ApiClient) -> None:
    path = f"/threads/{alice.make('/threads')['id']}/shares"
    for expiry, place, code in (
        ({"anchor": "created_at", "seconds": 0}, "expires_after.seconds", "integer_below_min_value"),
        ({"anchor": "created_at", "seconds": 10**9}, "expires_after.seconds", "integer_above_max_value"),
        ({"anchor": "last_active_at", "seconds": 60}, "expires_after.anchor", "invalid_value"),
        ({"anchor": "created_at"}, "expires_after.seconds", "missing_required_parameter"),
        (3600, "expires_after", "invalid_type"),
    ):
        error = alice.post(path, {"expires_after": expiry})
        assert error.status_code == 400
        assert (error.json()["error"]["param"], error.json()["error"]["code"]) == (place, code)
    assert not Share.objects.exists()


def test_its_use_is_noted(alice: ApiClient) -> None:
    thread = alice.make("/threads")["id"]
    made, viewer = share_of(alice, thread)
    path = f"/threads/{thread}/shares/{made['id']}"
    assert viewer.get(path).json() == {**made, "url": None}
    assert alice.get(path).json()["last_used_at"] >= made["created_at"]
    assert viewer.get(path).json()["last_used_at"] is None, "its readers need not know of each other"


# What is there for it -------------------------------------------------------------------------------------------------


@pytest.fixture
def world(alice: ApiClient) -> World:
    return world_of(alice)


def test_nothing_is_there_but_what_is_to_be_read(world: World, subtests: pytest.Subtests) -> None:
    """Every route of /v1, with ids of the thread that is shared: all that is not READABLE has no such address."""
    made, viewer = share_of(world.client, world.ids["thread"])
    ids = {**world.ids, "share": made["id"]}
    assert {str(route) for route in ROUTES} > READABLE
    before = everything()
    for route in ROUTES:
        path = route.at(ids)
        body = example(route.body(), "", ids) if route.body and not route.is_upload else None
        with subtests.test(str(route)):
            response = viewer.ask(route.method, path, body)
            if str(route) not in READABLE:
                refused(response, 404, None)
                assert response.json()["error"]["message"] == f"Invalid URL ({route.method} /v1{path})"
            elif "/files/" not in path:  # see below
                assert response.status_code == 200, response.content
            for method in ("POST", "DELETE", "PUT", "PATCH"):
                if f"{method} {route.path}" not in map(str, ROUTES):
                    assert viewer.ask(method, path, {}).status_code in (404, 405)
    assert everything() == before


def test_p10_what_belongs_elsewhere_is_missing(world: World, charlie: ApiClient, subtests: pytest.Subtests) -> None:
    """Another thread of the same project, another project, and what nobody has, are one and the same."""
    _, viewer = share_of(world.client, world.ids["thread"])
    elsewhere = [world_of(world.client).ids, world_of(charlie).ids]
    readable = [route for route in ROUTES if str(route) in READABLE and route.path_names]

    def probe(route: Route, kind: str, id: str) -> tuple[Any, ...]:
        return answer(viewer.get(route.at({**world.ids, kind: id})), {kind: id})

    for route in readable:
        for name in route.path_names:
            kind = name.removesuffix("_id")
            for foreign in elsewhere:
                with subtests.test(f"{route} {kind}"):
                    got = probe(route, kind, foreign[kind])
                    assert got[0] == 404
                    assert got == probe(route, kind, missing(foreign[kind]))


def test_a_session_beside_the_token_gives_no_more(world: World) -> None:
    """The owner opens his own link, in the browser where he is logged in."""
    _, viewer = share_of(world.client, world.ids["thread"])
    client = viewer.client
    client.force_login(world.client.user)
    assert client.get("/v1/threads").status_code == 404
    assert client.delete(f"/v1/threads/{world.ids['thread']}").status_code == 404


def test_files_are_there_as_far_as_messages_show_them(world: World) -> None:
    client, thread = world.client, world.ids["thread"]
    shown, cited, made, attached, other = (client.make_file(f"{name}.txt", name.encode()) for name in "abcde")
    image = {"type": "image_file", "image_file": {"file_id": shown, "detail": "auto"}}
    say(thread, role="user", content=[image], attachments=[{"file_id": attached, "tools": []}])
    say(thread, content=[text("See this.", note("file_citation", cited), note("file_path", made))])
    say(thread, content=[text(f"Somebody types {other}.")])
    say(thread, content=[text("", note("file_path", other))], superseded=True)
    _, viewer = share_of(client, thread)
    for file, named, handed_out in (
        (shown, 200, 200),
        (made, 200, 200),
        (cited, 200, 404),
        (attached, 200, 404),
        (other, 404, 404),
        ("file-%", 404, 404),
    ):
        assert viewer.get(f"/files/{file}").status_code == named
        content = viewer.get(f"/files/{file}/content")
        assert content.status_code == handed_out
        if handed_out == 200:
            assert b"".join(content.streaming_content) in (b"a", b"c")
    File.objects.filter(pk=shown).update(expires_at=now())
    assert viewer.get(f"/files/{shown}").status_code == 404


def test_an_assistant_is_there_once_it_has_worked_in_the_thread(world: World) -> None:
    _, viewer = share_of(world.client, world.ids["thread"])
    stranger = world.client.make("/assistants", {"model": "scripted", "name": "Stranger"})["id"]
    refused(viewer.get(f"/assistants/{stranger}"), 404, None)
    world.client.make(f"/threads/{world.ids['thread']}/runs", {"assistant_id": stranger})
    assert viewer.get(f"/assistants/{stranger}").json()["name"] == "Stranger"


# What is seen of it ---------------------------------------------------------------------------------------------------

KINDS: dict[str, Any] = {
    "thread": ThreadObject,
    "thread.message": MessageObject,
    "thread.run": RunObject,
    "thread.run.step": StepObject,
    "thread.message.delta": MessageDeltaObject,
    "thread.run.step.delta": StepDeltaObject,
    "thread.share": ShareObject,
    "assistant": AssistantObject,
    "file": FileObject,
}


LEFT_OUT = {"forked_from"}
"""Other threads of the project, which need not be there in any object."""


def test_every_field_is_decided_on() -> None:
    """A new field is left out until it stands in SHOWN, or is given a blank."""
    assert KINDS.keys() == shared.SHOWN.keys()
    for kind, shape in KINDS.items():
        fields = set(get_type_hints(shape))
        assert set(shared.SHOWN[kind]) <= fields
        assert fields - set(shared.SHOWN[kind]) - LEFT_OUT <= set(shared.BLANK), kind


def test_what_nobody_has_named_is_left_out() -> None:
    seen = shared.event({"id": "msg_x", "object": "thread.message", "metadata": {"a": SECRET}, "novelty": SECRET})
    assert seen == {"id": "msg_x", "object": "thread.message", "metadata": {}}
    with pytest.raises(KeyError):
        shared.event({"id": "x", "object": "thread.novelty"})


def test_the_owners_business_is_not_seen(alice: ApiClient) -> None:
    """Instructions, tools, metadata and what belongs to them: neither in answers nor in events."""
    function = {"name": "secretly", "description": SECRET, "parameters": {"type": "object", "title": SECRET}}
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"title": SECRET}}}
    own = {"metadata": {"note": SECRET}, "instructions": SECRET, "tools": [{"type": "function", "function": function}]}
    assistant = alice.make("/assistants", {"model": "scripted", "name": "Ada", "response_format": schema, **own})["id"]
    message = {"role": "user", "content": "Hello", "metadata": {"note": SECRET}}
    thread = alice.make("/threads", {"messages": [message], "metadata": {"note": SECRET, "title": "Greetings"}})["id"]
    run = alice.make(f"/threads/{thread}/runs", {"assistant_id": assistant, "metadata": {"note": SECRET}})["id"]
    found = {
        "file_id": "file-a",
        "file_name": "a.txt",
        "score": 1.0,
        "attributes": {"note": SECRET},
        "content": [{"type": "text", "text": SECRET}],
    }
    ranking = {"ranker": "auto", "score_threshold": 0.0}
    call: dict[str, Any] = {"id": "call_a", "type": "file_search"}
    call["file_search"] = {"ranking_options": ranking, "results": [found]}
    details = {"type": "tool_calls", "tool_calls": [call]}
    step = RunStep.objects.create(
        run_id=run,
        thread_id=thread,
        assistant_id=assistant,
        type="tool_calls",
        status="completed",
        step_details=details,
    )
    indexed = {**call["file_search"], "results": [{"index": 0, **found}]}
    delta = {"step_details": {**details, "tool_calls": [{**call, "index": 0, "file_search": indexed}]}}
    delta_object = {"id": step.pk, "object": "thread.run.step.delta", "delta": delta}
    journal.append(thread, [Draft("thread.run.step.delta", journal.encode(delta_object), run)])
    alice.make(f"/threads/{thread}/runs/{run}/cancel")

    _, viewer = share_of(alice, thread)
    content = {"include[]": INCLUDE_CONTENT}
    for path in ("", "/messages", "/runs", f"/runs/{run}", f"/runs/{run}/steps", f"/runs/{run}/steps/{step.pk}"):
        assert SECRET in alice.client.get(f"/v1/threads/{thread}{path}", content).content.decode()
        seen = viewer.get(f"/threads/{thread}{path}", **(content if "/steps" in path else {}))
        assert seen.status_code == 200, seen.content
        assert SECRET not in seen.content.decode()
        assert "secretly" not in seen.content.decode()
    seen = viewer.get(f"/assistants/{assistant}")
    assert SECRET not in seen.content.decode()
    assert (seen.json()["name"], seen.json()["instructions"]) == ("Ada", None)
    assert viewer.get(f"/threads/{thread}").json()["metadata"] == {"title": "Greetings"}
    assert viewer.get("/threads/thread_x").headers["openai-project"] == ""

    entries = journal.read_after(thread, 0)
    assert SECRET.encode() in b"".join(entry.frame for entry in entries)
    frames = b"".join(entry.shared_frame for entry in entries)
    assert SECRET.encode() not in frames
    assert frames.count(b"\nevent: thread.run.") == len(entries)


def test_a_citation_opens_and_the_other_passages_do_not(world: World) -> None:
    run = Run.objects.get(pk=world.ids["run"])
    results: list[dict[str, Any]] = [
        {
            "file_id": file,
            "file_name": f"{file}.txt",
            "score": 1.0,
            "attributes": {},
            "content": [{"type": "text", "text": f"From {file}."}],
        }
        for file in ("file-a", "file-b")
    ]
    ranking = {"ranker": "auto", "score_threshold": 0.0}
    call = {"id": "call_a", "type": "file_search", "file_search": {"ranking_options": ranking, "results": results}}
    RunStep.objects.filter(pk=world.ids["step"]).update(step_details={"type": "tool_calls", "tool_calls": [call]})
    say(run.thread_id, run_id=run.pk, content=[text("As b says.", note("file_citation", "file-b"))])
    _, viewer = share_of(world.client, run.thread_id)
    query = {"include[]": INCLUDE_CONTENT}
    (step,) = viewer.get(f"/threads/{run.thread_id}/runs/{run.pk}/steps", **query).json()["data"]
    found = step["step_details"]["tool_calls"][0]["file_search"]["results"]
    assert [one.get("content") for one in found] == [None, [{"type": "text", "text": "From file-b."}]]
    bare = viewer.get(f"/threads/{run.thread_id}/runs/{run.pk}/steps")
    assert "From file" not in bare.content.decode()


@pytest.mark.parametrize("how", [{}, {"frozen": True}])
def test_a_fork_shows_the_runs_that_its_copies_are_of(world: World, how: dict[str, Any]) -> None:
    """They are kept where they were written. What else that thread has is not there."""
    source, run = world.ids["thread"], world.ids["run"]
    written = say(source, run_id=run, assistant_id=world.ids["assistant"], content=[text("Hello.")])
    other = world.client.make(f"/threads/{source}/runs", {"assistant_id": world.ids["assistant"]})["id"]
    fork = world.client.make(f"/threads/{source}/fork")["id"]
    _, viewer = share_of(world.client, fork, **how)
    copied = viewer.get(f"/threads/{fork}/messages").json()["data"][0]["copied_from"]
    assert copied == {"thread_id": source, "message_id": written.pk}
    path = f"/threads/{source}/runs/{run}"
    assert viewer.get(path).json()["instructions"] is None
    assert [step["id"] for step in viewer.get(f"{path}/steps").json()["data"]] == [world.ids["step"]]
    assert viewer.get(f"/assistants/{world.ids['assistant']}").status_code == 200
    for elsewhere in (f"/threads/{source}/runs/{other}", f"/threads/{source}", f"/threads/{source}/runs"):
        refused(viewer.get(elsewhere), 404, None)
    refused(viewer.get(f"{path}/stream"), 404, None)
    refused(viewer.get(f"/threads/{source}/messages/{written.pk}"), 404, None)


# Frozen ---------------------------------------------------------------------------------------------------------------


def listed(viewer: Viewer, path: str) -> list[str]:
    return [one["id"] for one in viewer.get(path, order="asc").json()["data"]]


@pytest.fixture
def frozen(world: World) -> tuple[World, Viewer]:
    """What was there is of `world`; a message and a run came later."""
    _, viewer = share_of(world.client, world.ids["thread"], frozen=True)
    thread = world.ids["thread"]
    world.client.make(f"/threads/{thread}/messages", {"role": "user", "content": "Later."})
    world.client.make(f"/threads/{thread}/runs", {"assistant_id": world.ids["assistant"]})
    return world, viewer


def test_a_frozen_share_shows_what_was_there(frozen: tuple[World, Viewer]) -> None:
    world, viewer = frozen
    thread = f"/threads/{world.ids['thread']}"
    live = share_of(world.client, world.ids["thread"])[1]
    assert listed(viewer, f"{thread}/messages") == [world.ids["message"]]
    assert listed(viewer, f"{thread}/runs") == [world.ids["run"]]
    for path in ("/messages", "/runs"):
        assert "Kumos-Cursors" in world.client.get(f"{thread}{path}").headers
        assert "Kumos-Cursors" not in viewer.get(f"{thread}{path}").headers, "it tells how much came later"
    later = {path: set(listed(live, f"{thread}{path}")) for path in ("/messages", "/runs")}
    for path, ids in later.items():
        for id in ids - {world.ids["message"], world.ids["run"]}:
            refused(viewer.get(f"{thread}{path}/{id}"), 404, None)
            if path == "/runs":
                refused(viewer.get(f"{thread}/runs/{id}/steps"), 404, None)
                refused(viewer.get(f"{thread}/runs/{id}/stream"), 404, None)
    assert viewer.get(f"{thread}/runs/{world.ids['run']}/steps").status_code == 200
    last = Share.objects.get(frozen_seq__isnull=False).frozen_seq
    assert last is not None
    assert Thread.objects.get(pk=world.ids["thread"]).last_seq > last
    refused(viewer.get(f"{thread}/runs/stream", starting_after=str(last + 1)), 400, "cursor_out_of_range")


def test_what_was_being_written_when_it_was_frozen_stays_hidden(world: World) -> None:
    thread, run = world.waiting["thread"], world.waiting["run"]
    writing = say(thread, status="in_progress", completed_at=None, content=[text("To be")], run_id=run)
    _, viewer = share_of(world.client, thread, frozen=True)
    Message.objects.filter(pk=writing.pk).update(status="completed", completed_at=now())
    world.client.make(f"/threads/{thread}/runs/{run}/cancel")
    assert writing.pk not in listed(viewer, f"/threads/{thread}/messages")
    assert listed(viewer, f"/threads/{thread}/runs") == []
    refused(viewer.get(f"/threads/{thread}/runs/{run}"), 404, None)


# The page -------------------------------------------------------------------------------------------------------------


@pytest.mark.any_database
def test_the_page_is_for_everybody_and_says_nothing(client: CheckedClient) -> None:
    page = client.get("/shared/")
    assert page.status_code == 200
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "noindex" in page.headers["X-Robots-Tag"]
    assert "no-store" in page.headers["Cache-Control"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]
    assert not page.cookies
    assert client.post("/shared/").status_code in (403, 405)
