"""The grammar of a run's stream (contract 3.3–3.9), as strict as the strictest SDK: a machine that reads its frames.

    grammar = Grammar()
    grammar.take("thread.run.created", {…})       # AssertionError where the frame must not come, or is not right
    grammar.done()                                # … and where the stream must not end

What clients add up (deltas) must come out as the objects that end steps and messages. A stream that goes on after
tool outputs is read by the machine that read the stream in front of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]

RUN_KEYS = {
    "id", "object", "created_at", "assistant_id", "thread_id", "status", "started_at", "expires_at", "cancelled_at",
    "failed_at", "completed_at", "required_action", "last_error", "model", "instructions", "tools", "tool_resources",
    "metadata", "temperature", "top_p", "max_completion_tokens", "max_prompt_tokens", "truncation_strategy",
    "incomplete_details", "usage", "response_format", "tool_choice", "parallel_tool_calls", "reasoning_effort"
}  # fmt: skip
STEP_KEYS = {
    "id", "object", "created_at", "run_id", "assistant_id", "thread_id", "type", "status", "cancelled_at",
    "completed_at", "expires_at", "expired_at", "failed_at", "last_error", "step_details", "metadata", "usage"
}  # fmt: skip
MESSAGE_KEYS = {
    "id", "object", "created_at", "thread_id", "status", "incomplete_details", "completed_at", "incomplete_at",
    "role", "content", "assistant_id", "run_id", "attachments", "metadata"
}  # fmt: skip
THREAD_KEYS = {
    "id", "object", "created_at", "metadata", "tool_resources"
}  # fmt: skip
USAGE_KEYS = ("prompt_tokens", "completion_tokens", "total_tokens")
CHANGING = {
    "status", "started_at", "expires_at", "cancelled_at", "failed_at", "completed_at", "required_action",
    "last_error", "incomplete_details", "usage"
}  # fmt: skip

EARLY = {"run.failed", "run.incomplete", "run.cancelling", "run.expired"}
TERMINAL = {"run.completed", "run.failed", "run.incomplete", "run.cancelled", "run.expired"}
AFTER_INCOMPLETE = {
    "run_cancelled": {"step.cancelled"},
    "run_failed": {"step.failed"},
    "run_expired": {"step.expired"},
    "max_tokens": {"step.completed"},
    "content_filter": {"step.completed"},
}
STEP_STAMPS = {"cancelled": "cancelled_at", "completed": "completed_at", "failed": "failed_at", "expired": "expired_at"}


def read(story: Iterable[tuple[str, Object]]) -> Grammar:
    """A whole stream, without its `done`, through a new machine."""
    grammar = Grammar()
    for name, data in story:
        grammar.take(name, data)
    grammar.done()
    return grammar


class Grammar:
    """`taken` are the names so far. `run`, `step` and `message` are the objects as they were last shown."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.run: Object = {}
        self.step: Object | None = None
        self.message: Object | None = None
        self.ended_steps: list[Object] = []
        self.messages: list[Object] = []
        self.calls: list[Object] = []
        self.parts: list[Object] = []
        self.ids: set[str] = set()
        self.next = {"thread.created", "run.created"}

    def take(self, name: str, data: Object) -> None:
        short = name.removeprefix("thread.") if name != "thread.created" else name
        assert short in self.next, f"{short} behind {self.taken[-3:]}, expected {sorted(self.next)}"
        assert (name.count(".delta") == 1) == data["object"].endswith(".delta")
        self.taken.append(short)
        kind, _, what = short.rpartition(".")
        reader = {"thread": self._thread, "run": self._run, "run.step": self._step, "message": self._message}[kind]
        reader(what, data)

    def done(self) -> None:
        """The stream ends here."""
        last = self.taken[-1]
        assert last in TERMINAL or last == "run.requires_action", f"done behind {last}"

    # Thread and run -----------------------------------------------------------------------------------------------

    def _thread(self, what: str, thread: Object) -> None:
        assert thread.keys() == THREAD_KEYS
        self.thread_id = thread["id"]
        self.next = {"run.created"}

    def _run(self, what: str, run: Object) -> None:
        check_run(run, "queued" if what == "created" else what)
        if what == "created":
            assert not hasattr(self, "thread_id") or run["thread_id"] == self.thread_id
            assert run["started_at"] is None
        else:
            for key in RUN_KEYS - CHANGING:
                assert run[key] == self.run[key], key
        if what == "requires_action":
            self._check_required(run["required_action"])
        if f"run.{what}" in TERMINAL:
            assert self.step is None, "the run ended with an open step"
            total = {key: sum(step["usage"][key] for step in self.ended_steps if step["usage"]) for key in USAGE_KEYS}
            assert {key: run["usage"][key] for key in USAGE_KEYS} == total
        self.run = run
        self.next = self._after_run(what)

    def _after_run(self, what: str) -> set[str]:
        match what:
            case "created":
                return {"run.queued"}
            case "queued":
                return {"run.in_progress", "run.failed", "run.cancelling", "run.expired"}
            case "in_progress":
                return {"run.step.created"} | EARLY
            case "requires_action":
                return {"run.step.completed", "run.step.expired", "run.cancelling"}
            case "cancelling" if self.message is not None:
                return {"message.incomplete"}
            case "cancelling" if self.step is not None:
                return {"run.step.cancelled", "run.step.expired"}
            case "cancelling":
                return {"run.cancelled", "run.expired"}
        return set()

    def _check_required(self, required: Object) -> None:
        """What is asked for is what was streamed, without outputs; but functions that nobody has are not asked for."""
        assert required["type"] == "submit_tool_outputs"
        known = {tool["function"]["name"] for tool in self.run["tools"] if tool["type"] == "function"}
        assert required["submit_tool_outputs"]["tool_calls"] == [
            {**call, "function": {key: call["function"][key] for key in ("name", "arguments")}}
            for call in self.calls
            if call["type"] == "function" and call["function"]["name"] in known
        ]

    # Steps --------------------------------------------------------------------------------------------------------

    def _step(self, what: str, step: Object) -> None:
        if what == "delta":
            self._step_delta(step)
            return
        check_step(step, self.run, "in_progress" if what == "created" else what)
        match what:
            case "created":
                self._open(step)
                self.calls = []
                if step["type"] == "tool_calls":
                    assert step["step_details"] == {"type": "tool_calls", "tool_calls": []}
                self.next = {"run.step.in_progress"}
            case "in_progress":
                assert step == self.step
                self.next = {"message.created" if step["type"] == "message_creation" else "run.step.delta"}
            case _:
                self._end_step(what, step)
                return
        self.step = step

    def _open(self, thing: Object) -> None:
        assert thing["id"] not in self.ids, "created twice"
        self.ids.add(thing["id"])

    def _step_delta(self, delta: Object) -> None:
        assert self.step is not None
        assert delta.keys() == {"id", "object", "delta"}
        assert (delta["id"], delta["object"]) == (self.step["id"], "thread.run.step.delta")
        assert delta["delta"].keys() == {"step_details"}
        details = delta["delta"]["step_details"]
        assert details.keys() == {"type", "tool_calls"}
        assert details["type"] == "tool_calls"
        indexes = [entry["index"] for entry in details["tool_calls"]]
        assert indexes, "an empty delta"
        assert indexes == sorted(set(indexes)), "one entry per index in one delta"
        for entry in details["tool_calls"]:
            add_call(self.calls, entry)
        client = any(call["type"] == "function" for call in self.calls)
        ends = {"run.requires_action"} if client else set()
        # Complete without outputs: a search or an interpreter; or, whatever is called, a token limit.
        ends |= {"run.step.completed", "run.step.failed", "run.step.expired", "run.cancelling"}
        self.next = {"run.step.delta"} | ends

    def _end_step(self, what: str, step: Object) -> None:
        opened = self.step
        assert opened is not None
        for key in ("id", "type", "created_at", "run_id", "thread_id", "assistant_id", "metadata"):
            assert step[key] == opened[key], key
        if step["type"] == "tool_calls":
            check_calls(step["step_details"]["tool_calls"], self.calls)
        else:
            assert step["step_details"] == opened["step_details"]
            assert self.messages, "a message step without a message"
            assert self.messages[-1]["id"] == step["step_details"]["message_creation"]["message_id"]
        self.step = None
        self.ended_steps.append(step)
        self.next = self._after_step(what, step)

    def _after_step(self, what: str, step: Object) -> set[str]:
        cut = step["type"] == "message_creation" and self.messages[-1]["status"] == "incomplete"
        match what:
            case "completed" if self.run["status"] == "requires_action":
                assert all(
                    call["function"]["output"] is not None
                    for call in step["step_details"]["tool_calls"]
                    if call["type"] == "function"
                )
                return {"run.queued"}
            case "completed" if cut:
                return {"run.incomplete"}
            case "completed" if step["type"] == "message_creation":
                return {"run.step.created", "run.completed"} | EARLY
            case "completed" if any(
                call["type"] == "function" and call["function"]["output"] is None
                for call in step["step_details"].get("tool_calls", ())
            ):
                return {"run.incomplete"}
            case "completed":
                return {"run.step.created"} | EARLY
            case "failed":  # or the worker died, and another goes on
                return {"run.step.created"} | EARLY
        return {f"run.{what}"}

    # Messages -----------------------------------------------------------------------------------------------------

    def _message(self, what: str, message: Object) -> None:
        if what == "delta":
            self._message_delta(message)
            return
        check_message(message, self.run, "in_progress" if what == "created" else what)
        if what in ("created", "in_progress"):
            assert message["content"] == []
        match what:
            case "created":
                self._open(message)
                assert self.step is not None
                assert self.step["step_details"]["message_creation"] == {"message_id": message["id"]}
                self.parts = []
                self.next = {"message.in_progress"}
            case "in_progress":
                assert message == self.message
                self.next = {"message.delta"}
            case _:
                self._end_message(message)
                return
        self.message = message

    def _message_delta(self, delta: Object) -> None:
        assert self.message is not None
        assert delta.keys() == {"id", "object", "delta"}
        assert (delta["id"], delta["object"]) == (self.message["id"], "thread.message.delta")
        assert delta["delta"].keys() <= {"content", "role"}
        assert "role" not in delta["delta"], "the role came with the message, and strings are added up"
        indexes = [part["index"] for part in delta["delta"]["content"]]
        assert indexes, "an empty delta"
        assert indexes == sorted(set(indexes)), "one part per index in one delta"
        for part in delta["delta"]["content"]:
            add_part(self.parts, part)
        self.next = {"message.delta", "message.completed", "message.incomplete", "run.cancelling"}

    def _end_message(self, message: Object) -> None:
        opened = self.message
        assert opened is not None
        for key in MESSAGE_KEYS - {"status", "content", "completed_at", "incomplete_at", "incomplete_details"}:
            assert message[key] == opened[key], key
        assert message["content"] == self.parts, "the deltas do not add up to the message"
        # Clients index the parts of the last message that had any (3.9).
        assert len(message["content"]) >= max((len(earlier["content"]) for earlier in self.messages), default=0)
        for part in message["content"]:
            value = part["text"]["value"]
            for note in part["text"]["annotations"]:
                assert value[note["start_index"] : note["end_index"]] == note["text"]
        self.message = None
        self.messages.append(message)
        if message["status"] == "completed":
            self.next = {"run.step.completed"}
        else:
            reason = message["incomplete_details"]["reason"]
            assert (self.run["status"] == "cancelling") or reason != "run_cancelled"
            self.next = {f"run.{name}" for name in AFTER_INCOMPLETE[reason]}


