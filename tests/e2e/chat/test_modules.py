"""The chat page's own modules (stream parser, fold, drawing), tested inside the browser that runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.e2e.chat.browsing import QUESTION, Api
from tests.e2e.events import as_streamed

pytestmark = [pytest.mark.e2e, pytest.mark.browser, pytest.mark.any_database]


@pytest.fixture
def module(page: Page) -> Callable[[str, Any], Any]:
    """Runs `code`, the body of a function of `m` (all modules) and `given`, in the page."""
    page.goto("/chat/")
    names = ("stream", "thread")
    imports = ",".join(f"...await import('/static/chat/{name}.js')" for name in names)

    def run(code: str, given: Any) -> Any:
        return page.evaluate(f"async (given) => {{ const m = {{{imports}}}; {code} }}", given)

    return run


@pytest.fixture(scope="module")
def recording(api: Api, searcher: str) -> tuple[str, str, bytes]:
    """(thread, run, bytes) of a whole run with a search, citations and characters of several bytes."""
    thread = api.post("/threads", {})["id"]
    run = api.ask(thread, searcher, f"!fast {QUESTION}")
    return thread, run, api.recorded(thread, run)


def test_a_stream_cut_anywhere_gives_the_same_frames(
    module: Callable[[str, Any], Any], recording: tuple[str, str, bytes]
) -> None:
    stream = recording[2].replace(b"\n\nid:", b"\n\n: keep-alive\nid:")
    expected = [
        (
            [line[4:] for line in block.split("\n") if line.startswith("id: ")],
            [line[7:] for line in block.split("\n") if line.startswith("event: ")],
            [line[6:] for line in block.split("\n") if line.startswith("data: ")],
        )
        for block in stream.decode().split("\n\n")
        if block
    ]
    frames = module(
        """
        const bytes = Uint8Array.from(given.bytes);
        const read = (pieces) => {
          const frames = [];
          const parser = new m.FrameParser((frame) => frames.push(frame));
          pieces.forEach((piece) => parser.push(piece));
          return frames;
        };
        const whole = read([bytes]);
        let seed = 7;
        const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
        for (let round = 0; round < 200; round += 1) {
          const cut = Math.floor(random() * bytes.length);
          const again = read([bytes.slice(0, cut), bytes.slice(cut)]);
          if (JSON.stringify(again) !== JSON.stringify(whole)) throw new Error(`differs when cut at ${cut}`);
        }
        const single = read(Array.from(bytes, (byte) => Uint8Array.of(byte)));
        if (JSON.stringify(single) !== JSON.stringify(whole)) throw new Error("differs byte by byte");
        return whole;
        """,
        {"bytes": list(stream)},
    )
    assert [([f["id"]] if f["id"] else [], [f["event"]], [f["data"]]) for f in frames] == expected


def test_events_folded_give_what_the_api_answers_and_repeats_change_nothing(
    module: Callable[[str, Any], Any], recording: tuple[str, str, bytes], api: Api
) -> None:
    thread, run, stream = recording
    folded = module(
        """
        const frames = [];
        new m.FrameParser((frame) => frames.push(frame)).push(Uint8Array.from(given.bytes));
        const before = frames.findLastIndex((frame) => frame.event === "thread.message.completed");
        const model = new m.Thread("t");
        // A page that loads the list while the run goes on knows the message from both; in the list it has no text yet.
        frames.slice(0, before - 3).forEach((frame) => model.apply(frame));
        const empty = { status: "in_progress", content: [] };
        model.offerNewest(given.messages.map((one) => (one.role === "assistant" ? { ...one, ...empty } : one)));
        frames.slice(0, before).forEach((frame) => model.apply(frame));
        const streamed = structuredClone([...model.messages.values()].findLast((one) => one.role === "assistant"));
        frames.forEach((frame) => model.apply(frame));
        const again = frames.map((frame) => model.apply(frame));
        const turns = model.turns();
        return { streamed, again, turns, runs: [...model.runs.values()], steps: [...model.steps.values()] };
        """,
        {"bytes": list(stream), "messages": api.get(f"/threads/{thread}/messages", order="asc")["data"]},
    )
    [answer] = api.answers(thread)
    own = {"live", "version", "index", "quote"}  # what the page adds, and what only deltas carry

    def plainly(value: Any) -> Any:
        return json.loads(json.dumps(value), object_hook=lambda found: {k: v for k, v in found.items() if k not in own})

    assert plainly(folded["streamed"])["content"] == answer["content"]
    assert not any(folded["again"])
    assert [plainly(one) for one in folded["runs"]] == [as_streamed(api.get(f"/threads/{thread}/runs/{run}"))]
    steps = api.get(f"/threads/{thread}/runs/{run}/steps", order="asc")["data"]
    assert [one["step_details"] for one in folded["steps"]] == [one["step_details"] for one in steps]
    kinds = [[sorted(part)[1] for part in turn.get("parts", [])] or "message" for turn in folded["turns"]]
    assert kinds == ["message", ["step", "message"]]
