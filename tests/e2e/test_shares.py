"""Streams that are read with a share's token: what goes over the wire, and that it ends when the share does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.events import CUT, DONE, Desk, frames, names
from tests.process import KumosProcess

pytestmark = pytest.mark.e2e

SECRET = "the owner has it for himself"


@pytest.fixture
def desk(server: KumosProcess) -> Iterator[Desk]:
    with Desk(server) as desk:
        yield desk


def link(desk: Desk, thread: str, **how: object) -> tuple[str, dict[str, str]]:
    """The path of a new share, and the headers of those who have it."""
    share = desk.make(f"/threads/{thread}/shares", how)
    token = share["url"].rpartition("/")[2]
    return f"/threads/{thread}/shares/{share['id']}", {"Authorization": f"Bearer {token}"}


def test_both_streams_are_those_of_the_owner_without_what_is_his_own(desk: Desk) -> None:
    function = {"name": "secretly", "description": SECRET, "parameters": {"type": "object", "properties": {}}}
    tools = [{"type": "function", "function": function}]
    assistant = desk.assistant(instructions=SECRET, metadata={"note": SECRET}, tools=tools)
    thread = desk.thread()
    _, guest = link(desk, thread)
    following = desk.watch(f"/threads/{thread}/runs/stream", headers=guest)
    run = desk.ask("!fast !long 30", thread=thread, assistant=assistant, metadata={"note": SECRET})
    own = frames(desk.read(f"{run}/stream"))
    live = following.wait_for("thread.run.completed")
    replayed = frames(desk.read(f"{run}/stream", headers=guest))
    assert SECRET in str(own)
    for seen in (live, replayed):
        assert SECRET not in str(seen)
        assert "secretly" not in str(seen)
    assert names(replayed) == names(own)
    texts = [[frame for frame in story if frame.name == "thread.message.delta"] for story in (own, replayed)]
    assert texts[0] == texts[1] != []


def test_a_revoked_share_cuts_its_streams_and_lets_nobody_back(desk: Desk) -> None:
    thread = desk.thread()
    share, guest = link(desk, thread)
    path = f"/threads/{thread}/runs/stream"
    owner = desk.watch(path)
    reader = desk.watch(path, headers=guest)
    assert desk.http.delete(share).status_code == 200
    with pytest.raises(CUT):
        reader.end()
    assert desk.refused("GET", path, headers=guest).json()["error"]["code"] == "share_revoked"
    desk.ask("!fast !echo Hello", thread=thread)
    owner.wait_for("thread.run.completed")


def test_a_frozen_stream_ends_behind_what_was_there(desk: Desk) -> None:
    run = desk.ask("!fast !echo Before")
    desk.ended(run)
    thread = run.split("/")[2]
    _, guest = link(desk, thread, frozen=True)
    desk.ended(later := desk.ask("!fast !echo After", thread=thread))
    story = frames(desk.read(f"/threads/{thread}/runs/stream?starting_after=0", headers=guest))
    assert story[-1] == DONE
    assert "Before" in str(story)
    assert "After" not in str(story)
    assert frames(desk.read(f"/threads/{thread}/runs/stream", headers=guest)) == [DONE]
    assert frames(desk.read(f"{run}/stream", headers=guest)) == story
    assert desk.refused("GET", f"{later}/stream", headers=guest).status_code == 404