# Whole objects --------------------------------------------------------------------------------------------------------


def check_times(thing: Object) -> None:
    for key, value in thing.items():
        if key.endswith("_at"):
            assert value is None or type(value) is int, key
    assert thing["created_at"] is not None


def check_set(thing: Object, **when: bool) -> None:
    """Each of these keys is null unless it is said to be set."""
    for key, is_set in when.items():
        assert (thing[key] is not None) == is_set, (key, thing[key], thing["status"])


def check_usage(usage: Object | None) -> None:
    assert usage is not None
    assert set(USAGE_KEYS) < usage.keys()
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_token_details"].keys() == {"cached_tokens"}
    assert usage["completion_tokens_details"].keys() == {"reasoning_tokens"}


def check_run(run: Object, status: str) -> None:
    """The null rules of contract 2.8."""
    assert run.keys() == RUN_KEYS
    assert (run["object"], run["status"]) == ("thread.run", status)
    check_times(run)
    finished, over = status in ("completed", "incomplete"), f"run.{status}" in TERMINAL
    check_set(
        run,
        required_action=status == "requires_action",
        usage=over,
        expires_at=not finished,
        completed_at=finished,
        cancelled_at=status == "cancelled",
        failed_at=status == "failed",
        last_error=status == "failed",
        incomplete_details=status == "incomplete",
    )
    if status in ("in_progress", "requires_action", "completed", "incomplete"):
        assert run["started_at"] is not None
    if over:
        check_usage(run["usage"])
    if status == "failed":
        assert run["last_error"].keys() == {"code", "message"}
        assert run["last_error"]["code"] in ("server_error", "rate_limit_exceeded", "invalid_prompt")
    if status == "incomplete":
        reasons = ("max_completion_tokens", "max_prompt_tokens", "content_filter")
        assert run["incomplete_details"]["reason"] in reasons


