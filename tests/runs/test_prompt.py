"""What the model is told (contract 2.5, 2.8, 10.17)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assistants.models import Message, Thread
from assistants.tokens import count_tokens
from runs import progress, prompt, queue, transitions
from runs.models import ACTIVE, Run, RunStatus, RunStep
from runs.prompt import UNKNOWN_OUTCOME, PromptTooLong
from runs.story import Piece
from runs.transitions import usage_of
from tests.conftest import ApiClient
from tests.runs.conftest import GET_WEATHER, ask

pytestmark = pytest.mark.django_db

RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0}


def claimed(run: Run) -> Run:
    mine = queue.claim_one(Run.objects.get(pk=run.pk), "worker_a")
    assert mine is not None
    return mine


def say(run: Run, text: str) -> None:
    """A finished message step of a claimed run."""
    opened = progress.open_message(run, [Piece(text)])
    content = [{"type": "text", "text": {"value": text, "annotations": []}}]
    progress.finish_message(run, opened, content, usage_of(10, 1))


def called(id: str, output: str | None = None, arguments: str = "{}") -> dict[str, Any]:
    return {
        "id": id,
        "type": "function",
        "function": {"name": "get_weather", "arguments": arguments, "output": output},
    }


def search(run: Run, *calls: tuple[str, list[str]]) -> RunStep:
    """A finished search step: (call id, texts found)."""
    entries = []
    for id, texts in calls:
        results = [found(id, number, text) for number, text in enumerate(texts)]
        details = {"ranking_options": RANKING, "results": results}
        entries.append({"id": id, "type": "file_search", "file_search": details})
    step = progress.open_tool_step(run, [])
    arguments = {id: json.dumps({"query": id}) for id, _ in calls}
    progress.finish_tool_step(run, step, entries, arguments, usage_of(10, 1))
    return step


def found(id: str, number: int, text: str) -> dict[str, Any]:
    return {
        "file_id": f"file-{id}{number}",
        "file_name": f"{id}{number}.txt",
        "score": 0.5,
        "attributes": {},
        "content": [{"type": "text", "text": text}],
    }


def messages_of(run: Run) -> list[Any]:
    return list(prompt.build(run).request.messages)


def test_instructions_then_the_thread_in_order(alice: ApiClient) -> None:
    thread, first = ask(alice, "One")
    transitions.end_run(first, transitions.Ending(RunStatus.FAILED), only_from=ACTIVE)
    alice.make(f"/threads/{thread.pk}/messages", {"role": "assistant", "content": "Two"})
    parts = [
        {"type": "text", "text": "Three"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "text", "text": "Four"},
    ]
    alice.make(f"/threads/{thread.pk}/messages", {"role": "user", "content": parts})
    body = {"assistant_id": first.assistant_id, "instructions": "Be brief."}
    run = alice.make(f"/threads/{thread.pk}/runs", body)
    assert messages_of(Run.objects.get(pk=run["id"])) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "Two"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Three"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
                {"type": "text", "text": "Four"},
            ],
        },
    ]


def test_the_request_carries_the_options_of_the_run(alice: ApiClient) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object"}}}
    options = {
        "temperature": 0.5, "top_p": 0.25, "parallel_tool_calls": False, "reasoning_effort": "low",
        "max_completion_tokens": 400, "response_format": schema,
    }  # fmt: skip
    _, run = ask(alice, "Hello", tools=[{"type": "file_search"}, GET_WEATHER], **options)
    request = prompt.build(run).request
    assert {name: getattr(request, name) for name in options} == options
    assert [tool["function"]["name"] for tool in request.tools] == ["file_search", "get_weather"]
    function = {key: value for key, value in run.tools[1]["function"].items() if key != "strict"}
    assert request.tools[1] == {"type": "function", "function": function}, "false says nothing"
    assert prompt.build(run).for_model("other").model == "other"


@pytest.mark.parametrize(("given", "sent"), [("auto", None), ({"type": "text"}, {"type": "text"})])
def test_response_format_auto_is_not_sent(given: Any, sent: Any, alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", response_format=given)
    assert prompt.build(run).request.response_format == sent


def test_what_the_run_did_so_far_is_told_as_the_models_own_turns(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[GET_WEATHER])
    mine = claimed(run)
    say(mine, "Let me look.")
    step = progress.open_tool_step(mine, [])
    calls = [called("call_a", arguments='{"city": "Rome"}'), called("call_b")]
    progress.require_action(mine, step, calls, {}, usage_of(10, 1))
    outputs = [{"tool_call_id": "call_b", "output": "snow"}, {"tool_call_id": "call_a", "output": ""}]
    transitions.submit_tool_outputs(mine, outputs)
    mine = claimed(run)
    say(mine, "And now")
    functions = [
        {"id": id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
        for id, arguments in (("call_a", '{"city": "Rome"}'), ("call_b", "{}"))
    ]
    assert messages_of(mine) == [
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": functions},
        {"role": "tool", "tool_call_id": "call_a", "content": ""},
        {"role": "tool", "tool_call_id": "call_b", "content": "snow"},
        {"role": "assistant", "content": "And now"},
    ]


def test_a_call_without_an_output_is_told_as_such(alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[GET_WEATHER])
    mine = claimed(run)
    progress.finish_tool_step(mine, progress.open_tool_step(mine, []), [called("call_a")], {}, usage_of())
    assert messages_of(mine)[-1]["content"] == UNKNOWN_OUTCOME


def test_search_results_are_told_with_markers_to_cite(alice: ApiClient) -> None:
    """Numbered by step and, within it, over all its calls, so that a marker means one passage."""
    _, run = ask(alice, "Hello", tools=[{"type": "file_search"}])
    mine = claimed(run)
    search(mine, ("a", ["High tide.", "Low tide."]), ("b", ["The moon."]))
    say(mine, "Hm.")
    search(mine, ("c", ["The sun."]))
    built = prompt.build(mine)
    told = [json.loads(one["content"])["results"] for one in built.request.messages if one["role"] == "tool"]
    assert [[(one["marker"], one["text"]) for one in results] for results in told] == [
        [("【0:0†source】", "High tide."), ("【0:1†source】", "Low tide.")],
        [("【0:2†source】", "The moon.")],
        [("【2:0†source】", "The sun.")],
    ]
    assert told[0][0]["file_name"] == "a0.txt"
    assert built.sources == {(0, 0): "file-a0", (0, 1): "file-a1", (0, 2): "file-b0", (2, 0): "file-c0"}
    turn = built.request.messages[1]
    function = {"name": "file_search", "arguments": '{"query": "a"}'}
    assert turn["tool_calls"][0] == {"id": "a", "type": "function", "function": function}


def test_markers_of_earlier_runs_are_taken_out_those_of_this_one_stay(alice: ApiClient) -> None:
    thread, first = ask(alice, "Hello")
    mine = claimed(first)
    say(mine, "High tide【0:0†source】.")
    progress.fail(mine, "server_error", "No.")
    later = alice.make(f"/threads/{thread.pk}/runs", {"assistant_id": first.assistant_id})
    second = claimed(Run.objects.get(pk=later["id"]))
    say(second, "Low tide【0:1†source】.")
    assert [one["content"] for one in messages_of(second)] == ["Hello", "High tide.", "Low tide【0:1†source】."]


# Truncation -----------------------------------------------------------------------------------------------------------


def chatty(client: ApiClient, *texts: str, **fields: Any) -> Run:
    """A run on a thread with these messages, user and assistant in turns."""
    roles = ["user", "assistant"] * len(texts)
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    thread = client.make("/threads", {"messages": messages})
    assistant = client.make("/assistants", {"model": "scripted", "instructions": fields.pop("instructions", None)})
    run = client.make(f"/threads/{thread['id']}/runs", {"assistant_id": assistant["id"], **fields})
    return Run.objects.get(pk=run["id"])


@pytest.mark.parametrize(("count", "told"), [(1, ["e"]), (3, ["c", "d", "e"]), (9, ["a", "b", "c", "d", "e"])])
def test_last_messages_keeps_the_newest(count: int, told: list[str], alice: ApiClient) -> None:
    strategy = {"type": "last_messages", "last_messages": count}
    run = chatty(alice, "a", "b", "c", "d", "e", truncation_strategy=strategy, instructions="Hi.")
    assert [one["content"] for one in messages_of(run)] == ["Hi.", *told]


def test_last_messages_counts_the_threads_messages_only(alice: ApiClient) -> None:
    strategy = {"type": "last_messages", "last_messages": 1}
    run = claimed(chatty(alice, "a", "b", "c", truncation_strategy=strategy))
    say(run, "So far")
    assert [one["content"] for one in messages_of(run)] == ["c", "So far"]


def test_a_small_prompt_budget_drops_the_oldest(alice: ApiClient) -> None:
    long = "word " * 100
    run = chatty(alice, f"1 {long}", f"2 {long}", f"3 {long}", f"4 {long}", "5", max_prompt_tokens=256)
    told = [one["content"] for one in messages_of(run)]
    assert told[-1] == "5"
    assert 1 < len(told) < 5
    assert [one[0] for one in told] == ["1", "2", "3", "4", "5"][-len(told) :]
    assert sum(count_tokens(one) for one in told) <= 256


def test_instructions_count_and_stay(alice: ApiClient) -> None:
    run = chatty(alice, "word " * 100, "b", "c", max_prompt_tokens=256, instructions="rule " * 180)
    assert [one["content"].split()[0] for one in messages_of(run)] == ["rule", "b", "c"]


def test_a_newest_message_that_does_not_fit_is_too_long(alice: ApiClient) -> None:
    run = chatty(alice, "a", "b", "word " * 300, max_prompt_tokens=256)
    with pytest.raises(PromptTooLong):
        prompt.build(run)


def test_the_prompt_budget_is_one_for_the_whole_run(alice: ApiClient) -> None:
    run = claimed(chatty(alice, "a", max_prompt_tokens=256))
    assert len(messages_of(run)) == 1
    say(run, "So far")  # 10 prompt tokens
    assert len(messages_of(run)) == 2
    RunStep.objects.update(usage=usage_of(300, 1))
    with pytest.raises(PromptTooLong):
        prompt.build(run)


def test_no_output_is_told_without_its_call(alice: ApiClient) -> None:
    _, run = ask(alice, "word " * 150, tools=[{"type": "file_search"}], max_prompt_tokens=400)
    mine = claimed(run)
    search(mine, ("a", ["tide " * 350]))
    search(mine, ("b", ["moon " * 60]))
    told = messages_of(mine)
    assert told, "the newest turn fits"
    calls = {call["id"] for one in told for call in one.get("tool_calls", ())}
    assert {one["tool_call_id"] for one in told if one["role"] == "tool"} == calls == {"b"}


def test_a_long_thread_is_cut_in_reasonable_time(alice: ApiClient) -> None:
    """Each message is measured once: with a sum per dropped message, this takes minutes."""
    thread, run = ask(alice, "Hello", max_prompt_tokens=256)
    content = [{"type": "text", "text": {"value": "word " * 200, "annotations": []}}]
    Message.objects.bulk_create(Message(thread=thread, role="user", content=content) for _ in range(3000))
    assert len(messages_of(run)) == 1


# Tool choice ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("none", "none"),
        ("required", "required"),
        ({"type": "file_search"}, {"type": "function", "function": {"name": "file_search"}}),
        (
            {"type": "function", "function": {"name": "get_weather"}},
            {"type": "function", "function": {"name": "get_weather"}},
        ),
    ],
)
def test_a_choice_of_tools_holds_for_the_first_turn(given: Any, sent: Any, alice: ApiClient) -> None:
    _, run = ask(alice, "Hello", tools=[{"type": "file_search"}, GET_WEATHER], tool_choice=given)
    mine = claimed(run)
    assert prompt.build(mine).request.tool_choice == sent
    progress.open_message(mine, [Piece("Broken")])
    assert prompt.build(mine).request.tool_choice == sent, "a turn that came to nothing does not count"
    search(mine, ("a", []))
    assert prompt.build(mine).request.tool_choice == ("none" if given == "none" else "auto")


def test_threads_do_not_mix(alice: ApiClient) -> None:
    ask(alice, "Elsewhere")
    _, run = ask(alice, "Here")
    assert [one["content"] for one in messages_of(run)] == ["Here"]
    assert Thread.objects.count() == 2
