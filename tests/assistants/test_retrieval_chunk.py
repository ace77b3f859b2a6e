"""Passages: nothing lost, sizes held, overlaps right, cuts where a reader would make them."""

from __future__ import annotations

import subprocess
import sys
from bisect import bisect_right
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistants.retrieval.chunk import slices, spans
from assistants.tokens import count_tokens, token_ends


def passages(text: str, max_tokens: int = 800, overlap_tokens: int = 400) -> list[str]:
    return [piece.text.strip() for piece in slices(text, max_tokens, overlap_tokens)]


texts = st.one_of(
    st.text(max_size=600),
    st.lists(
        st.sampled_from(["word", " ", ". ", "\n", "\n\n", "uncharacteristically", "龙", "。", '"', "\t" * 20, "x=1;"]),
        max_size=400,
    ).map("".join),
)
sizes = st.integers(16, 80).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size // 2)))


@given(texts, sizes)
@settings(deadline=None)
def test_nothing_is_lost_and_sizes_hold(text: str, size: tuple[int, int]) -> None:
    max_tokens, overlap = size
    found = list(spans(text, max_tokens, overlap))

    ends = token_ends(text)
    assert (not text and not found) or (found[0][0] == 0 and found[-1][1] == len(text))
    assert all(count_tokens(text[start:end].strip()) <= max_tokens for start, end in found)
    for (start, end), (next_start, next_end) in pairwise(found):
        assert start < next_start <= end < next_end
        shared = bisect_right(ends, end) - bisect_right(ends, next_start)
        assert overlap // 2 - 3 <= shared <= overlap, "a character may take four tokens"


@given(texts, sizes)
@settings(deadline=None)
def test_passages_hold_every_word(text: str, size: tuple[int, int]) -> None:
    kept = passages(text, *size)
    assert all(passage.strip() == passage != "" for passage in kept)
    assert set("".join(text.split())) == set("".join("".join(kept).split()))


@given(texts, sizes)
@settings(deadline=None)
def test_a_text_can_be_put_together_again(text: str, size: tuple[int, int]) -> None:
    """But for passages of nothing but white space."""
    together = "".join(piece.text[piece.repeated :] for piece in slices(text, *size))
    assert "".join(together.split()) == "".join(text.split())
    if len(text.split()) * 2 > len(text):
        assert together == text


def test_cuts_fall_at_paragraphs_then_sentences() -> None:
    paragraph = "The first sentence has eight words in it. The second one is a little longer than that. "
    prose = "\n\n".join([(paragraph * 4).strip()] * 6)

    for passage in passages(prose, 100, 0):
        assert passage.endswith("."), passage
        assert passage.startswith("The "), passage

    first = passages(prose, 100, 0)[0]
    assert first == (paragraph * 4).strip()


def test_short_words_stay_whole() -> None:
    prose = "The pilots carried mail over the ice, on sledges, and nobody wrote home about it all winter long " * 20
    for passage in passages(prose, 50, 25):
        assert set(passage.split()) <= set(prose.split())


def test_a_short_text_is_one_passage() -> None:
    assert (passages("  Hello there.\n")) == ["Hello there."]
    assert (passages(" \n\t ")) == []


def test_a_short_text_needs_no_vocabulary() -> None:
    """Each file is read by a process of its own, so loading it would be most of the work for a note."""
    program = f"import sys; from assistants.retrieval.chunk import slices; list(slices({'a' * 800!r})); "
    done = subprocess.run(
        [sys.executable, "-c", program + "print('tiktoken' in sys.modules)"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("text", ["a" * 50_000, "龙" * 20_000, " " * 50_000 + "x", "👩‍👩‍👧" * 5_000])
def test_text_without_any_border_is_still_cut(text: str) -> None:
    found = list(spans(text, 100, 50))
    assert found[-1][1] == len(text)
    assert all(count_tokens(text[start:end].strip()) <= 100 for start, end in found)


def test_a_passage_is_as_long_as_it_may_be() -> None:
    found = passages("word " * 5_000, 800, 400)
    assert [count_tokens(passage) for passage in found[:-1]] == [800] * (len(found) - 1)
    assert len(found) == 12


@pytest.mark.parametrize(("size", "overlap"), [(100, 51), (0, 0), (15, 0), (100, -1)])
def test_impossible_sizes_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        next(spans("text", size, overlap))
