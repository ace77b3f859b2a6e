"""The scripted model's titles: a request that wants one for a conversation gets a few words of its question.

The chat page asks like this (static/chat/titles.js), other clients may: the instructions ask for a title, the message
quotes "Question: …" and "Answer: …".
"""

from __future__ import annotations

import re

from runs.completers.extract import STOP_WORDS

WANTED = re.compile(r"\btitle for (?:this|the) (?:conversation|chat|thread)\b", re.IGNORECASE)
QUOTED = re.compile(r"\s*Question:(.*?)(?:\n\s*Answer:(.*))?", re.DOTALL)
DIRECTIVE = re.compile(r"(?:^|\s)!\w+(?:\s+\d+(?:\.\d+)?)?")
WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
WORDS_MAX = 6
NOTHING_SAID = "A scripted answer"


def wants_title(instructions: str) -> bool:
    return WANTED.search(instructions) is not None


def title_of(text: str) -> str:
    """At most six words: those that the question is about, else those that the answer begins with."""
    quoted = QUOTED.fullmatch(text)
    question, answer = (quoted[1], quoted[2] or "") if quoted else (text, "")
    return telling(DIRECTIVE.sub(" ", question)) or telling(answer) or NOTHING_SAID


def telling(text: str) -> str:
    """The first words of `text` without the small ones around them; those between stay, or it would be no phrase."""
    words = WORD.findall(text)
    while words and is_small(words[0]):
        words.pop(0)
    words = words[:WORDS_MAX]
    while words and is_small(words[-1]):
        words.pop()
    title = " ".join(words)
    return title[:1].upper() + title[1:]


def is_small(word: str) -> bool:
    return word.lower() in STOP_WORDS
