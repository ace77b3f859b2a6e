"""A served Kumos with functions of an operator's own dies behind one: it is not called again."""

from __future__ import annotations

from pathlib import Path

import pytest

from runs import recovery
from tests.e2e.events import Desk, ends_of
from tests.process import KumosProcess
from tests.upstream import Upstream

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

BOOK = {"type": "function", "function": {"name": "book_seat"}}


def test_a_call_whose_process_died_is_not_repeated(tmp_path: Path) -> None:
    settings = {"KUMOS_APPS": "tests.tooled", "KUMOS_FAILPOINTS": "tool.after_call:1", "KUMOS_BEAT_SECONDS": "1"}
    with Upstream() as up, KumosProcess(tmp_path, OPENAI_BASE_URL=up.base_url, **settings) as server:
        with Desk(server) as desk:
            path = desk.ask("Go", model='tool:book_seat:{"train": "IC 5"}', tools=[BOOK])
            assert server.process is not None
            server.process.wait(60)
        del server.settings["KUMOS_FAILPOINTS"]
        server.start()
        with Desk(server) as desk:
            run = desk.ended(path)
            story = desk.watch(f"{path}/stream").end()
            (step, _) = desk.get(f"{path}/steps", order="asc")["data"]
    assert run["status"] == "completed"
    assert ends_of(story) == ["thread.run.completed"]
    assert (tmp_path / "booked").read_text() == f"IC 5 {run['id']}\n"
    (call,) = step["step_details"]["tool_calls"]
    assert call["function"] == {"name": "book_seat", "arguments": '{"train": "IC 5"}', "output": recovery.UNKNOWN}
    offered = up.calls[0].body["tools"][0]["function"]
    assert offered["description"] == "Books a seat in a train. Costs money."
    assert offered["parameters"]["required"] == ["train"]
    assert up.calls[-1].body["messages"][-1]["content"] == recovery.UNKNOWN