def check_step(step: Object, run: Object, status: str) -> None:
    """The null rules of contract 2.13 and 10.8."""
    assert step.keys() == STEP_KEYS
    assert (step["object"], step["status"]) == ("thread.run.step", status)
    names = ("id", "assistant_id", "thread_id")
    assert tuple(step[key] for key in ("run_id", *names[1:])) == tuple(run[key] for key in names)
    check_times(step)
    stamp = STEP_STAMPS.get(status)
    check_set(step, **{key: key == stamp for key in STEP_STAMPS.values()}, last_error=status == "failed")
    assert step["expires_at"] in (run["expires_at"], None)
    if status == "in_progress":
        assert step["usage"] is None
    elif step["usage"] is not None or status == "completed":
        check_usage(step["usage"])
    if status == "failed":
        assert step["last_error"]["code"] in ("server_error", "rate_limit_exceeded")


def check_message(message: Object, run: Object, status: str) -> None:
    """The null rules of contract 2.7."""
    assert message.keys() == MESSAGE_KEYS
    assert (message["object"], message["status"], message["role"]) == ("thread.message", status, "assistant")
    names = ("id", "assistant_id", "thread_id")
    assert tuple(message[key] for key in ("run_id", *names[1:])) == tuple(run[key] for key in names)
    check_times(message)
    incomplete = status == "incomplete"
    check_set(message, completed_at=status == "completed", incomplete_at=incomplete, incomplete_details=incomplete)
    assert (message["attachments"], message["metadata"]) == ([], {})


