"""Tokens: the numbers of the vocabulary's makers, places in the text, and texts made to be slow."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from time import process_time

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from assistants import tokens
from assistants.tokens import count_tokens, token_ends


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),
        ("お誕生日おめでとう", 9),
        ("2 + 2 = 4", 7),
    ],
)
def test_counts(text: str, count: int) -> None:
    assert count_tokens(text) == count


def test_special_tokens_are_text() -> None:
    assert count_tokens("<|endoftext|>") > 1
    assert count_tokens("<|endofprompt|> <|fim_prefix|>") > 2


def test_the_vocabulary_is_the_one_that_tiktoken_would_fetch() -> None:
    source = inspect.getsource(importlib.import_module("tiktoken_ext.openai_public").cl100k_base)
    assert tokens.SHA256 in source
    assert tokens.PIECES.count("|") == source.split('"pat_str"')[1].split("\n")[0].count("|")
    assert tokens.SHA256 in (tokens.VOCABULARY.parent / "MANIFEST.md").read_text()


@given(st.text(max_size=300))
@hypothesis(deadline=None)
def test_ends_go_through_the_whole_text(text: str) -> None:
    ends = list(token_ends(text))
    assert len(ends) == count_tokens(text)
    assert ends == sorted(ends)
    assert not text or ends[-1] == len(text)


def test_a_character_of_several_tokens_ends_with_its_last() -> None:
    assert count_tokens("龙") == 2
    assert list(token_ends("龙 x")) == [0, 1, 3]


def test_blocks_change_no_count() -> None:
    word = "harbour "
    long = word * (2 * tokens.BLOCK_CHARACTERS // len(word))
    assert count_tokens(long) == count_tokens(word * 10) + (long.count(word) - 10)
    assert "".join(tokens.blocks(long)) == long


@pytest.mark.parametrize(
    "text",
    [
        *("a" * 1_000_000, " " * 1_000_000 + "x", "^" * 1_000_000, " \n" * 500_000, "龙" * 300_000),
        "".join(chr(97 + index * index % 23) for index in range(1_000_000)),
    ],
    ids=["letter", "space", "sign", "line", "han", "no-space"],
)
def test_no_text_is_slow(text: str) -> None:
    count_tokens("")
    start = process_time()
    assert count_tokens(text) > 0
    assert process_time() - start < 5


def test_those_who_come_first_together_load_one_vocabulary() -> None:
    """A fresh process, for what this one has loaded stays."""
    code = """
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from assistants import tokens

together = Barrier(4)

def count(_):
    together.wait()
    return id(tokens.encoding())

with ThreadPoolExecutor(4) as pool:
    print(len(set(pool.map(count, range(4)))))
"""
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert child.stdout == "1\n"


def test_nothing_is_loaded_before_the_first_count() -> None:
    code = "import sys, assistants.tokens; print('tiktoken' in sys.modules)"
    child = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert child.stdout == "False\n"
