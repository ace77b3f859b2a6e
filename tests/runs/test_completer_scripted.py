"""scripted.py: what it says and calls is decided by the request, at the pace of the settings; never by chance."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import aclosing
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from jsonschema import Draft202012Validator
from pytest_django.fixtures import Settings

from runs.completers import (
    CompleterError,
    CompleterEvent,
    CompletionRequest,
    Finish,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from runs.completers.arguments import instance_of, places_in
from runs.completers.extract import FILES_MAX, search_query
from runs.completers.scripted import ScriptedCompleter, long_text, pieces_of
from tests.loops import PATIENCE_SECONDS
from tests.runs.scripted import (
    BRIEF,
    FILE_SEARCH,
    INSECTS,
    PLAN,
    WEATHER,
    after_call,
    asked,
    calls,
    calls_in,
    events_of,
    found,
    function,
    passage,
    said,
    text_of,
)

DRAGON = "Summarize 'Project Dragon' based on all available files"


@pytest.fixture(autouse=True)
def quick(settings: Settings) -> None:
    settings.KUMOS_SCRIPTED_TOKENS_PER_SECOND = 100_000


# Itself ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["Who are you?", "Are you an AI?", "Which model are you?", "Hello there."])
def test_says_that_it_is_no_language_model(question: str) -> None:
    answer = said(question)
    assert "Kumos" in answer
    assert "not a language model" in answer


def test_who_are_you_is_not_searched_for() -> None:
    assert calls("Who are you?", tools=[FILE_SEARCH, WEATHER]) == []


@pytest.mark.parametrize(
    ("text", "title"),
    [
        (f"Question: {DRAGON}\n\nAnswer: Here is what 3 files say.", "Project Dragon"),
        (
            "Question: what is the total budget of Project Dragon?\n\nAnswer: 1.84 million",
            "Total budget of Project Dragon",
        ),
        (
            "Question: !slow 12 !long 150\n\nAnswer: Clouds gather over the valley and drift",
            "Clouds gather over the valley",
        ),
        ("Question: !echo Guten Tag, wo ist der Bahnhof in Bonn\n\nAnswer: …", "Guten Tag wo ist der Bahnhof"),
        ("heat pumps", "Heat pumps"),
        ("Question: ?!\n\nAnswer: …", "A scripted answer"),
        ("", "A scripted answer"),
    ],
)
def test_a_title_is_a_few_words_of_the_question(text: str, title: str) -> None:
    wanted = {"role": "system", "content": "Write a title for this conversation: at most six words."}
    request = CompletionRequest(model="scripted", messages=[wanted, {"role": "user", "content": text}])
    assert text_of(events_of(request)) == title


def test_same_request_same_events() -> None:
    request = asked("What is the weather in Paris and Rome?", tools=[WEATHER])
    assert events_of(request) == events_of(request)


def test_text_may_come_as_parts() -> None:
    parts = [{"type": "text", "text": "!echo from a part"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    request = CompletionRequest(model="scripted", messages=[{"role": "user", "content": parts}])
    assert text_of(events_of(request)) == "from a part"


def test_a_conversation_without_a_user_message_is_answered() -> None:
    request = CompletionRequest(model="scripted", messages=[{"role": "system", "content": "Be kind."}])
    assert events_of(request)[-1] == Finish("stop")


# Pieces, pace, limits -------------------------------------------------------------------------------------------------


def test_pieces_are_words_with_their_space_and_markers_alone() -> None:
    text = "One two.【4:0†source】 Three\n\n**four** 【 open  end "
    assert "".join(pieces_of(text)) == text
    assert pieces_of("One two.【4:0†source】 Three") == ["One ", "two.", "【4:0†source】", " Three"]


def test_usage_counts_the_pieces() -> None:
    *deltas, usage, finish = events_of(asked("!long 25"))
    assert usage == Usage(prompt_tokens=2, completion_tokens=25)
    assert len(deltas) == 25
    assert finish == Finish("stop")


def test_long_text_numbers_every_tenth_word() -> None:
    text = said("!long 40")
    assert text == long_text(40)
    assert re.findall(r"\d+", text) == ["10", "20", "30", "40"]
    assert len(text.split()) == 40


def test_pace_is_held_over_the_whole_and_does_not_drift(settings: Settings) -> None:
    """A reader that needs most of each interval for itself is not made to wait longer than the pace says."""

    @async_to_sync
    async def times(rate: float) -> list[float]:
        settings.KUMOS_SCRIPTED_TOKENS_PER_SECOND = rate
        clock = asyncio.get_running_loop().time
        started = clock()
        seen = []
        async for event in ScriptedCompleter().stream(asked("!long 10")):
            if isinstance(event, TextDelta):
                seen.append(clock() - started)
                await asyncio.sleep(0.9 / rate)
        return seen

    seen = times(4)
    assert all(moment >= number / 4 - 0.002 for number, moment in enumerate(seen)), "never early"
    drifting = 9 * 1.9 / 4
    assert seen[-1] < drifting, "pauses count from the start"


def test_first_piece_does_not_wait_for_the_pace() -> None:
    @async_to_sync
    async def first() -> CompleterEvent:
        async with (
            asyncio.timeout(PATIENCE_SECONDS),
            aclosing(ScriptedCompleter().stream(asked("!slow 0.01 !long 3"))) as events,
        ):
            return await anext(events)

    assert isinstance(first(), TextDelta)


def test_token_limit_ends_with_length() -> None:
    events = events_of(asked("!long 30", max_completion_tokens=7))
    assert text_of(events).split() == long_text(7).split()
    assert events[-2:] == [Usage(prompt_tokens=2, completion_tokens=7), Finish("length")]
    assert events_of(asked("!long 7", max_completion_tokens=7))[-1] == Finish("stop")


# Directives -----------------------------------------------------------------------------------------------------------


def test_directives_end_as_told() -> None:
    assert said("!echo  two  spaces\nand a line ") == "two  spaces\nand a line"
    assert events_of(asked("!length 3"))[-1] == Finish("length")
    assert events_of(asked("!filter 3"))[-1] == Finish("content_filter")
    assert text_of(events_of(asked("!filter 3"))) == long_text(3)


def test_directive_counts_only_at_the_start() -> None:
    assert "language model" in said("Please do not !echo this")


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "invalid_prompt"])
def test_fail_raises_after_the_words(code: str) -> None:
    @async_to_sync
    async def until_it_fails() -> tuple[str, str]:
        seen = ""
        try:
            async for event in ScriptedCompleter().stream(asked(f"!fail {code} after 2 words")):
                seen += event.text if isinstance(event, TextDelta) else "?"
        except CompleterError as error:
            return seen, error.code
        return seen, "no error"

    assert until_it_fails() == (long_text(2), code)


def test_stall_says_one_word_and_waits_to_be_cancelled() -> None:
    @async_to_sync
    async def stalled() -> list[CompleterEvent]:
        seen: list[CompleterEvent] = []
        second = asyncio.Event()

        async def read() -> None:
            async for event in ScriptedCompleter().stream(asked("!stall")):
                seen.append(event)
            second.set()

        task = asyncio.create_task(read())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.wait(), 0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    assert stalled() == [TextDelta("Clouds")]


def test_call_calls_and_then_answers_and_loop_never_does() -> None:
    output = after_call("f", "42")
    assert calls('!call f {"a": [1, 2]}') == [("f", {"a": [1, 2]})]
    assert calls("!call f", *output) == []
    assert "42" in said("!call f", *output)
    assert calls("!loop f", *output) == [("f", {})]


def test_pace_directives_leave_the_rest_as_the_message() -> None:
    assert said("!fast !echo yes") == "yes"
    assert calls(f"!slow 5000 {DRAGON}", tools=[FILE_SEARCH]) == [("file_search", {"query": "Project Dragon"})]


@pytest.mark.parametrize("text", ["!", "!long", "!call", "!slow", "!slow x", "!nothing", "!long 99999999999", ""])
def test_odd_directives_do_not_break_it(text: str) -> None:
    events = events_of(asked(f"!fast {text}", max_completion_tokens=20))
    assert isinstance(events[-1], Finish)


def test_fail_without_a_code_is_a_server_error() -> None:
    with pytest.raises(CompleterError, match="server_error"):
        events_of(asked("!fail"))


# Searching and summarising --------------------------------------------------------------------------------------------


def test_searches_where_it_can() -> None:
    events = events_of(asked(DRAGON, tools=[FILE_SEARCH]))
    assert calls_in(events) == [("file_search", {"query": "Project Dragon"})]
    assert len([event for event in events if isinstance(event, ToolCallDelta)]) > 1
    assert events[-1] == Finish("tool_calls")
    assert calls(DRAGON, tools=[FILE_SEARCH], tool_choice="none") == []


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("What is the budget of Project Dragon?", "Project Dragon budget"),
        ("When does phase two start, and who leads it?", "phase two start leads"),
        ("Tell me about “night shift rules”", "night shift rules"),
        ("compare project dragon with Project Drake", "Project Drake Project Dragon"),
        ("Compare Project Dragon", "Project Dragon"),
        ("what is it", "what is it"),
    ],
)
def test_query_is_made_of_the_telling_words(text: str, query: str) -> None:
    assert search_query(text) == query


def test_summary_cites_each_sentence_with_its_own_passage() -> None:
    answer = said(DRAGON, *found(BRIEF, PLAN, INSECTS), tools=[FILE_SEARCH])
    assert answer.startswith("Here is what 2 files say about Project Dragon:")
    cited = dict(re.findall(r"([^】]+?)(【4:\d†source】)", answer.split("\n\n", 1)[1].replace("**", "")))
    by_marker = {one["marker"]: " ".join(one["text"].split()) for one in (BRIEF, PLAN)}
    assert set(cited.values()) == by_marker.keys()
    for sentence, marker in cited.items():
        assert sentence.split(": ", 1)[-1].strip() in by_marker[marker]
    assert "dragon_brief.md" in answer
    assert "plan.pdf" in answer


def test_a_marker_is_one_delta() -> None:
    events = events_of(asked(DRAGON, *found(BRIEF)))
    markers = [event.text for event in events if isinstance(event, TextDelta) and "【" in event.text]
    assert markers
    assert set(markers) == {BRIEF["marker"]}


def test_near_misses_are_not_summarised() -> None:
    answer = said(DRAGON, *found(INSECTS, BRIEF))
    assert "insects" not in answer
    assert INSECTS["marker"] not in answer
    aside = passage(
        5,
        "minutes.txt",
        "The board met on Monday in the old hall. " * 6 + "Project Dragon is late. Lunch was late that day.",
    )
    assert "minutes.txt" not in said(DRAGON, *found(BRIEF, aside))
    answer = said("Is Project Dragon late?", *found(BRIEF, aside))
    assert "Project Dragon is late." in answer
    assert "Lunch" not in answer
    flower = passage(6, "garden.md", "The garden has a snapdragon in the north bed.", 0.9)
    assert "north bed" not in said("Summarize 'Dragon'", *found(BRIEF, flower))


def test_far_lower_scores_are_left_out_where_no_name_helps() -> None:
    good = passage(0, "rules.md", "Night shifts end at six in the morning. Bring warm clothes to night shifts.", 0.9)
    poor = passage(1, "menu.md", "Night shifts end with soup, says the menu.", 0.2)
    answer = said("when do night shifts end?", *found(good, poor))
    assert good["marker"] in answer
    assert poor["marker"] not in answer


def test_a_question_is_answered_with_the_sentences_that_fit() -> None:
    answer = said("What is the budget of Project Dragon?", *found(BRIEF, PLAN))
    assert "budget is 4 million euros for two years." in answer
    assert "Phase one" not in answer


@pytest.mark.parametrize("text", [DRAGON, "What is Project Dragon?", "summarize project dragon"])
@pytest.mark.parametrize("results", [[], [INSECTS]])
def test_nothing_found_is_said_plainly(text: str, results: list[dict[str, Any]]) -> None:
    """Rather than summarising what was found instead, under the name that was asked for."""
    answer = said(text, *found(*results))
    assert "found nothing about Project Dragon" in answer
    assert "【" not in answer


def test_overlapping_passages_say_a_sentence_once() -> None:
    again = passage(3, "dragon_brief.md", BRIEF["text"] + " More follows in the annex.")
    assert said(DRAGON, *found(BRIEF, again)).count("renews the billing system") == 1


def test_many_files_are_kept_readable() -> None:
    many = [passage(n, f"dragon_{n}.md", f"Project Dragon has part number {n} of many. It goes on.") for n in range(20)]
    assert said(DRAGON, *found(*many)).count("**dragon_") == FILES_MAX


def test_text_without_sentences_is_still_cited() -> None:
    table = passage(0, "dragon.csv", "Project Dragon;b;c\n1;2;3")
    assert table["marker"] in said(DRAGON, *found(table))


def test_results_of_another_shape_are_quoted_not_dropped() -> None:
    assert "search is off" in said(DRAGON, *after_call("file_search", "search is off"))


# Client functions -----------------------------------------------------------------------------------------------------


def test_calls_the_function_that_is_named() -> None:
    wind = function("get_wind", station={"type": "string"})
    assert calls("What's the weather in Oslo today?", tools=[wind, WEATHER]) == [
        ("get_weather", {"location": "Oslo", "unit": "celsius"})
    ]
    assert calls("Give me kelvin: the weather in Oslo", tools=[WEATHER])[0][1]["unit"] == "kelvin"
    assert calls("Sing a song", tools=[wind, WEATHER]) == []
    assert calls("Which station is it?", tools=[wind])[0][0] == "get_wind", "by its parameter"
    assert calls("What's the weather in Oslo?", tools=[FILE_SEARCH, WEATHER])[0][0] == "get_weather"
    assert calls("Summarize the report", tools=[FILE_SEARCH, WEATHER])[0][0] == "file_search"


def test_several_places_are_several_calls_if_parallel() -> None:
    text = "Compare the weather in Paris, Rome and San Francisco, CA please"
    places = [arguments["location"] for _, arguments in calls(text, tools=[WEATHER])]
    assert places == ["Paris", "Rome", "San Francisco, CA"]
    assert len(calls(text, tools=[WEATHER], parallel_tool_calls=False)) == 1
    cities = function("get_weather", cities={"type": "array", "items": {"type": "string"}})
    assert calls(text, tools=[cities]) == [("get_weather", {"cities": places})]


def test_tool_choice_is_obeyed() -> None:
    forced = {"type": "function", "function": {"name": "get_weather"}}
    assert calls("Sing", tools=[FILE_SEARCH, WEATHER], tool_choice=forced)[0][0] == "get_weather"
    assert calls("Sing", tools=[WEATHER, FILE_SEARCH], tool_choice={"type": "file_search"})[0][0] == "file_search"
    assert calls("Sing", tools=[WEATHER], tool_choice="required")[0][0] == "get_weather"
    assert calls("Weather in Oslo", tools=[WEATHER], tool_choice="none") == []


def test_answer_quotes_the_outputs() -> None:
    answer = said("Weather in Oslo?", *after_call("get_weather", '{"t": 21}'), tools=[WEATHER])
    assert "get_weather" in answer
    assert '{"t": 21}' in answer


def test_numbers_come_from_the_text() -> None:
    add = function("add", a={"type": "integer"}, b={"type": "number"}, c={"type": "integer", "minimum": 5})
    assert calls("add 2 and 3.5", tools=[add]) == [("add", {"a": 2, "b": 3.5, "c": 5})]


def test_places_are_capitalised_names_behind_a_preposition() -> None:
    assert places_in("weather in Paris and Rome for Anna Lee in Paris") == ["Paris", "Rome", "Anna Lee"]
    assert places_in("in the morning") == []


SCHEMAS: list[dict[str, Any]] = [
    {"type": "object", "properties": {"a": {"type": "string", "minLength": 300}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": "string", "maxLength": 3}}, "required": ["a"]},
    {"type": "object", "properties": {"a": {"type": ["null", "integer"]}, "b": {"const": 4}}, "required": ["a", "b"]},
    {"properties": {"list": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 3}}, "required": ["list"]},
    {"properties": {"n": {"type": "number", "exclusiveMinimum": 7, "maximum": 9}}, "required": ["n"]},
    {"properties": {"n": {"type": "integer", "multipleOf": 5, "minimum": 10}}, "required": ["n"]},
    {
        "properties": {
            "d": {"type": "string", "format": "date"},
            "e": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        }
    },
    {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "v": {"type": "string"}},
                "required": ["v"],
            }
        },
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/node"}},
        "required": ["root"],
        "additionalProperties": False,
    },
    {"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}}, {"required": ["a"]}]},
]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_arguments_fit_their_schema(schema: dict[str, Any]) -> None:
    value = instance_of({"type": "object", **schema}, "From Oslo, 3 nights at 12.5")
    assert list(Draft202012Validator(schema).iter_errors(value)) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"properties": {"a": {"$ref": "#/no/where"}}, "required": ["a"]},
        {"properties": {key: {"type": "array", "minItems": 99, "items": {"$ref": "#"}} for key in "abc"}},
        {"properties": {"a": {"type": "array", "minItems": "many"}}},
        {"properties": ["a"], "required": 3},
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_hostile_schemas_are_survived(schema: dict[str, Any]) -> None:
    assert len(json.dumps(instance_of(schema, "text"))) < 1_000_000


# Response formats -----------------------------------------------------------------------------------------------------


def test_json_object_holds_the_answer() -> None:
    answer = json.loads(said(DRAGON, *found(BRIEF), response_format={"type": "json_object"}))
    assert BRIEF["marker"] in answer["answer"]


def test_json_schema_gets_an_instance() -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "required": ["city", "tags"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = json.loads(said("Where is it? It is in Oslo.", response_format=wanted))
    Draft202012Validator(schema).validate(answer)
    assert answer["city"] == "Oslo"
