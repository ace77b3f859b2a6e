"""A conversation as the people in it saw it: who said what, with attachments, images, citations and tool calls.

What runs did while they answered is told by other apps (`worked`). Nothing here is read without `readable`: who may
not read content sees who spoke when, and the names of files and functions. Nobody sees secrets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.utils.html import format_html

from assistants.masking import masked
from assistants.models import Assistant, File, Message, MessageStatus

from .content import HIDDEN
from .images import image_address, kind_of_image
from .markup import badge, clipped, page_of

PASSAGE_SHOWN = 4000
PLACE = re.compile(r"【(\d{1,6}):(\d{1,6})†")
"""The beginning of a citation's marker: the number of the step, and of the result in it."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message. `kind` is text, image, refusal, hidden or other; `image` is where an image is served."""

    kind: str
    text: str
    href: str = ""
    image: str = ""


@dataclass(frozen=True, slots=True)
class Citation:
    """`href` leads to the file, if it is still there; `passage` is what was found in it, if that was kept."""

    marker: str
    file_id: str
    filename: str
    href: str = ""
    passage: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    file_id: str
    filename: str
    href: str
    tools: str


@dataclass(frozen=True, slots=True)
class Card:
    """A tool call: what was asked, what came back, and the passages that a search found, each a heading and a text."""

    title: str
    asked: str = ""
    answer: str = ""
    found: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """What runs did: message → the calls before it; run, step and result, as markers count → file id and passage."""

    cards: Mapping[str, Sequence[Card]] = field(default_factory=dict)
    passages: Mapping[tuple[str, int, int], tuple[str, str]] = field(default_factory=dict)


worked: list[Callable[[Sequence[str], bool], Work]] = []
"""Tells what the runs with these ids did, to somebody who may read it or not: `runs.admin` enters itself."""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A message, ready to be shown."""

    message: Message
    speaker: str
    state: str
    parts: Sequence[Part]
    citations: Sequence[Citation]
    attachments: Sequence[Attachment]
    cards: Sequence[Card]


def part_of(part: dict[str, Any], files: Mapping[str, File]) -> Part:
    """Shown form of a content part (contract 2.7). Images of foreign servers are named, never loaded."""
    kind = part.get("type")
    if kind == "text":
        return Part("text", clipped(masked(part["text"]["value"])))
    if kind == "image_file":
        file = files.get(part["image_file"]["file_id"])
        if file is None:
            return Part("image", f"{part['image_file']['file_id']} (deleted file)")
        image = image_address(file.id) if kind_of_image(file) else ""
        return Part("image", file.filename, page_of(File, file.id), image)
    if kind == "image_url":
        return Part("image", clipped(masked(str(part["image_url"]["url"])), 300))
    if kind == "refusal":
        return Part("refusal", clipped(masked(str(part["refusal"]))))
    return Part("other", str(kind))


def cited_ids(message: Message) -> Iterable[tuple[str, str]]:
    """(marker, file id) of each citation and each file a message links to, each pair once, in their order."""
    found: dict[tuple[str, str], None] = {}
    for part in message.content:
        if part.get("type") == "text":
            for note in part["text"].get("annotations", ()):
                target = note.get("file_citation") or note.get("file_path") or {}
                found[(str(note.get("text", "")), str(target.get("file_id", "")))] = None
    return found


def named_files(message: Message) -> Iterable[str]:
    """The files that a message cites, shows or has attached."""
    yield from (file_id for _, file_id in cited_ids(message))
    yield from (part["image_file"]["file_id"] for part in message.content if part.get("type") == "image_file")
    yield from (str(one.get("file_id")) for one in message.attachments or ())


def state_of(message: Message) -> str:
    """What is special about a message's status, nothing for a completed one."""
    if message.status == MessageStatus.COMPLETED:
        return ""
    return format_html("{} {}", badge(message.status), message.incomplete_reason.replace("_", " "))


def conversation(messages: Sequence[Message], *, readable: bool) -> list[Utterance]:
    """`messages` with all that belongs to them: a few queries, however many there are."""
    speakers = {message.assistant_id for message in messages if message.assistant_id}
    names = dict(Assistant.objects.filter(pk__in=speakers).values_list("id", "name"))
    files = File.objects.in_bulk({file_id for message in messages for file_id in named_files(message)})
    work = work_of(messages, readable)

    def utterance(message: Message) -> Utterance:
        return Utterance(
            message,
            "User"
            if message.role == "user"
            else names.get(message.assistant_id or "") or message.assistant_id or "Assistant",
            state_of(message),
            [part_of(part, files) for part in message.content] if readable else hidden(message),
            [citation_of(message, marker, id, files, work) for marker, id in cited_ids(message)],
            [attachment_of(one, files) for one in message.attachments or ()],
            work.cards.get(message.source_message or message.pk, ()),
        )

    return [utterance(message) for message in messages]


def hidden(message: Message) -> list[Part]:
    return [Part("hidden", HIDDEN)] if message.content else []


def work_of(messages: Sequence[Message], readable: bool) -> Work:
    run_ids = list(dict.fromkeys(message.run_id for message in messages if message.run_id))
    told = [tell(run_ids, readable) for tell in worked] if run_ids else []
    return Work(
        {id: cards for work in told for id, cards in work.cards.items()},
        {place: passage for work in told for place, passage in work.passages.items()},
    )


def citation_of(message: Message, marker: str, file_id: str, files: Mapping[str, File], work: Work) -> Citation:
    file = files.get(file_id)
    numbers = PLACE.match(marker)
    place = (message.run_id or "", int(numbers[1]), int(numbers[2])) if numbers else ("", 0, 0)
    found_in, passage = work.passages.get(place, ("", ""))
    return Citation(
        marker,
        file_id,
        file.filename if file else "(deleted file)",
        page_of(File, file_id) if file else "",
        clipped(masked(passage), PASSAGE_SHOWN) if found_in == file_id else "",
    )


def attachment_of(attachment: Mapping[str, Any], files: Mapping[str, File]) -> Attachment:
    file_id = str(attachment.get("file_id"))
    file = files.get(file_id)
    tools = ", ".join(str(tool.get("type")).replace("_", " ") for tool in attachment.get("tools") or ())
    return Attachment(
        file_id, file.filename if file else "(deleted file)", page_of(File, file_id) if file else "", tools
    )
