"""Trying a model server out: its list of models, and one short answer. For whoever sets it up; no run is made.

Takes some seconds, and costs some tokens there.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from runs.completers import CompleterError, CompletionRequest, TextDelta, catalogue
from runs.completers.catalogue import Listing
from runs.completers.openai_compatible import close_client
from runs.completers.providers import Server

TRY_SECONDS = 15.0
TOKENS = 16
QUESTION = "Answer with the word OK."
SAID_MAX = 200
NO_CHAT = re.compile(r"embed|whisper|tts|dall|moderation|image|audio|rerank|realtime|transcri|sora", re.IGNORECASE)
"""In the names of models that answer nothing here: one of them says little about the server."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What `model` answered. `problem` in words where it did not; `seconds` until its first word, or its failure."""

    model: str
    said: str = ""
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Trial:
    listing: Listing
    answer: Answer | None
    """None where no model was named, and none is listed."""


def try_out(server: Server, model: str = "", preferred: Sequence[str] = ()) -> Trial:
    """Asks `server` for its list and `model` for an answer: without a name one of the `preferred` ones, else one that
    is listed. The names are the server's own."""
    listing = catalogue.listing_of(server, anew=True)
    listed = [one.id for one in listing.models or ()]
    talking = [id for id in listed if not NO_CHAT.search(id)]
    wanted = [name for name in preferred if name in listed] or talking or listed or list(preferred)
    model = model or next(iter(wanted), "")
    return Trial(listing, asyncio.run(answer_of(server, model)) if model else None)


async def answer_of(server: Server, model: str) -> Answer:
    """For a loop that is made for it, and ends with it."""
    began = time.monotonic()
    request = CompletionRequest(
        model=model, messages=[{"role": "user", "content": QUESTION}], max_completion_tokens=TOKENS
    )
    said, first = "", 0.0
    try:
        async with asyncio.timeout(TRY_SECONDS), aclosing(server.completer().stream(request)) as events:
            async for event in events:
                first = first or time.monotonic()
                if isinstance(event, TextDelta):
                    said += event.text
    except CompleterError as error:
        return Answer(model, problem=error.message, seconds=time.monotonic() - began)
    except TimeoutError:
        return Answer(model, problem=f"It did not answer within {TRY_SECONDS:g} seconds.", seconds=TRY_SECONDS)
    finally:
        await close_client()
    return Answer(model, said[:SAID_MAX].strip(), "", (first or time.monotonic()) - began)
