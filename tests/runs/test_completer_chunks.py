"""chunks.py: what servers of many makes stream, read as events (contract 2.9), whatever its cuts and shapes."""

from __future__ import annotations

from typing import Any

import pytest

from runs.completers import Finish, ToolCallDelta
from runs.completers.chunks import Answer, Cut, Lines, Malformed


def calls_from(*pieces: Any) -> list[tuple[str, str, str]]:
    """(id, name, arguments) of each call, from the `tool_calls` entries of one chunk each."""
    answer = Answer()
    found: dict[int, tuple[str, str, str]] = {}
    for piece in pieces:
        for event in answer.events({"choices": [{"delta": {"tool_calls": [piece]}}]}):
            assert isinstance(event, ToolCallDelta)
            id, name, arguments = found.get(event.index, ("", "", ""))
            assert (not id) == bool(event.id), "id and name come once, with the first piece"
            assert event.index <= len(found), "calls start in index order"
            found[event.index] = (id + event.id, name + event.name, arguments + event.arguments)
    answer.events({"choices": [{"finish_reason": "stop"}]})
    assert answer.ending() == [Finish("tool_calls")]
    return list(found.values())


def piece(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    function = {"name": fields.pop("name", None), "arguments": arguments}
    return {"function": {key: value for key, value in function.items() if value is not None}, **fields}


def test_calls_as_different_servers_send_them() -> None:
    assert calls_from(piece("", index=0, id="a", name="f"), piece("{", index=0), piece("}", index=0)) == [
        ("a", "f", "{}")
    ]
    assert calls_from(piece("{}", index=0, id="a", name="f"), piece("{}", index=1, id="b", name="g")) == [
        ("a", "f", "{}"),
        ("b", "g", "{}"),
    ]
    # Without an index; the id says which.
    assert calls_from(piece("{", id="a", name="f"), piece("}"), piece("{}", id="b", name="g")) == [
        ("a", "f", "{}"),
        ("b", "g", "{}"),
    ]
    # Every call whole, at index 0.
    assert calls_from(piece("{}", index=0, id="a", name="f"), piece("{}", index=0, id="b", name="g")) == [
        ("a", "f", "{}"),
        ("b", "g", "{}"),
    ]
    # Id and name with every piece.
    assert calls_from(piece("{", index=0, id="a", name="f"), piece("}", index=0, id="a", name="f")) == [
        ("a", "f", "{}")
    ]
    # The name later than the first arguments; indexes that start anywhere; arguments as an object.
    assert calls_from(piece("{", index=7, id="a"), piece("}", index=7, name="f")) == [("a", "f", "{}")]
    assert calls_from(piece({"x": 1}, index=0, id="a", name="f")) == [("a", "f", '{"x":1}')]


def test_a_call_without_an_id_gets_one() -> None:
    [(id, name, arguments)] = calls_from(piece("{}", index=0, name="f"))
    assert id.startswith("call_")
    assert (name, arguments) == ("f", "{}")


@pytest.mark.parametrize(
    "chunk",
    [
        {},
        {"choices": None},
        {"choices": []},
        {"choices": [None]},
        {"choices": [{"delta": None}]},
        {"choices": [{"delta": {"content": 7, "tool_calls": "x"}}]},
        {"choices": [{"delta": {"tool_calls": [None]}}]},
        {"choices": {"0": 1}, "usage": [1]},
        {"usage": {"prompt_tokens": -1, "completion_tokens": "many"}},
    ],
)
def test_shapes_that_mean_nothing_do_nothing(chunk: dict[str, Any]) -> None:
    answer = Answer()
    assert answer.events(chunk) == []
    with pytest.raises(Cut):
        answer.ending()


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("eos", "stop"),
        ("tool_calls", "stop"),
    ],
)
def test_finish_reasons(reason: str, expected: str) -> None:
    answer = Answer()
    answer.events({"choices": [{"delta": {"content": "x"}, "finish_reason": reason}]})
    assert answer.ending() == [Finish(expected)]  # type: ignore[arg-type]


def test_lines_are_the_same_however_the_bytes_are_cut() -> None:
    stream = 'data: {"a": "é\u2028"}\r\n\r\n: ping\ndata: [DONE]\n\n'.encode()
    expected = Lines().feed(stream)
    assert len(expected) == 5
    for size in range(1, len(stream)):
        lines = Lines()
        found: list[bytes] = []
        for start in range(0, len(stream), size):
            found += lines.feed(stream[start : start + size])
        assert found == expected


def test_a_line_without_an_end_is_not_kept_for_ever() -> None:
    lines = Lines()
    piece = b"x" * 512 * 1024
    assert [lines.feed(piece), lines.feed(piece)] == [[], []]
    with pytest.raises(Malformed):
        lines.feed(b"x")
