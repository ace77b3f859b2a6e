"""The model in the box: offline, deterministic, paced like a language model, and honest about not being one.

What it does is decided by the request alone, in this order: a title, where the instructions want one; a directive of
the user, an answer to tool results, a call of a function that the user's words name, a `file_search`, else a few words
about itself. `extract.py` writes the cited summaries, `titles.py` the titles, `arguments.py` fills function arguments;
this module routes, paces and counts.

Directives, for tests and demos, stand at the start of the last user message:

    !echo TEXT                      say TEXT
    !long N                         say N words; every tenth is its own number
    !length N, !filter N            say N words, then finish "length" or "content_filter"
    !fail CODE [after N words]      raise CompleterError(CODE): server_error, rate_limit_exceeded, invalid_prompt
    !stall                          say one word, then nothing until cancelled
    !call NAME {JSON}               call that function, offered or not; answer once its output is there
    !loop NAME {JSON}               call that function in every turn, for ever
    !slow N, !fast                  N tokens a second, or no pacing; what follows is read as the message
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, get_args

import orjson
from django.conf import settings

from runs.completers import (
    ChatMessage,
    CompleterError,
    CompleterEvent,
    CompletionRequest,
    ErrorCode,
    Finish,
    FinishReason,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from runs.completers.arguments import instance_of, places_in
from runs.completers.extract import SearchResult, cited_summary, content_words, search_query
from runs.completers.titles import title_of, wants_title

PIECE = re.compile(r"【[^】]{0,80}】|\s*[^\s【]+\s*|\s+|【")
ARGUMENT_PIECE = re.compile(r".+?(?:[:,]\s*\"?|\s+|$)", re.DOTALL)
IDENTITY = re.compile(
    r"\b(who|what)\s+are\s+you\b"
    r"|\bare\s+you\s+(an?\s+)?(ai|human|person|bot|robot|real|llm|language model|gpt|chatgpt)\b"
    r"|\b(what|which)\s+(language\s+)?model\b.*\byou\b|\bintroduce\s+yourself\b|\byour\s+name\b",
    re.IGNORECASE,
)
GENERIC_WORDS = frozenset(
    re.findall(
        r"\w+",
        "get set fetch list create make find search look up do run call send current by of to for in at on a an the and"
        " or name value text query id input data arg args type key string number tool function",
    )
)
READ_MAX = 4000
"""Characters of the user's message that are looked at. What patterns read is bounded; !echo is not."""
NINE_WORDS = ("Clouds", "gather", "over", "the", "valley", "and", "drift", "slowly", "past")
ABOUT = (
    "I am the scripted model that is built into Kumos. I am not a language model: I follow fixed rules, so that Kumos"
    " can be tried and tested without a key and without a network."
)
HINT = (
    " Give this assistant the file_search tool and some files, and I will search them and cite what I find. For"
    " answers that think, choose a real model; the settings OPENAI_BASE_URL and OLLAMA_BASE_URL connect one."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What one turn says and how it ends. `rate`: tokens per second; None follows the setting, 0 is unpaced."""

    pieces: Sequence[TextDelta | ToolCallDelta] = field(default_factory=list)
    reason: FinishReason = "stop"
    rate: float | None = None
    failure: CompleterError | None = None
    stalls: bool = False


class ScriptedCompleter:
    """A `Completer` that needs nothing. Pacing: KUMOS_SCRIPTED_TOKENS_PER_SECOND, one word a token."""

    sees = False

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[CompleterEvent]:
        script = script_for(request)
        rate = settings.KUMOS_SCRIPTED_TOKENS_PER_SECOND if script.rate is None else script.rate
        limit = request.max_completion_tokens
        clock = asyncio.get_running_loop().time
        started = clock()
        for number, piece in enumerate(islice(script.pieces, limit)):
            # Due times count from the start, so a late wake-up is caught up instead of adding up.
            await asyncio.sleep(max(0.0, started + number / rate - clock()) if rate else 0)
            yield piece
        if script.stalls:
            await asyncio.Event().wait()
        if script.failure:
            raise script.failure
        said = len(script.pieces) if limit is None else min(limit, len(script.pieces))
        yield Usage(prompt_tokens=prompt_tokens(request.messages), completion_tokens=said)
        yield Finish("length" if said < len(script.pieces) else script.reason)


# Words and messages -------------------------------------------------------------------------------------------------


def pieces_of(text: str) -> list[str]:
    """Word-sized pieces with the space behind them; a citation marker is a piece of its own. Joined: `text`."""
    return PIECE.findall(text)


def text_of(content: Any) -> str:
    """The text of a message's content, given as a string or as parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def prompt_tokens(messages: Sequence[ChatMessage]) -> int:
    words = 0
    for message in messages:
        words += len(text_of(message.get("content")).split())
        for call in message.get("tool_calls") or ():
            words += len(str(call["function"].get("arguments", "")).split())
    return words


def last_user_text(messages: Sequence[ChatMessage]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return text_of(message.get("content")).strip()
    return ""


def instructions_of(messages: Sequence[ChatMessage]) -> str:
    system = (text_of(message.get("content")) for message in messages if message.get("role") == "system")
    return "\n".join(system)[:READ_MAX]


def trailing_results(messages: Sequence[ChatMessage]) -> list[tuple[str, str, str]]:
    """(function name, arguments, output) of the tool results that end the conversation, oldest first."""
    outputs: list[ChatMessage] = []
    for message in reversed(messages):
        if message.get("role") != "tool":
            calls = {call["id"]: call["function"] for call in message.get("tool_calls") or ()}
            break
        outputs.insert(0, message)
    else:
        calls = {}
    results = []
    for message in outputs:
        function = calls.get(message.get("tool_call_id"), {})
        results.append((function.get("name", "tool"), function.get("arguments", ""), text_of(message.get("content"))))
    return results


def spoken(text: str, **more: Any) -> Script:
    return Script(pieces=[TextDelta(piece) for piece in pieces_of(text)], **more)


def called(request: CompletionRequest, calls: Sequence[tuple[str, str]], **more: Any) -> Script:
    """A script that calls (name, arguments) after one another. The ids follow from the request: the same on a retry."""
    seed = orjson.dumps([dict(message) for message in request.messages], default=str)
    deltas: list[ToolCallDelta] = []
    for index, (name, arguments) in enumerate(calls):
        digest = hashlib.sha256(seed + b"%d" % index).hexdigest()
        first, *rest = ARGUMENT_PIECE.findall(arguments) or [""]
        deltas.append(ToolCallDelta(index, first, id=f"call_{digest[:24]}", name=name))
        deltas += [ToolCallDelta(index, piece) for piece in rest]
    return Script(pieces=deltas, reason="tool_calls", **more)


def long_text(words: int) -> str:
    """`words` words; every tenth is its own number, so that a lost or doubled piece shows."""
    return " ".join(f"{number}." if number % 10 == 0 else NINE_WORDS[number % 10 - 1] for number in range(1, words + 1))


# What to do ---------------------------------------------------------------------------------------------------------


def script_for(request: CompletionRequest) -> Script:
    """The whole turn, from the request alone."""
    text = last_user_text(request.messages)
    if wants_title(instructions_of(request.messages)):
        return spoken(title_of(text[:READ_MAX]))
    rate: float | None = None
    while pace := re.match(r"!(?:slow\s+(\d{1,6}(?:\.\d{1,6})?)|fast)(?:\s+|$)", text):
        rate = float(pace[1]) if pace[1] else 0.0
        text = text[pace.end() :]
    results = trailing_results(request.messages)
    script = directed(request, text, answered=bool(results))
    text = text[:READ_MAX]
    if script is None and results:
        script = spoken(formatted(request, text, answer_to(text, results)))
    if script is None:
        script = tool_script(request, text)
    if script is None:
        about = ABOUT if IDENTITY.search(text) else ABOUT + HINT
        script = spoken(formatted(request, text, about))
    return replace(script, rate=rate)


def directed(request: CompletionRequest, text: str, *, answered: bool) -> Script | None:
    """The script of a directive, or None where `text` is none. `answered`: tool results are there."""
    if not (match := re.match(r"!(echo|long|length|filter|fail|stall|call|loop)\b\s*(.*)", text, re.DOTALL)):
        return None
    name, rest = match[1], match[2]
    number = int(found[0]) if (found := re.search(r"\d{1,5}", rest)) else 1
    match name:
        case "echo":
            return spoken(rest)
        case "long":
            return spoken(long_text(number))
        case "length":
            return spoken(long_text(number), reason="length")
        case "filter":
            return spoken(long_text(number), reason="content_filter")
        case "stall":
            return spoken(long_text(1), stalls=True)
        case "fail":
            return failing(rest)
    if answered and name == "call":
        return None
    function, _, arguments = rest.partition(" ")
    return called(request, [(function, arguments.strip() or "{}")])


def failing(rest: str) -> Script:
    match = re.match(r"(\w+)(?:\s+after\s+(\d{1,5}))?", rest)
    asked = match[1] if match else "server_error"
    code: ErrorCode = next((code for code in get_args(ErrorCode) if code == asked), "server_error")
    words = int(match[2]) if match and match[2] else 0
    return spoken(long_text(words), failure=CompleterError(code, f"The scripted model was told to fail: {code}."))


def formatted(request: CompletionRequest, text: str, answer: str) -> str:
    """`answer` in the response format that was asked for: as it is, in a JSON object, or an instance of the schema."""
    wanted = request.response_format or {}
    if wanted.get("type") == "json_object":
        return orjson.dumps({"answer": answer}).decode()
    if wanted.get("type") == "json_schema":
        schema = wanted.get("json_schema", {}).get("schema") or {}
        return orjson.dumps(instance_of(schema, text)).decode()
    return answer


def answer_to(text: str, results: Sequence[tuple[str, str, str]]) -> str:
    found: list[SearchResult] = []
    sentences = []
    searched = False
    for name, arguments, output in results:
        if name == "file_search" and (passages := SearchResult.read(output)) is not None:
            searched = True
            found += passages
        else:
            shown = output if len(output) <= 600 else output[:600] + " …"
            sentences.append(f"{name}({arguments}) answered: {shown.strip() or 'nothing'}")
    if searched:
        sentences.append(cited_summary(text, found))
    return "\n\n".join(sentences)


# Which function to call ---------------------------------------------------------------------------------------------


def tool_script(request: CompletionRequest, text: str) -> Script | None:
    """The calls this turn makes, or None for a turn of words."""
    offered: dict[str, Mapping[str, Any]] = {tool["function"]["name"]: tool["function"] for tool in request.tools}
    choice = request.tool_choice
    if choice == "none" or not offered:
        return None
    if isinstance(choice, Mapping):
        forced = choice["function"]["name"] if choice.get("type") == "function" else choice.get("type")
        names = [forced] if forced in offered else []
    else:
        names = [] if IDENTITY.search(text) and choice != "required" else chosen(offered, text)
        if not names and choice == "required":
            names = [next(iter(offered))]
    calls: list[tuple[str, str]] = []
    for name in names:
        calls += calls_of(offered[name], text)
    if not calls:
        return None
    return called(request, calls if request.parallel_tool_calls else calls[:1])


def chosen(offered: Mapping[str, Mapping[str, Any]], text: str) -> list[str]:
    """Functions that the text names; else file_search, where it is offered; else those whose parameters it names."""
    words = content_words(text)
    named = [name for name in offered if name != "file_search" and (name in text or words & own_words(name))]
    if named or "file_search" in offered:
        return named or ["file_search"]
    for name, function in offered.items():
        properties = (function.get("parameters") or {}).get("properties") or {}
        if any(words & own_words(parameter) for parameter in properties):
            return [name]
    return []


def own_words(name: str) -> set[str]:
    """The telling words of an identifier: get_currentWeather → {weather}."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[_\-.]", " ", name)
    return content_words(spaced) - GENERIC_WORDS


def calls_of(function: Mapping[str, Any], text: str) -> list[tuple[str, str]]:
    """One call; or one for each place, where the text asks for several and the function takes a text of them."""
    name = function["name"]
    if name == "file_search":
        return [(name, orjson.dumps({"query": search_query(text)}).decode())]
    schema = function.get("parameters") or {}
    listed = any(property.get("type") == "array" for property in (schema.get("properties") or {}).values())
    places = places_in(text)
    asked: list[str | None] = [None] if listed or len(places) < 2 else [*places]
    return [
        (name, orjson.dumps(instance_of(schema or {"type": "object"}, text, place=place)).decode()) for place in asked
    ]
