"""The words of a question: what is worth looking for, in which order, and which stand side by side."""

from __future__ import annotations

import re
import unicodedata
from itertools import pairwise

QUERY_CHARACTERS_MAX = 4_000
WORDS_MAX = 16

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")

# Words that questions are made of and that say nothing about the subject; then the words of asking for a document.
_STOP_WORDS = """
    a about above after again against all also am an and any are aren't as at be because been before being below
    between both but by can can't cannot could couldn't did didn't do does doesn't doing don't down during each else
    ever few for from further get gets give gives had has have having he her here hers him his how however i if in
    into is isn't it it's its itself just let let's like me more most much must my no nor not of off on once one only
    or other our ours out over own per please same shall she should so some such than that that's the their theirs
    them then there there's these they this those through to too under until up upon us very was we were what what's
    when where whether which while who who's whom whose why will with within would you your yours
    ask available base based concern concerning content contents describe description detail details document
    documents explain file files find information know list look mention mentioned need overview provide regarding
    say says search show summarise summarize summary tell text uploaded using want write
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())


def words_of(text: str) -> list[str]:
    """The words of `text`, lower case, in order, without apostrophes' tails ("dragon's" → "dragon")."""
    folded = unicodedata.normalize("NFKC", text[:QUERY_CHARACTERS_MAX]).lower()
    return [re.sub(r"['’]s$", "", word) for word in WORD.findall(folded)]


def is_stop_word(word: str) -> bool:
    return word.replace("’", "'") in STOP_WORDS


def terms_of(query: str) -> list[str]:
    """The words to look for: distinct, at most WORDS_MAX; stop words only where there is nothing else."""
    words = list(dict.fromkeys(words_of(query)))
    telling = [word for word in words if not is_stop_word(word)]
    return (telling or words)[:WORDS_MAX]


def pairs_of(query: str) -> list[tuple[str, str]]:
    """Telling words that stand side by side in the query: "Project Dragon" should weigh more than its two words."""
    words = words_of(query)
    pairs = pairwise(words)
    telling = [pair for pair in pairs if not is_stop_word(pair[0]) and not is_stop_word(pair[1])]
    return list(dict.fromkeys(telling))[:WORDS_MAX]
