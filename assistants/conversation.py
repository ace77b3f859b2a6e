"""Threads and the messages in them: the state changes (contract 2.6, 2.7, 2.10). Plain, one transaction each.

`insert_…` are the same without a transaction and without the lock of an active run, for the transitions of `runs`,
which bring their own. What may stand in `data` is decided by the serializers.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from django.db import OperationalError, transaction
from django.db.models import ManyToOneRel, Q, QuerySet

from assistants import stores
from assistants.clock import now
from assistants.errors import ApiError, not_found
from assistants.models import Message, Project, Share, Thread, VectorStore
from assistants.retrieval import conversations
from assistants.rows import unlocked
from assistants.serializers.refusals import array_too_long, at, wrong_id
from assistants.serializers.tools import CODE_FILES_MAX

REMOVAL_SECONDS, SWEEP_SECONDS = 2.0, 10.0
"""How long whoever deletes waits for the removal, and how long a runner is at it before it does something else."""
ROWS_AT_FIRST, ROWS_MAX = 100, 1_000
QUICK_SECONDS = 0.1
"""More rows are removed at once while that takes less: for so long, or so, SQLite's only writer is held."""
DEPARTED_AT_ONCE = 20

logger = logging.getLogger(__name__)

end_overdue: list[Callable[[str], bool]] = []
"""Asked before a message is refused: given the id of the active run, ends it if its time is over and says whether it
did. The app `runs` enters itself (runs/apps.py)."""

end_with_threads: list[Callable[[Collection[str]], None]] = []
"""Told the ids of threads before they are deleted, in the same transaction: ends what is active there, so that what it
has used is counted. The app `runs` enters itself (runs/apps.py)."""


def find_thread(project: Project, id: str) -> Thread:
    """ValidationError for an id that is none of a thread (contract 4.3), ApiError 404 for one that `project` lacks."""
    if not id.startswith("thread"):
        raise at("thread_id", wrong_id(id, "thread"))
    thread = Thread.objects.filter(project=project, pk=id).first()
    if thread is None:
        raise not_found("thread", id)
    return thread


@transaction.atomic
def create_thread(project: Project, data: Mapping[str, Any]) -> Thread:
    """A thread from a validated `ThreadInput`. ApiError 404 for a file or store that `project` does not have."""
    return insert_thread(project, data)


def insert_thread(project: Project, data: Mapping[str, Any]) -> Thread:
    """`create_thread` inside the caller's transaction."""
    resources = stores.resolve_tool_resources(
        project, data.get("tool_resources"), expires_after_days=stores.THREAD_STORE_DAYS
    )
    thread = Thread.objects.create(project=project, tool_resources=resources, metadata=data.get("metadata") or {})
    if thread.metadata:
        conversations.note_title(thread)
    insert_messages(thread, data.get("messages") or [])
    return thread


def end_work_in(threads: Collection[str]) -> None:
    """What is active in the threads of these ids, which the caller is about to delete, ends."""
    for end in end_with_threads:
        end(threads)


def delete_thread(thread: Thread) -> None:
    delete_threads([thread])


@transaction.atomic
def delete_threads(threads: Iterable[Thread]) -> None:
    """Once this is committed, nobody finds them any more. What belongs to them is removed then, or, if that takes long,
    by a runner. ApiError 404 for one that is gone.
    """
    ids = [thread.pk for thread in threads]
    for id in ids:
        _depart(id)
    transaction.on_commit(partial(remove, ids, REMOVAL_SECONDS), robust=True)


def _depart(id: str) -> None:
    """Ends what is active in a thread and hides it, so that nothing is added to it any more.

    Locks are taken as everywhere, the run's before the thread's; a run that begins between the two is ended as well.
    """
    here = Thread.objects.filter(pk=id)
    while True:
        active = here.values_list("active_run_id", flat=True).first()
        end_work_in([id])
        if here.filter(Q(active_run_id=None) | Q(active_run_id=active)).update(departed_at=now()):
            Share.objects.filter(thread=id).delete()
            return
        if not here.exists():
            raise not_found("thread", id)


def remove(ids: Iterable[str], seconds: float) -> None:
    """Removes what belongs to threads that have departed, and last their rows, as far as the time goes.

    What the database refuses now is left for the next time (`remove_departed`).
    """
    give_up_at = time.monotonic() + seconds
    for id in ids:
        try:
            _remove(id, give_up_at)
        except OperationalError as error:
            logger.warning("thread %s is not removed yet: %r", id, error)


def remove_departed() -> None:
    """Goes on with what `remove` had no time for, or did not live to do. Harmless in several processes at once."""
    departed = Thread._base_manager.filter(departed_at__isnull=False).order_by("departed_at")
    remove(departed.values_list("pk", flat=True)[:DEPARTED_AT_ONCE], SWEEP_SECONDS)


