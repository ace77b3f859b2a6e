"""The two GET streams (contract 3.2, 3.10; P7, P8): any cut, any cursor, any number of readers, at any time."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.events import (
    CUT,
    DONE,
    HEARTBEAT,
    TERMINAL,
    Desk,
    Frame,
    Watcher,
    ends_of,
    frames,
    last_id,
    names,
    text_of,
)
from tests.process import KumosProcess

pytestmark = pytest.mark.e2e

ON_AND_ON = "!slow 20 !long 10000"
"""It speaks until it is cancelled, so that no test depends on how quickly it does what it does meanwhile."""
GET_WEATHER = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def beating(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KumosProcess]:
    """A server that fills every silence with heartbeats, so that they get between everything."""
    with KumosProcess(tmp_path_factory.mktemp("streams"), KUMOS_HEARTBEAT_SECONDS="0.2") as process:
        yield process


@pytest.fixture
def desk(beating: KumosProcess) -> Iterator[Desk]:
    with Desk(beating) as desk:
        yield desk


def thread_stream(path: str) -> str:
    """The stream of the thread whose run has this path."""
    return f"{path.split('/runs/')[0]}/runs/stream"


def ended(runs: int) -> Callable[[Watcher], bool]:
    return lambda watcher: len(ends_of(watcher.frames)) >= runs


# One thread, several runs ---------------------------------------------------------------------------------------------


def test_the_thread_stream_shows_two_runs_one_after_the_other(desk: Desk) -> None:
    thread, assistant = desk.thread(), desk.assistant()
    watcher = desk.watch(f"/threads/{thread}/runs/stream")
    first = desk.ask("!echo Number one", thread=thread, assistant=assistant)
    watcher.wait(ended(1))
    second = desk.ask("!echo Number two", thread=thread, assistant=assistant)
    seen = watcher.wait(ended(2))
    stories = [frames(desk.read(f"{path}/stream")) for path in (first, second)]
    assert [story.pop() for story in stories] == [DONE, DONE]
    assert seen == stories[0] + stories[1]
    assert text_of(seen) == "Number oneNumber two"


def test_the_thread_stream_begins_with_the_active_run(desk: Desk) -> None:
    path = desk.ask("!fast !echo before")
    desk.ended(path)
    thread = path.split("/")[2]
    path = desk.ask(ON_AND_ON, thread=thread)
    desk.watch(f"{path}/stream").wait_for("thread.message.delta", 2)
    watcher = desk.watch(thread_stream(path))
    desk.make(f"{path}/cancel")
    seen = watcher.wait(ended(1))
    assert [*seen, DONE] == frames(desk.read(f"{path}/stream"))


def test_starting_after_0_gives_all_that_is_kept(desk: Desk) -> None:
    path = desk.ask("!fast !echo one")
    first = frames(desk.read(f"{path}/stream"))
    second = frames(desk.read(f"{desk.ask('!fast !echo two', thread=path.split('/')[2])}/stream"))
    seen = desk.watch(f"{thread_stream(path)}?starting_after=0").wait(ended(2))
    assert seen == first[:-1] + second[:-1]


def test_a_deleted_thread_ends_its_stream_with_done(desk: Desk) -> None:
    path = desk.ask("!fast !echo Goodbye")
    desk.ended(path)
    watcher = desk.watch(f"{thread_stream(path)}?starting_after=0")
    watcher.wait(ended(1))
    assert desk.http.delete(path.split("/runs/")[0]).status_code == 200
    assert watcher.end()[-1] == DONE


# Cuts and cursors -----------------------------------------------------------------------------------------------------


def test_p8_cut_at_any_byte_nothing_is_missing_and_nothing_comes_twice(desk: Desk) -> None:
    """Every offset: what is complete up to it, and what comes after the last id of that, are the whole."""
    path = desk.ask("!fast !echo ä 【 b 🐉 c")
    desk.ended(path)
    whole = desk.read(f"{path}/stream")
    story = frames(whole)
    assert len(whole) > 200
    run_rest: dict[int | None, list[Frame]] = {}
    thread_rest: dict[int | None, list[Frame]] = {}
    for offset in range(len(whole) - len(b"event: done\ndata: [DONE]\n\n")):
        seen = frames(whole[:offset])
        cursor = last_id(seen)
        if cursor not in run_rest:
            run_rest[cursor] = frames(desk.read(f"{path}/stream", after=cursor))
            watcher = desk.watch(thread_stream(path), after=cursor or 0)
            thread_rest[cursor] = story[-2:-1] if seen[-1:] == story[-2:-1] else watcher.wait(ended(1))
            watcher.close()
        assert seen + run_rest[cursor] == story, offset
        if seen[-1:] != story[-2:-1]:
            assert seen + thread_rest[cursor] == story[:-1], offset


def test_p8_a_reader_that_is_cut_again_and_again_misses_nothing(desk: Desk) -> None:
    """Live, over two runs on one thread, by random numbers of bytes."""
    seed = time.time_ns()
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed)
    thread, assistant = desk.thread(), desk.assistant()
    address = f"/threads/{thread}/runs/stream"
    first = desk.ask("!slow 40 !long 60", thread=thread, assistant=assistant)
    second = ""
    seen: list[Frame] = []
    cuts = 0
    while len(ends_of(seen)) < 2:
        if not second and ends_of(seen):
            second = desk.ask("!slow 40 !long 60", thread=thread, assistant=assistant)
        size = chance.randint(1, 2000)
        watcher = desk.watch(address, after=last_id(seen) or 0)
        watcher.wait(lambda watcher: len(watcher.raw) >= size or bool(ends_of(watcher.frames)))  # noqa: B023
        watcher.close()
        seen += frames(watcher.raw[:size])
        cuts += 1
    assert cuts > 10
    assert seen == [frame for path in (first, second) for frame in frames(desk.read(f"{path}/stream"))[:-1]]


def test_starting_after_and_the_header_say_the_same_and_the_header_wins(desk: Desk) -> None:
    path = desk.ask("!fast !echo Once upon a time")
    whole = frames(desk.read(f"{path}/stream"))
    for cursor in (0, 1, 5, len(whole) - 2, len(whole) - 1):
        rest = frames(desk.read(f"{path}/stream?starting_after={cursor}"))
        assert rest == whole[cursor:]
        assert rest == frames(desk.read(f"{path}/stream?starting_after=1", after=cursor))


@pytest.mark.parametrize(
    "cursor", ["abc", "-1", "1.5", " ", "1 2", "0x1", "9" * 400, "99999", "١", "1\N{SUPERSCRIPT TWO}", "null", "1,2"]
)
def test_a_bad_cursor_is_a_bad_request(desk: Desk, cursor: str) -> None:
    path = desk.ask("!fast !echo Hello")
    desk.ended(path)
    for address in (f"{path}/stream", thread_stream(path)):
        answer = desk.refused("GET", address, params={"starting_after": cursor})
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["param"] == "starting_after"
        if cursor.strip():
            answer = desk.refused("GET", address, headers=[(b"Last-Event-ID", cursor.encode())])
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["type"] == "invalid_request_error"


def test_who_asks_gets_the_time_of_each_event_and_nothing_else_differs(desk: Desk) -> None:
    """An extension (docs/extensions.md). The times are those of the log: who comes later reads the same."""
    before = time.time()
    path = desk.ask("!slow 20 !long 8")
    live = desk.watch(f"{thread_stream(path)}?starting_after=0&include_created_at=true")
    live.wait(ended(1))
    plain, dated, undated = (
        without_heartbeats(desk.read(f"{path}/stream{query}"))
        for query in ("", "?include_created_at=true", "?include_created_at=false")
    )
    assert plain == undated == re.sub(rb": created_at [\d.]+\n", b"", dated)
    assert dated.startswith(without_heartbeats(live.raw))
    dates = re.findall(rb": created_at (\d+\.\d{3})\nid: .*\nevent: .*\ndata: .*\n\n", dated)
    times = [float(date) for date in dates]
    assert len(times) == len(frames(plain)) - 1
    assert before - 1 <= times[0] < times[-1] <= time.time() + 1
    assert times == sorted(times)
    for address in (f"{path}/stream", thread_stream(path)):
        answer = desk.refused("GET", address, params={"include_created_at": "1"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "include_created_at")


def test_a_run_that_waits_for_outputs_replays_both_segments(desk: Desk) -> None:
    path = desk.ask("!fast !call get_weather {}", assistant=desk.assistant(tools=[GET_WEATHER]))
    first = frames(desk.read(f"{path}/stream"))
    assert names(first)[-2:] == ["thread.run.requires_action", "done"]
    action = desk.get(path)["required_action"]["submit_tool_outputs"]["tool_calls"]
    outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "rain"} for call in action], "stream": True}
    second = desk.watch(f"{path}/submit_tool_outputs", post=outputs).end()
    assert names(second)[:3] == ["thread.run.step.completed", "thread.run.queued", "thread.run.in_progress"]
    assert names(second)[-2:] == ["thread.run.completed", "done"]
    assert frames(desk.read(f"{path}/stream")) == first[:-1] + second
    assert frames(desk.read(f"{path}/stream", after=last_id(first))) == second


# Readers --------------------------------------------------------------------------------------------------------------


def test_p8_thirty_followers_that_come_at_different_times_see_the_same(desk: Desk) -> None:
    path = desk.ask(ON_AND_ON)
    first = desk.watch(f"{path}/stream")
    followers = [first]
    for number in range(29):
        first.wait(lambda watcher: len(text_of(watcher.frames).split()) > 2 * number)  # noqa: B023
        followers.append(desk.watch(f"{path}/stream"))
    assert not ends_of(first.frames), "all came while the run was active"
    desk.make(f"{path}/cancel")
    stories = [follower.end() for follower in followers]
    assert all(story == stories[0] for story in stories)
    assert names(stories[0])[-2:] == ["thread.run.cancelled", "done"]


def test_the_stream_of_a_post_and_that_of_a_get_are_the_same_bytes(desk: Desk) -> None:
    thread = desk.thread("!fast !echo Hello")
    body = {"assistant_id": desk.assistant(), "stream": True}
    posted = desk.watch(f"/threads/{thread}/runs", post=body)
    story = posted.end()
    run = story[0].object["id"]
    assert without_heartbeats(desk.read(f"/threads/{thread}/runs/{run}/stream")) == without_heartbeats(posted.raw)


def test_create_thread_and_run_tells_of_the_thread_first(desk: Desk) -> None:
    body = {
        "assistant_id": desk.assistant(),
        "stream": True,
        "thread": {"messages": [{"role": "user", "content": "!fast !echo Hello"}]},
    }
    story = desk.watch("/threads/runs", post=body).end()
    thread, run = story[0].object, story[1].object
    assert names(story)[:3] == ["thread.created", "thread.run.created", "thread.run.queued"]
    assert story[1:] == frames(desk.read(f"/threads/{thread['id']}/runs/{run['id']}/stream"))


@pytest.mark.parametrize("accept", ["*/*", "text/event-stream", "application/xml", "application/json", ""])
def test_no_accept_is_refused(desk: Desk, accept: str) -> None:
    path = desk.ask("!fast !echo Hello")
    desk.ended(path)
    headers = {"Accept": accept, "Accept-Encoding": "gzip, deflate, br, zstd"}
    watcher = desk.watch(f"{path}/stream", headers=headers)
    assert watcher.end()[-1] == DONE
    assert desk.watch(f"{thread_stream(path)}?starting_after=0", headers=headers).wait(ended(1))[-1].name in TERMINAL


def test_the_headers_of_a_stream(desk: Desk) -> None:
    path = desk.ask("!fast !echo Hello")
    for address in (f"{path}/stream", thread_stream(path)):
        headers = desk.watch(address, headers={"Accept-Encoding": "gzip, br"}).headers
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "no-cache" in headers["cache-control"]
        assert headers["x-accel-buffering"] == "no"
        assert headers["transfer-encoding"] == "chunked"
        assert "content-encoding" not in headers
        assert "content-length" not in headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["openai-version"] == "2020-10-01"


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "PATCH", "DELETE"])
def test_other_methods_are_refused_in_json(desk: Desk, method: str) -> None:
    path = desk.ask("!fast !echo Hello")
    for address in (f"{path}/stream", thread_stream(path)):
        answer = desk.refused(method, address)
        assert answer.status_code == 405
        assert answer.headers["content-type"] == "application/json"
        assert method == "HEAD" or answer.json()["error"]["type"] == "invalid_request_error"


def test_who_may_not_see_a_run_gets_json_and_404_or_401(desk: Desk) -> None:
    path, other = desk.ask("!fast !echo Hello"), desk.thread()
    run = path.rsplit("/", 1)[1]
    for address, missing in {
        f"/threads/{other}/runs/{run}/stream": run,
        f"{path.rsplit('/', 1)[0]}/run_missing/stream": "run_missing",
        "/threads/thread_missing/runs/stream": "thread_missing",
        f"/threads/thread_missing/runs/{run}/stream": "thread_missing",
    }.items():
        answer = desk.refused("GET", address)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
        assert missing in answer.json()["error"]["message"]
        assert desk.refused("GET", address, headers={"Authorization": "Bearer sk-wrong"}).status_code == 401
        assert desk.refused("GET", address, headers={"Authorization": ""}).status_code == 401


# Silence and ends -----------------------------------------------------------------------------------------------------


def without_heartbeats(raw: bytes) -> bytes:
    return raw.replace(HEARTBEAT, b"")


def test_a_heartbeat_is_one_line_that_no_blank_line_follows(desk: Desk) -> None:
    """With ids on the stream a blank line after a comment breaks every Python SDK (contract 3.2)."""
    path = desk.ask("!stall")
    watchers = [desk.watch(address) for address in (f"{path}/stream", thread_stream(path))]
    for watcher in watchers:
        watcher.wait(lambda watcher: watcher.raw.count(HEARTBEAT) >= 4)
    desk.make(f"{path}/cancel")
    assert names(watchers[0].end())[-2:] == ["thread.run.cancelled", "done"]
    watchers[1].wait(ended(1))
    whole = without_heartbeats(desk.read(f"{path}/stream"))
    for watcher in watchers:
        assert HEARTBEAT + b"\n" not in watcher.raw
        assert b"retry:" not in watcher.raw
    assert without_heartbeats(watchers[0].raw) == whole


def test_a_quiet_thread_answers_at_once_and_goes_on(desk: Desk) -> None:
    """The headers do not wait for the first event, and a reader without news stays connected."""
    thread = desk.thread()
    watcher = desk.watch(f"/threads/{thread}/runs/stream")
    watcher.wait(lambda watcher: watcher.raw.count(HEARTBEAT) >= 3)
    desk.ask("!fast !echo At last", thread=thread)
    assert text_of(watcher.wait(ended(1))) == "At last"


@pytest.mark.parametrize(
    ("words", "tail"),
    [
        ("!length 5", ["thread.message.incomplete", "thread.run.step.completed", "thread.run.incomplete", "done"]),
        (
            "!fail server_error after 3",
            ["thread.message.incomplete", "thread.run.step.failed", "thread.run.failed", "done"],
        ),
        ("!fail rate_limit_exceeded", ["thread.run.queued", "thread.run.in_progress", "thread.run.failed", "done"]),
    ],
)
def test_p7_early_ends_are_told_before_done(desk: Desk, words: str, tail: list[str]) -> None:
    path = desk.ask(words)
    assert names(frames(desk.read(f"{path}/stream")))[-len(tail) :] == tail


def test_p7_a_run_whose_thread_is_deleted_ends_in_the_open(desk: Desk) -> None:
    """With the run's own end, where that was read before the thread was hidden; else with an error, or cut."""
    path = desk.ask("!slow 20 !long 2000")
    watcher = desk.watch(f"{path}/stream")
    watcher.wait_for("thread.message.delta")
    assert desk.http.delete(path.split("/runs/")[0]).status_code == 200
    try:
        before, last = watcher.end()[-2:]
    except CUT:
        return
    if last.name == "done":
        assert before.name == "thread.run.cancelled"
    else:
        assert last.name == "error"
        assert last.object["error"]["type"] == "server_error"
