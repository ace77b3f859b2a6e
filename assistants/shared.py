"""What somebody sees who has a share's token and nothing else: which requests, which objects, which of their fields.

Fails closed in all three. A route that does not stand in ALLOWED is not there for a share, whatever its method; an
object of a kind, or a field, that is not named in SHOWN is not handed out. The views of those routes ask `messages_of`
(and runs/views.py its own) for what a frozen share hides; streaming sends `event` in place of an event's data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.http import HttpRequest

from assistants.errors import ApiError, not_found, unknown_url
from assistants.models import Message, Share, Thread
from assistants.parsers import check_address
from assistants.stores import no_such_file

have_worked: list[Callable[[Share, str], bool]] = []
"""Asked whether an assistant has worked in the thread. The app `runs` enters itself (runs/apps.py)."""

# Which messages -------------------------------------------------------------------------------------------------------


def messages_of(thread: Thread, share: Share | None) -> QuerySet[Message]:
    """The messages of `thread` that a reader sees who came with `share`: with a frozen one, those finished by then."""
    messages = Message.objects.filter(thread=thread)
    if share is None or not share.is_frozen:
        return messages
    moment = share.created_at
    finished = Q(completed_at__lte=moment) | Q(incomplete_at__lte=moment)
    return messages.filter(finished, created_at__lte=moment)


def annotations_of(message: Message) -> Iterator[Mapping[str, Any]]:
    for part in message.content:
        if part["type"] == "text":
            yield from part["text"]["annotations"]


def images_and_outputs(message: Message) -> Iterator[str]:
    """The files whose bytes a message shows or hands out."""
    for part in message.content:
        if part["type"] == "image_file":
            yield part["image_file"]["file_id"]
    for annotation in annotations_of(message):
        if annotation["type"] == "file_path":
            yield annotation["file_path"]["file_id"]


def cited(messages: Iterable[Message]) -> set[str]:
    notes = (annotation for message in messages for annotation in annotations_of(message))
    return {note["file_citation"]["file_id"] for note in notes if note["type"] == "file_citation"}


def named(message: Message) -> Iterator[str]:
    """The files whose names a message shows."""
    yield from images_and_outputs(message)
    yield from cited([message])
    for attachment in message.attachments:
        yield attachment["file_id"]


# Which requests -------------------------------------------------------------------------------------------------------

Ids = Mapping[str, str]


def check_thread(share: Share, ids: Ids) -> None:
    if ids["thread_id"] != share.thread_id:
        raise not_found("thread", ids["thread_id"])


def check_run(share: Share, ids: Ids) -> None:
    """One of the thread, or one that wrote a message of which the thread, a fork, has a copy."""
    if ids["thread_id"] == share.thread_id:
        return
    copies = messages_of(share.thread, share).filter(source_thread=ids["thread_id"], run_id=ids["run_id"])
    if not copies.exists():
        raise not_found("thread", ids["thread_id"])


def check_share(share: Share, ids: Ids) -> None:
    check_thread(share, ids)
    if ids["share_id"] != share.pk:
        raise not_found("share", ids["share_id"])


def check_assistant(share: Share, ids: Ids) -> None:
    """Only one that has spoken in the thread, or is about to."""
    assistant_id = ids["assistant_id"]
    has_spoken = messages_of(share.thread, share).filter(assistant_id=assistant_id).exists()
    if not has_spoken and not any(worked(share, assistant_id) for worked in have_worked):
        raise not_found("assistant", assistant_id)


def check_file(share: Share, ids: Ids, files_of: Callable[[Message], Iterable[str]]) -> None:
    file_id = ids["file_id"]
    # The database looks for the id anywhere in the JSON, so that few messages have to be taken apart.
    messages = messages_of(share.thread, share).filter(superseded=False)
    texts = messages.annotate(written=Cast("content", TextField()), attached=Cast("attachments", TextField()))
    candidates = texts.filter(Q(written__contains=file_id) | Q(attached__contains=file_id))
    if not any(file_id in files_of(message) for message in candidates.iterator()):
        raise no_such_file(file_id)


def check_name(share: Share, ids: Ids) -> None:
    check_file(share, ids, named)


def check_content(share: Share, ids: Ids) -> None:
    check_file(share, ids, images_and_outputs)


THREAD = "v1/threads/<str:thread_id>"
RUN = f"{THREAD}/runs/<str:run_id>"
ALLOWED: Mapping[str, Callable[[Share, Ids], None]] = {
    THREAD: check_thread,
    f"{THREAD}/messages": check_thread,
    f"{THREAD}/messages/<str:message_id>": check_thread,
    f"{THREAD}/runs": check_thread,
    f"{THREAD}/runs/stream": check_thread,
    RUN: check_run,
    f"{RUN}/stream": check_thread,
    f"{RUN}/steps": check_run,
    f"{RUN}/steps/<str:step_id>": check_run,
    f"{THREAD}/shares/<str:share_id>": check_share,
    "v1/assistants/<str:assistant_id>": check_assistant,
    "v1/files/<str:file_id>": check_name,
    "v1/files/<str:file_id>/content": check_content,
}
"""Route → what its ids must be, for GET and HEAD."""


def admit(request: HttpRequest, share: Share) -> None:
    """Raises ApiError 404 for everything that is not there for `share`: the same, whether it exists or not."""
    match = request.resolver_match
    check = ALLOWED.get(match.route or "") if match else None
    if check is None or match is None or request.method not in ("GET", "HEAD"):
        raise unknown_url(request)
    check_address(*match.kwargs.values())
    check(share, match.kwargs)


# Which fields ---------------------------------------------------------------------------------------------------------

CREATED = ("id", "object", "created_at")
ENDS = ("cancelled_at", "completed_at", "expires_at", "failed_at", "last_error", "usage")
SHOWN: Mapping[str, tuple[str, ...]] = {
    "thread": CREATED,
    "thread.message": (
        *CREATED,
        *("thread_id", "status", "incomplete_details", "completed_at", "incomplete_at", "role", "content"),
        *("assistant_id", "run_id", "attachments", "copied_from"),
    ),
    "thread.run": (
        *CREATED,
        *("assistant_id", "thread_id", "status", "started_at", "required_action", "incomplete_details", "model"),
        *ENDS,
    ),
    "thread.run.step": (
        *CREATED,
        *("run_id", "assistant_id", "thread_id", "type", "status", "expired_at", "step_details"),
        *ENDS,
    ),
    "thread.message.delta": ("id", "object", "delta"),
    "thread.run.step.delta": ("id", "object", "delta"),
    "thread.share": (*CREATED, "thread_id", "expires_at", "frozen"),
    "assistant": (*CREATED, "name", "description", "model"),
    "file": (*CREATED, "bytes", "expires_at", "filename", "purpose", "status", "status_details"),
}
"""Kind of object → the fields that pass as they are."""
BLANK: Mapping[str, Any] = {
    "metadata": {},
    "tool_resources": {},
    "tools": [],
    "instructions": None,
    "temperature": 1.0,
    "top_p": 1.0,
    "max_completion_tokens": None,
    "max_prompt_tokens": None,
    "truncation_strategy": {"type": "auto", "last_messages": None},
    "response_format": "auto",
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning_effort": None,
    "last_used_at": None,
    "url": None,
}
"""What stands in the other fields, so that the objects keep their shape. A field that has nothing here is left out."""


def shown(data: Mapping[str, Any], passages_of: Callable[[Mapping[str, Any]], set[str]]) -> dict[str, Any]:
    """`data`, an object or a list of objects, as a share shows it.

    `passages_of` says, for a step, of which files the passages that were found may be read.
    """
    kind = data["object"]
    if kind == "list":
        return {**data, "data": [shown(item, passages_of) for item in data["data"]]}
    passing = SHOWN[kind]
    seen = {
        name: value if name in passing else BLANK[name]
        for name, value in data.items()
        if name in passing or name in BLANK
    }
    match seen:
        case {"object": "thread"} if "title" in data["metadata"]:
            seen["metadata"] = {"title": data["metadata"]["title"]}
        case {"object": "thread.run.step"}:
            seen["step_details"] = _details(seen["step_details"], passages_of(data))
        case {"object": "thread.run.step.delta"}:
            seen["delta"] = {"step_details": _details(seen["delta"]["step_details"], set())}
    return seen


def _details(details: Mapping[str, Any], readable: set[str]) -> Mapping[str, Any]:
    """What a search found keeps its place, since citations count: without attributes, and text of `readable` alone."""
    calls = [
        {**call, "file_search": _search(call["file_search"], readable)} if call["type"] == "file_search" else call
        for call in details.get("tool_calls", ())
    ]
    return {**details, "tool_calls": calls} if calls else details


def _search(search: Mapping[str, Any], readable: set[str]) -> Mapping[str, Any]:
    if "results" not in search:
        return search
    results = [{**result, "attributes": {}} for result in search["results"]]
    for result in results:
        if result["file_id"] not in readable:
            result.pop("content", None)
    return {**search, "results": results}


def answer(data: Mapping[str, Any], share: Share) -> dict[str, Any]:
    """The body of a successful answer. Of the passages that a run found, those of files that its answer cites."""
    by_run: dict[str, set[str]] = {}

    def passages_of(step: Mapping[str, Any]) -> set[str]:
        run_id = step["run_id"]
        if run_id not in by_run:
            by_run[run_id] = cited(messages_of(share.thread, share).filter(run_id=run_id, superseded=False))
        return by_run[run_id]

    return shown(data, passages_of)


def event(data: Mapping[str, Any]) -> dict[str, Any]:
    """The data of an event. No passages: who opens a citation asks for the step."""
    return shown(data, lambda _: set())


def refused(share: Share | None, moment: Any) -> ApiError | None:
    """401 for a token that nobody has, or that has had its time; None for one that is good at `moment`."""
    if share is None:
        return ApiError(
            "This link leads nowhere: it is mistyped, or its thread was deleted.", status=401, code="invalid_share"
        )
    if share.revoked_at is not None:
        return ApiError("This link was revoked by those who shared it.", status=401, code="share_revoked")
    if share.expires_at is not None and share.expires_at <= moment:
        return ApiError("This link has expired.", status=401, code="share_expired")
    return None