def _remove(id: str, give_up_at: float) -> None:
    """Few rows at a time, in a transaction of their own: a cascade over all events of a long thread would hold SQLite's
    only writer for seconds, and every run would wait.
    """
    count = ROWS_AT_FIRST  # and never fewer: a disk that is slow is slow for one row, too
    for relation in Thread._meta.get_fields(include_hidden=True):
        if not isinstance(relation, ManyToOneRel):
            continue
        rows = relation.related_model._base_manager.filter(**{relation.field.name: id})
        while rows.exists():
            began = time.monotonic()
            if began > give_up_at:
                return
            _remove_some(rows, count)
            took = time.monotonic() - began
            count = min(2 * count, ROWS_MAX) if took < QUICK_SECONDS else max(count // 2, ROWS_AT_FIRST)
            time.sleep(min(took, QUICK_SECONDS))  # the writers' turn
    Thread._base_manager.filter(pk=id).delete()


@transaction.atomic
def _remove_some(rows: QuerySet[Any], count: int) -> None:
    """Not those that somebody else is removing."""
    some = list(unlocked(rows).order_by().values_list("pk", flat=True)[:count])
    rows.filter(pk__in=some).delete()


@transaction.atomic
def add_message(thread: Thread, data: Mapping[str, Any]) -> Message:
    """A message from a validated `MessageInput`. ApiError 400 while a run is active, 404 if the thread is gone."""
    hold(thread)
    (message,) = insert_messages(thread, [data])
    return message


def hold(thread: Thread) -> None:
    """Takes the row of a thread without an active run until the transaction ends; else ApiError (contract 2.10).

    A run that is overdue, and that no sweep has met yet, is ended here.
    """
    while not Thread.objects.filter(pk=thread.pk, active_run_id=None).update(active_run_id=None):
        found = Thread.objects.filter(pk=thread.pk).values_list("active_run_id", flat=True).first()
        if found is None and not Thread.objects.filter(pk=thread.pk).exists():
            raise not_found("thread", thread.id)
        if found is not None and not any(end(found) for end in end_overdue):
            raise ApiError(f"Can't add messages to {thread.id} while a run {found} is active.")


def insert_messages(thread: Thread, several: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Several `add_message` inside the caller's transaction, which has the thread's row; they keep their order.

    What is attached joins `thread`, all of it at once. ApiError 404 for a file that the project lacks.
    """
    parts = [part for data in several for part in data["content"]]
    stores.find_files(thread.project, [part["image_file"]["file_id"] for part in parts if part["type"] == "image_file"])
    attachments = [attachment for data in several for attachment in data.get("attachments") or []]
    if attachments:
        join_attachments(thread, attachments)
    messages = Message.objects.bulk_create([new_message(thread, data) for data in several])
    conversations.note_messages(messages)
    return messages


def new_message(thread: Thread, data: Mapping[str, Any]) -> Message:
    """An unsaved message."""
    moment = now()
    return Message(
        thread=thread,
        created_at=moment,
        completed_at=moment,
        role=data["role"],
        content=data["content"],
        attachments=data.get("attachments") or [],
        metadata=data.get("metadata") or {},
    )


def join_attachments(thread: Thread, attachments: Sequence[Mapping[str, Any]]) -> None:
    """Attached files join the thread's tool resources (contract 2.7); its store is made where it has none."""
    thread.refresh_from_db(fields=["tool_resources"])
    files = {file.id: file for file in stores.find_files(thread.project, [one["file_id"] for one in attachments])}
    wanted: dict[str, list[str]] = {"code_interpreter": [], "file_search": []}
    for attachment in attachments:
        for tool in attachment["tools"]:
            wanted[tool["type"]].append(attachment["file_id"])
    resources = thread.tool_resources
    if wanted["code_interpreter"]:
        held = resources.get("code_interpreter", {}).get("file_ids", [])
        file_ids = list(dict.fromkeys([*held, *wanted["code_interpreter"]]))
        if len(file_ids) > CODE_FILES_MAX:
            raise at(
                "tool_resources", at("code_interpreter", at("file_ids", array_too_long(len(file_ids), CODE_FILES_MAX)))
            )
        resources["code_interpreter"] = {"file_ids": file_ids}
    if wanted["file_search"]:
        store = store_of(thread)
        resources["file_search"] = {"vector_store_ids": [store.id]}
        stores.attach_all(store, [stores.Attachment(files[id]) for id in dict.fromkeys(wanted["file_search"])])
    thread.save(update_fields=["tool_resources"])


def store_of(thread: Thread) -> VectorStore:
    """The thread's store; a new one where it has none, or where it was deleted or has expired."""
    named = thread.tool_resources.get("file_search", {}).get("vector_store_ids", [])
    store = VectorStore.objects.filter(project=thread.project_id, pk__in=named).first()
    if store is None or stores.is_expired(store):
        return stores.create_store(thread.project, expires_after_days=stores.THREAD_STORE_DAYS)
    return store
