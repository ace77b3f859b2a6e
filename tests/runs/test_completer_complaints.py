"""Model servers repeat the request they refuse: nothing of it may stand in an error, which everybody reads."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from runs.completers.complaints import CHARS_MAX, error_text
from runs.completers.openai_compatible import ERROR_BYTES_MAX

SAID = "I am ill, my PIN is 4711"
MESSAGES = [{"role": "user", "content": SAID}]
MISSING = {"type": "missing", "loc": ["body", "messages", 0, "content"], "msg": "Field required", "input": MESSAGES}
EXTRA = {"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "input": SAID}


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            {"detail": [MISSING, EXTRA]},
            "body.messages.0.content: Field required; body.top_k: Extra inputs are not permitted",
        ),
        ({"detail": MISSING}, "body.messages.0.content: Field required"),
        ({"detail": "Not now."}, "Not now."),
        ({"detail": {"input": SAID}}, ""),
        ([MISSING], "body.messages.0.content: Field required"),
        ({"error": [EXTRA]}, "body.top_k: Extra inputs are not permitted"),
        ({"error": {"message": [MISSING], "type": "invalid"}}, "body.messages.0.content: Field required"),
        ({"error": {"message": {"messages": MESSAGES}}}, ""),
        ({"error": {"message": json.dumps({"error": {"message": "No.", "input": SAID}})}}, "No."),
        ({"error": {"message": json.dumps(MESSAGES)}}, ""),
        ({"error": {"message": str([MISSING])}}, "[{'type': 'missing', 'loc': ['body', 'messages', 0, 'content'], "),
        (
            {"message": f"1 error\nmessages\n  Field required [type=missing, input_value={MESSAGES}, input_type=list]"},
            "1 error messages Field required [type=missing, ",
        ),
        (
            {"error": {"message": f"Failed to parse messages: no role; messages = {json.dumps(MESSAGES, indent=2)}"}},
            "Failed",
        ),
        (
            {"error": f"error parsing tool call: raw='{json.dumps(MESSAGES)}', err=unexpected"},
            "error parsing tool call",
        ),
        ({"error": f"Invalid image data:image/png;base64,{SAID.replace(' ', '')}= here"}, "Invalid image … here"),
        (
            {"error": "This model's maximum context length is 8 tokens."},
            "This model's maximum context length is 8 tokens.",
        ),
        ({"error": {"message": "a \"input\" of 'x' is = y"}}, "a \"input\" of 'x' is = y"),
        ("broken", "broken"),
        ({"error": 5}, ""),
        (None, ""),
    ],
)
def test_an_error_has_the_words_and_not_the_input(body: Any, text: str) -> None:
    said, _ = error_text(body, "")
    assert said.startswith(text)
    assert not any(word in said for word in ("ill", "PIN", "4711", '"role"', "'role'"))
    assert len(said) <= CHARS_MAX + 1


@pytest.mark.parametrize("piece", [" ", "data:", "[", "messages = ", "input", "{'input': "])
def test_an_error_of_any_text_is_read_at_once(piece: str) -> None:
    text = piece * (ERROR_BYTES_MAX // len(piece))
    started = time.process_time()
    error_text({"error": text}, "")
    assert time.process_time() - started < 5  # quadratic, it would take minutes


def test_an_error_that_is_nested_without_end_says_nothing() -> None:
    body: Any = {"message": SAID}
    for _ in range(200):
        body = {"detail": [body]}
    assert error_text(body, "") == ("", "")
    assert error_text({"error": {"message": "x" * 1000, "code": 400}}, "")[1] == "400"
