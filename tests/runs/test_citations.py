"""Markers in streamed text become annotations, wherever the model's tokens cut them (contract 2.7, 3.9)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runs.citations import CitationReader, marker, without_markers
from runs.story import Piece

SOURCES = {(0, 0): "file-a", (0, 1): "file-b", (4, 12): "file-c"}
FRAGMENTS = st.sampled_from(
    [
        "plain ", "☂𝄞 ", "【", "】", "【】", "†", "0:0", "【0:0†", "source】", "【0:0†source】", "【0:1†tides.txt】",
        "【4:12†source】", "【9:9†source】", "【0:0†" + "x" * 100 + "】", "【0:0†" + "x" * 101 + "】", "【a:b†source】",
        "【1234567:0†source】", "y" * 130, "\n",
    ]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=12).map("".join)


def read(*parts: str) -> tuple[list[Piece], CitationReader]:
    reader = CitationReader(SOURCES)
    pieces = [piece for part in parts for piece in reader.read(part)]
    return [*pieces, *reader.end()], reader


def content(*parts: str) -> dict[str, Any]:
    _, reader = read(*parts)
    (part,) = reader.content()
    text: dict[str, Any] = part["text"]
    return text


@given(TEXTS, st.data())
def test_it_does_not_matter_where_the_text_is_cut(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    parts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    pieces, reader = read(*parts)
    assert reader.content() == read(text)[1].content()
    assert "".join(piece.text for piece in pieces) == text
    assert [piece.annotation for piece in pieces if piece.annotation] == reader.annotations


@given(TEXTS)
def test_positions_point_at_the_marker(text: str) -> None:
    found = content(text)
    assert found["value"] == text
    ends = [0]
    for annotation in found["annotations"]:
        start, end = annotation["start_index"], annotation["end_index"]
        assert text[start:end] == annotation["text"]
        assert ends[-1] <= start < end
        ends.append(end)


@given(TEXTS)
def test_a_marker_comes_whole_and_alone(text: str) -> None:
    for piece in read(*text)[0]:
        if piece.annotation is not None:
            assert piece.text == piece.annotation["text"]


def test_an_annotation_has_the_wires_shape() -> None:
    assert content("As 𝄞 said【0:1†source】.") == {
        "value": "As 𝄞 said【0:1†source】.",
        "annotations": [
            {
                "type": "file_citation",
                "text": "【0:1†source】",
                "start_index": 9,
                "end_index": 21,
                "file_citation": {"file_id": "file-b"},
            }
        ],
    }


def test_a_marker_of_nothing_stays_text() -> None:
    assert content("So【7:0†source】it is") == {"value": "So【7:0†source】it is", "annotations": []}


def test_text_is_held_back_only_as_long_as_it_may_become_a_marker() -> None:
    reader = CitationReader(SOURCES)
    assert reader.read("Tides ") == [Piece("Tides ")]
    assert reader.read("come【0:") == [Piece("come")]
    assert reader.read("0†sou") == []
    (piece,) = reader.read("rce】")
    assert piece.text == "【0:0†source】"
    assert reader.read("【not one】 and") == [Piece("【"), Piece("not one】 and")]
    assert reader.read("【" + "x" * 130) == [Piece("【"), Piece("x" * 130)]
    assert reader.end() == []


def test_a_flood_of_brackets_costs_no_more_than_its_length() -> None:
    """Read on the event loop: with a look at all the rest for each bracket, this would stop everything for minutes."""
    flood = "【" * 1_000_000
    pieces, reader = read(flood)
    assert (len(pieces), len(reader.content()[0]["text"]["value"])) == (len(flood), len(flood))


def test_an_unfinished_bracket_is_given_at_the_end() -> None:
    pieces, reader = read("Half a marker 【0:0†sour")
    assert pieces == [Piece("Half a marker "), Piece("【0:0†sour")]
    assert reader.content()[0]["text"] == {"value": "Half a marker 【0:0†sour", "annotations": []}


@pytest.mark.parametrize("place", SOURCES)
def test_the_marker_we_ask_for_is_one_we_understand(place: tuple[int, int]) -> None:
    (annotation,) = content(marker(*place))["annotations"]
    assert annotation["file_citation"] == {"file_id": SOURCES[place]}


def test_markers_are_taken_out_of_old_answers() -> None:
    assert (
        without_markers("High tide【0:1†source】 comes【9:9†a.txt】 twice 【sic】.") == "High tide comes twice 【sic】."
    )