# What clients add up --------------------------------------------------------------------------------------------------


def add_part(parts: list[Object], part: Object) -> None:
    assert part.keys() == {"index", "type", "text"}
    assert part["type"] == "text"
    text = part["text"]
    if part["index"] == len(parts):
        assert text.keys() == {"value", "annotations"}
        parts.append({"type": "text", "text": {"value": "", "annotations": []}})
    else:
        assert part["index"] < len(parts), "a gap"
        assert text.keys() == {"value"} or text["annotations"], "annotations only where there are new ones"
    known = parts[part["index"]]["text"]
    for note in text.get("annotations", ()):
        assert note["index"] == len(known["annotations"]), "annotations are numbered"
        assert (note["text"], note["start_index"]) == (text["value"], len(known["value"])), "a marker comes alone"
        assert note.keys() == {"index", "type", "text", "start_index", "end_index", note["type"]}
        known["annotations"].append({key: value for key, value in note.items() if key != "index"})
    known["value"] += text["value"]


OPENINGS = {
    "function": {"name", "arguments", "output"},
    "file_search": {"ranking_options", "results"},
    "code_interpreter": {"input", "outputs"},
}


def add_call(calls: list[Object], entry: Object) -> None:
    kind = entry["type"]
    details = entry[kind]
    if entry["index"] == len(calls):
        assert entry.keys() == {"index", "id", "type", kind}
        assert details.keys() == OPENINGS[kind]
        assert all(not details[key] for key in details if key not in ("name", "ranking_options"))
        assert entry["id"] not in [call["id"] for call in calls]
        calls.append({"id": entry["id"], "type": kind, kind: dict(details)})
        return
    assert entry["index"] < len(calls), "a gap"
    assert entry.keys() == {"index", "type", kind}, "what was sent once is not sent again"
    known = calls[entry["index"]]
    assert known["type"] == kind
    match kind:
        case "function":
            assert details.keys() == {"arguments"}
            assert details["arguments"]
            known[kind]["arguments"] += details["arguments"]
        case "code_interpreter" if "input" in details:
            assert details.keys() == {"input"}
            assert details["input"]
            assert not known[kind]["outputs"], "outputs come behind the input"
            known[kind]["input"] += details["input"]
        case "code_interpreter":
            assert details.keys() == {"outputs"}
            for output in details["outputs"]:
                add_output(known[kind]["outputs"], output)
        case _:
            raise AssertionError(f"{kind} has one delta")


def add_output(outputs: list[Object], output: Object) -> None:
    kind = output["type"]
    assert output.keys() == {"index", "type", kind}
    assert output["index"] in (len(outputs) - 1, len(outputs)), "outputs come one after the other"
    if output["index"] == len(outputs):
        outputs.append({"type": kind, kind: output[kind]})
    else:
        assert (outputs[-1]["type"], kind) == ("logs", "logs"), "only logs come in pieces"
        outputs[-1][kind] += output[kind]


def check_calls(shown: list[Object], streamed: list[Object]) -> None:
    """The calls of an ended step are what was streamed, and the outputs that no delta carries."""
    assert [(call["id"], call["type"]) for call in shown] == [(call["id"], call["type"]) for call in streamed]
    for call, known in zip(shown, streamed, strict=True):
        kind = call["type"]
        assert call.keys() == {"id", "type", kind}
        silent = {"function": "output", "file_search": "results"}.get(kind)
        assert call[kind].keys() == known[kind].keys()
        for key in known[kind].keys() - {silent}:
            assert call[kind][key] == known[kind][key], key
        if kind == "file_search":
            for result in call[kind]["results"]:
                assert result.keys() - {"content"} == {"file_id", "file_name", "score", "attributes"}
                assert 0 <= result["score"] <= 1
