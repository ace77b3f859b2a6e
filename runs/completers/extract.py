"""The scripted model's reading: file_search results become a summary of their own sentences, each with its marker.

It picks and orders sentences; it never writes one about the documents. Search itself is `assistants/retrieval`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from runs.completers.arguments import NAME, quoted_in

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a about above according after again all also am an analyse analyze and answer any anything are as at"
        " available based be because been before being between both but by can compare could describe did do"
        " document documents does doing down during each every everything explain file files find for from further"
        " give had has have having he her here him his how i if in into is it its just know let list me more most my"
        " no nor not of off on once only or other our out outline over overview own please question same say says"
        " search she should show so some such summarise summarize summary tell than that the their them then there"
        " these they this those through to too under until up us use using very want was we were what when where"
        " which while who whom whose why will with would write you your",
    )
)
FAR_BELOW = 0.5
"""Passages that score under this part of the best one are noise."""
HEAD = 200
"""A passage is about what its file's name or its first so many characters name."""
FILES_MAX = 6
SENTENCES_MAX = 9
WORDS_MIN, WORDS_FEW, WORDS_MAX = 4, 7, 60
SMALL_NAME = re.compile(r"\bproject (\w+)")
PHRASE = re.compile(NAME)
SENTENCE_END = re.compile(r"(?<=[.!?])[\"”')]?\s+(?=[\"“'(]?[A-ZÀ-ÖØ-Þ0-9])")
DANGLING = re.compile(
    r"(?:it|its|they|their|them|this|these|those|that|he|she|by then|all of|both|but|so|then)\b", re.I
)
"""How a sentence starts that leans on the one before it."""
ABBREVIATION = re.compile(r"(?:\b(?:[A-Z]|Dr|Mr|Mrs|Ms|Prof|St|No|vs|approx|e\.g|i\.e|etc|ca))\.$")
BLOCK_START = re.compile(r"^\s*(?:[-*+•]\s+|\d+[.)]\s+|#{1,6}\s|>\s?|\|)")


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A passage as the file_search tool hands it to the model."""

    marker: str
    file_name: str
    score: float
    text: str

    @classmethod
    def read(cls, output: str) -> list[SearchResult] | None:
        """The passages of a tool output `{"results": […]}`; None where it has another shape."""
        try:
            results = orjson.loads(output)["results"]
            return [cls(str(r["marker"]), str(r["file_name"]), float(r["score"]), str(r["text"])) for r in results]
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Sentence:
    text: str
    result: SearchResult
    about: bool
    overlap: int
    weight: float


def stem(word: str) -> str:
    """Enough for plurals and endings: budgets, delayed, planning meet budget, delay, plan."""
    word = word.removesuffix("'s").removesuffix("’s")
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 3 and not word.endswith("ss"):
            return word.removesuffix(ending)
    return word


def content_words(text: str) -> set[str]:
    return {stem(word) for word in re.findall(r"[^\W_]+(?:['’]s)?", text.lower()) if word not in STOP_WORDS}


def key_terms(text: str) -> tuple[list[str], list[str]]:
    """What `text` names: in quotes, and by capitals (Project Dragon; a sentence's first word alone does not count).

    "project dragon" is a name too.
    """
    quoted = [quote for quote in quoted_in(text) if len(quote) < 80]
    names = []
    for match in PHRASE.finditer(text):
        name = match[0]
        starts = not text[: match.start()].strip() or text[: match.start()].rstrip().endswith((".", "!", "?", ":"))
        if starts:
            first, _, name = name.partition(" ") if name.split()[0].lower() in STOP_WORDS else ("", "", name)
            if " " not in name and not first:
                continue
        if name and name.lower() not in STOP_WORDS and not any(name in quote for quote in quoted):
            names.append(name)
    small = [match[0].title() for match in SMALL_NAME.finditer(text) if match[1] not in STOP_WORDS]
    return quoted, names + [name for name in small if not any(name in quote for quote in quoted)]


def search_query(text: str) -> str:
    """The telling words of the question: names first, then the rest, in the user's order and spelling."""
    quoted, names = key_terms(text)
    terms = quoted + names
    known = {word.lower() for term in terms for word in term.split()}
    for word in re.findall(r"[^\W_](?:['’-]?\w)*", text):
        if word.lower() not in STOP_WORDS and word.lower() not in known:
            known.add(word.lower())
            terms.append(word)
    return " ".join(terms)[:400] or text[:400]


def names_it(term: str, text: str) -> bool:
    """Whether `text` holds `term` as whole words: not Dragon in Dragonfly, but Project Dragon in project_dragon.md."""
    words = re.findall(r"[^\W_]+", term.lower())
    return bool(words) and re.search(r"(?<![^\W_])" + r"[\W_]+".join(words) + r"(?![^\W_])", text.lower()) is not None


def names_any(terms: Sequence[str], text: str) -> bool:
    return any(names_it(term, text) for term in terms)


def relevant(results: Sequence[SearchResult], terms: Sequence[str]) -> list[SearchResult]:
    """The passages of files that name a term; without terms, those that score near the best."""
    if terms:
        files = {result.file_name for result in results if names_any(terms, result.file_name + "\n" + result.text)}
        return [result for result in results if result.file_name in files]
    best = max((result.score for result in results), default=0.0)
    return [result for result in results if result.score >= best * FAR_BELOW]


def sentences_of(passage: str) -> list[str]:
    """Whole sentences of running text: headings, tables and cut-off edges are left out, wrapped lines are joined."""
    blocks: list[str] = []
    wrapped = False
    for line in passage.splitlines():
        bare = BLOCK_START.sub("", line).strip()
        if not bare or line.lstrip().startswith(("#", "|", "```", "---", "===")):
            wrapped = False
        elif wrapped and not BLOCK_START.match(line):
            blocks[-1] += " " + bare
        else:
            blocks.append(bare)
            wrapped = True
    found: list[str] = []
    for block in blocks:
        joined = ""
        for part in SENTENCE_END.split(block):
            joined = f"{joined} {part}".strip()
            if not ABBREVIATION.search(joined):
                found.append(joined)
                joined = ""
        found += [joined] if joined else []
    whole = [text for text in found if WORDS_MIN <= len(text.split()) <= WORDS_MAX and not text[0].islower()]
    ended = [text for text in whole if text.rstrip("\"”')*_").endswith((".", "!", "?"))]
    return [text.replace("**", "").replace("`", "") for text in ended or whole]


def candidates(results: Sequence[SearchResult], terms: Sequence[str], words: set[str]) -> list[Sentence]:
    """Every sentence once, weighed: the question's words, its names, figures, and how early and well-found it is."""
    seen: set[str] = set()
    found: list[Sentence] = []
    best = max(result.score for result in results) or 1.0
    for result in sorted(results, key=lambda result: -result.score):
        about = not terms or names_any(terms, result.file_name + "\n" + result.text[:HEAD])
        for position, text in enumerate(sentences_of(result.text)):
            named = names_any(terms, text)
            if text in seen or not (about or named):
                continue
            seen.add(text)
            overlap = len(words & content_words(text))
            weight = 2.0 * overlap + 1.5 * named + 0.5 * bool(re.search(r"\d", text))
            weight -= 1.0 * (len(text.split()) < WORDS_FEW or DANGLING.match(text) is not None)
            weight += result.score / best - 0.05 * position
            found.append(Sentence(text, result, about, overlap, weight))
    return found


def cited_summary(question: str, results: Sequence[SearchResult]) -> str:
    """Sentences of `results` that fit `question`, by file, each followed by the marker of its passage."""
    quoted, names = key_terms(question)
    asked = quoted or names
    terms = [term for term in asked if any(names_it(term, r.file_name + "\n" + r.text) for r in results)]
    # A full name that no passage holds: what was found is about something else.
    missed = not terms and (bool(quoted) or any(" " in name for name in names))
    kept = [] if missed else relevant(results, terms)
    if not kept:
        return f"I searched the files and found nothing about {' and '.join(asked) or 'that'}."
    words = content_words(question) - {word for term in terms for word in content_words(term)}
    sentences = candidates(kept, terms, words)
    if most := max((sentence.overlap for sentence in sentences), default=0):
        sentences = [sentence for sentence in sentences if sentence.overlap >= max(1, most - 1)]
    elif any(sentence.about for sentence in sentences):  # mentions in passing answer questions; they sum up nothing
        sentences = [sentence for sentence in sentences if sentence.about]
    return written(chosen_by_file(sentences), " and ".join(terms)) if sentences else unreadable(kept)


def chosen_by_file(sentences: Sequence[Sentence]) -> dict[str, list[Sentence]]:
    """The best sentences, the same number of each file, files by their best one, sentences in the file's own order."""
    by_file: dict[str, list[Sentence]] = {}
    for sentence in sorted(sentences, key=lambda sentence: -sentence.weight):
        by_file.setdefault(sentence.result.file_name, []).append(sentence)
    files = dict(list(by_file.items())[:FILES_MAX])
    share = max(1, min(4, SENTENCES_MAX // len(files)))
    order = {id(sentence): number for number, sentence in enumerate(sentences)}
    return {name: sorted(found[:share], key=lambda sentence: order[id(sentence)]) for name, found in files.items()}


def written(files: dict[str, list[Sentence]], subject: str) -> str:
    count = "1 file says" if len(files) == 1 else f"{len(files)} files say"
    paragraphs = [f"Here is what {count}{' about ' + subject if subject else ''}:"]
    for name, sentences in files.items():
        paragraphs.append(f"**{name}**: " + " ".join(f"{each.text}{each.result.marker}" for each in sentences))
    return "\n\n".join(paragraphs)


def unreadable(results: Sequence[SearchResult]) -> str:
    """Passages without a single whole sentence (code, tables): their first words, cited."""
    lines = ["I found passages that fit, but no whole sentences in them:"]
    for result in list({result.file_name: result for result in reversed(results)}.values())[:FILES_MAX]:
        lines.append(f"**{result.file_name}**: {' '.join(result.text.split()[:30])} …{result.marker}")
    return "\n\n".join(lines)
