"""Why a run did not simply complete: the reason as it was told, what it means, and what an operator can do about it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from runs.models import Run, RunStatus

from .outcome import trouble


@dataclass(frozen=True, slots=True)
class Cause:
    reason: str
    meaning: str
    advice: str


MODEL = "The model’s server"

OF_MESSAGES = [
    (
        r"refused the key",
        f"{MODEL} does not accept the key that Kumos sends.",
        "Enter a valid key on the provider’s page or in the environment, then try it there and retry the run.",
    ),
    (
        r"does not know the model|\(404\)",
        f"{MODEL} has no model of this name, or its base URL is wrong.",
        "Choose a model that the provider lists in the assistant, or correct the provider’s base URL.",
    ),
    (
        r"cannot be reached",
        "Nothing answers at the provider’s address.",
        "See whether the model’s server runs and whether this machine reaches it; the provider’s page has a test.",
    ),
    (
        r"was silent",
        f"{MODEL} took the request and then sent nothing for too long.",
        "It may be overloaded, or slow with long prompts. Retry; for a slow model raise KUMOS_UPSTREAM_IDLE_SECONDS.",
    ),
    (
        r"web page|redirects",
        "The provider’s base URL does not lead to an API.",
        "Correct the base URL: for most servers it ends in /v1.",
    ),
    (
        r"needs a provider|needs OPENAI|needs OLLAMA|needs a",
        "No provider is set up for this model.",
        "Enter a provider, or choose a model of one that is there.",
    ),
    (
        r"cut|not a JSON|more than 1 MB|failed \(\d|The model server failed|answered \d|finish reason",
        f"{MODEL} broke off its answer, or answered with a fault of its own, and trying again did not help.",
        "Retry once it is well again. If this happens with one prompt only, look at the last model call below.",
    ),
    (
        r"refused the request",
        f"{MODEL} does not take this request as it is: often a parameter or a tool that the model lacks.",
        "Compare “What was asked for” with what the model can do.",
    ),
    (
        r"turns\.$",
        "The model called tools again and again without ever answering.",
        "Look at what the tools returned; tell it in the instructions when to stop, or raise KUMOS_TURNS_MAX.",
    ),
    (
        r"interrupted",
        "The process that worked on the run ended, more than once, or interrupted runs are set to fail.",
        "See whether runners are killed (memory?) under Runners, then retry.",
    ),
    (
        r"image '",
        "A picture in the thread cannot be shown to the model.",
        "Replace the picture, or use a model that sees.",
    ),
]
OF_CODES = {
    "rate_limit_exceeded": (
        f"{MODEL} takes no more requests for now, or its account has no credit left.",
        "Wait and retry. If it happens often: fewer runners, a higher limit, or another provider.",
    ),
    "invalid_prompt": (
        f"{MODEL} does not take this prompt: too long for the model, or against its rules.",
        "Shorten the thread by a truncation strategy, use a model with a larger context, or change the message.",
    ),
    "server_error": (
        "Something failed while the run was worked on, in Kumos or behind it.",
        "The server’s log has more under the run’s id. Retry the run; send the support bundle if it stays.",
    ),
}
OF_REASONS = {
    "max_completion_tokens": (
        "The answer reached the limit of tokens it may have and was cut there.",
        "Raise max_completion_tokens of the run, or leave it out.",
    ),
    "max_prompt_tokens": (
        "What the model would have had to read is longer than the run allows.",
        "Raise max_prompt_tokens of the run, or let it leave out old messages by a truncation strategy.",
    ),
    "content_filter": (
        f"{MODEL} stopped the answer by its content filter.",
        "Ask in other words; the provider says what it filters.",
    ),
}


def cause_of(run: Run) -> Cause | None:
    """None for runs that completed, that are under way, or that somebody cancelled."""
    reason = trouble(run)
    if run.last_error:
        message = str(run.last_error.get("message", ""))
        for pattern, meaning, advice in OF_MESSAGES:
            if run.last_error.get("code") == "server_error" and re.search(pattern, message):
                return Cause(reason, meaning, advice)
        meaning, advice = OF_CODES.get(str(run.last_error.get("code")), OF_CODES["server_error"])
        return Cause(reason, meaning, advice)
    if run.incomplete_reason:
        meaning, advice = OF_REASONS.get(run.incomplete_reason, ("The answer was cut.", "Retry the run."))
        return Cause(reason, meaning, advice)
    if run.status == RunStatus.EXPIRED:
        return Cause(
            reason,
            "The run was not over when its time was. The timeline shows what it waited for.",
            "If it waited for a runner, start more of them. If it waited for its client, that never sent the outputs of"
            " the tools. KUMOS_RUN_SECONDS says how long a run has.",
        )
    return None
