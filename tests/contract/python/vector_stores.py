"""Vector stores: made, filled file by file and in batches, searched, and cited from by runs."""

from __future__ import annotations

from typing import Any

import openai

from tests.contract.python.stage import (
    FILE_SEARCH,
    Kumos,
    annotations_of,
    refusal,
    scenario,
    text_of,
)

OWLS = ("owls.md", b"# Owls\n\nOwls of Zanthia hunt by starlight only.")
NEWTS = ("newts.txt", b"Newts of Zanthia sleep in teapots.")


@scenario
def a_store_lives(kumos: Kumos) -> None:
    stores = kumos.client.vector_stores
    made = stores.create(name="Birds", metadata={"a": "1"}, expires_after={"anchor": "last_active_at", "days": 2})
    assert (made.object, made.status, made.file_counts.total) == ("vector_store", "completed", 0)
    assert made.expires_at is not None
    assert made.last_active_at is not None
    assert made.expires_at == made.last_active_at + 2 * 86400
    assert stores.retrieve(made.id).to_dict() == made.to_dict()
    changed = stores.update(made.id, name="Owls", metadata={"b": "2"}, expires_after=None)
    assert (changed.name, changed.metadata, changed.expires_at) == ("Owls", {"a": "1", "b": "2"}, None)
    gone = stores.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "vector_store.deleted", True)
    error = refusal(openai.NotFoundError, stores.retrieve, made.id)
    assert f"No vector store found with id '{made.id}'." in error.message


@scenario
def stores_page_both_ways(kumos: Kumos) -> None:
    """Also over stores without a name, which the SDK's strict schema does not know."""
    stores = kumos.connect(strict=False).vector_stores
    made = [stores.create().id for _ in range(7)]
    assert [store.id for store in stores.list(limit=3, order="asc") if store.id in made] == made
    assert [store.id for store in stores.list(limit=3, order="desc") if store.id in made] == made[::-1]


@scenario
def a_store_of_own_files_is_searched(kumos: Kumos) -> None:
    client = kumos.client
    file = client.files.create(file=OWLS, purpose="assistants")
    store = client.vector_stores.create(name="Birds")
    attached = client.vector_stores.files.create_and_poll(file.id, vector_store_id=store.id)
    assert attached.status == "completed"
    assert attached.usage_bytes > 0
    assert client.vector_stores.retrieve(store.id).file_counts.completed == 1
    resources: Any = {"file_search": {"vector_store_ids": [store.id]}}
    run = client.beta.threads.runs.create_and_poll(
        **kumos.ask("How do the owls of Zanthia hunt?", tools=[FILE_SEARCH], tool_resources=resources)
    )
    assert run.status == "completed"
    answer = kumos.answer_of(run)
    assert "starlight" in text_of(answer)
    assert {note["file_citation"]["file_id"] for note in annotations_of(answer)} == {file.id}


@scenario
def a_store_made_with_its_files(kumos: Kumos) -> None:
    client = kumos.client
    file = client.files.create(file=OWLS, purpose="assistants")
    store = client.vector_stores.create(
        name="Zanthia",
        file_ids=[file.id],
        chunking_strategy={"type": "static", "static": {"max_chunk_size_tokens": 200, "chunk_overlap_tokens": 50}},
    )
    assert store.file_counts.total == 1
    attached = client.vector_stores.files.poll(file.id, vector_store_id=store.id)
    assert attached.status == "completed"
    assert attached.chunking_strategy is not None
    assert attached.chunking_strategy.type == "static"
    assert attached.chunking_strategy.static.max_chunk_size_tokens == 200
    assert client.vector_stores.retrieve(store.id).status == "completed"


@scenario
def a_file_of_a_store(kumos: Kumos) -> None:
    client = kumos.client
    store = client.vector_stores.create(name="Zanthia")
    files = client.vector_stores.files
    attached = files.upload_and_poll(vector_store_id=store.id, file=OWLS)
    assert (attached.object, attached.status, attached.last_error) == ("vector_store.file", "completed", None)
    assert attached.attributes == {}
    marked = files.update(attached.id, vector_store_id=store.id, attributes={"kind": "bird", "legs": 2, "wise": True})
    assert marked.attributes == {"kind": "bird", "legs": 2, "wise": True}
    assert files.retrieve(attached.id, vector_store_id=store.id).to_dict() == marked.to_dict()
    other = files.upload_and_poll(vector_store_id=store.id, file=NEWTS)
    assert [file.id for file in files.list(store.id, limit=1, order="asc")] == [attached.id, other.id]
    assert [file.id for file in files.list(store.id, filter="completed")] == [other.id, attached.id]
    assert not files.list(store.id, filter="failed").data
    gone = files.delete(other.id, vector_store_id=store.id)
    assert (gone.id, gone.object, gone.deleted) == (other.id, "vector_store.file.deleted", True)
    assert client.files.retrieve(other.id).id == other.id
    refusal(openai.NotFoundError, files.retrieve, other.id, vector_store_id=store.id)


@scenario
def the_text_of_a_file_of_a_store(kumos: Kumos) -> None:
    client = kumos.client
    store = client.vector_stores.create(name="Zanthia")
    attached = client.vector_stores.files.upload_and_poll(vector_store_id=store.id, file=OWLS)
    parts = list(client.vector_stores.files.content(attached.id, vector_store_id=store.id))
    assert "hunt by starlight" in "".join(part.text or "" for part in parts)
    assert {part.type for part in parts} == {"text"}


@scenario
def a_file_that_cannot_be_read(kumos: Kumos) -> None:
    store = kumos.client.vector_stores.create(name="Zanthia")
    files = kumos.client.vector_stores.files
    attached = files.upload_and_poll(vector_store_id=store.id, file=("owls.mp3", bytes(range(256))))
    assert attached.status == "failed"
    assert attached.last_error is not None
    assert attached.last_error.code == "unsupported_file"
    assert kumos.client.vector_stores.retrieve(store.id).file_counts.failed == 1


@scenario
def a_batch_of_files(kumos: Kumos) -> None:
    """The SDK's schema calls the object `vector_store.files_batch`; the service never did (contract 5.4)."""
    client = kumos.connect(strict=False)
    ids = [client.files.create(file=file, purpose="assistants").id for file in (OWLS, NEWTS)]
    store = client.vector_stores.create(name="Zanthia")
    batches = client.vector_stores.file_batches
    batch = batches.create_and_poll(store.id, file_ids=ids)
    assert (batch.object, batch.status) == ("vector_store.file_batch", "completed")
    counts = batch.file_counts
    assert (counts.completed, counts.in_progress, counts.total) == (2, 0, 2)
    assert batches.retrieve(batch.id, vector_store_id=store.id).to_dict() == batch.to_dict()
    listed = list(batches.list_files(batch.id, vector_store_id=store.id, limit=1))
    assert {file.id for file in listed} == set(ids)
    assert batches.cancel(batch.id, vector_store_id=store.id).status == "completed"


@scenario
def a_batch_with_attributes(kumos: Kumos) -> None:
    client = kumos.connect(strict=False)
    ids = [client.files.create(file=file, purpose="assistants").id for file in (OWLS, NEWTS)]
    store = client.vector_stores.create()
    batches = client.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=ids, attributes={"place": "Zanthia"})
    assert batch.file_counts.total == 2
    assert batches.poll(batch.id, vector_store_id=store.id).status == "completed"
    listed = batches.list_files(batch.id, vector_store_id=store.id, filter="completed").data
    assert [file.attributes for file in listed] == [{"place": "Zanthia"}] * 2


@scenario
def a_batch_of_uploads(kumos: Kumos) -> None:
    client = kumos.connect(strict=False)
    store = client.vector_stores.create(name="Zanthia")
    batch = client.vector_stores.file_batches.upload_and_poll(store.id, files=[OWLS, NEWTS, ("x.mp3", b"\0\1")])
    assert batch.file_counts.in_progress == 0
    assert (batch.file_counts.completed, batch.file_counts.failed, batch.file_counts.total) == (2, 1, 3)
    after = client.vector_stores.retrieve(store.id)
    assert (after.status, after.file_counts.completed) == ("completed", 2)


@scenario
def a_batch_that_is_cancelled(kumos: Kumos) -> None:
    client = kumos.connect(strict=False)
    ids = [client.files.create(file=(f"{n}.txt", b"word " * 20_000), purpose="assistants").id for n in range(4)]
    store = client.vector_stores.create(name="Zanthia")
    batches = client.vector_stores.file_batches
    batch = batches.create(store.id, file_ids=ids)
    assert batch.file_counts.in_progress > 0
    batches.cancel(batch.id, vector_store_id=store.id)
    ended = batches.poll(batch.id, vector_store_id=store.id)
    assert ended.status in ("cancelled", "completed")
    counts = ended.file_counts
    assert counts.cancelled + counts.completed == counts.total == 4


@scenario
def a_search(kumos: Kumos) -> None:
    client = kumos.client
    store = client.vector_stores.create(name="Zanthia")
    files = client.vector_stores.files
    owls = files.upload_and_poll(vector_store_id=store.id, file=OWLS)
    newts = files.upload_and_poll(vector_store_id=store.id, file=NEWTS)
    files.update(owls.id, vector_store_id=store.id, attributes={"kind": "bird"})
    files.update(newts.id, vector_store_id=store.id, attributes={"kind": "amphibian"})
    found = client.vector_stores.search(store.id, query="How do owls hunt?", max_num_results=5).data
    assert found[0].file_id == owls.id
    assert found[0].filename == OWLS[0]
    assert "starlight" in found[0].content[0].text
    assert 0 <= found[0].score <= 1
    assert found[0].attributes == {"kind": "bird"}
    only = client.vector_stores.search(
        store.id,
        query=["Zanthia"],
        filters={"type": "eq", "key": "kind", "value": "amphibian"},
        ranking_options={"score_threshold": 0.0},
    )
    assert {result.file_id for result in only} == {newts.id}


@scenario
def a_file_attached_to_a_message_is_searched(kumos: Kumos) -> None:
    client = kumos.client
    file = client.files.create(file=NEWTS, purpose="assistants")
    thread = client.beta.threads.create(
        messages=[
            {
                "role": "user",
                "content": "Where do the newts of Zanthia sleep?",
                "attachments": [{"file_id": file.id, "tools": [FILE_SEARCH]}],
            }
        ]
    )
    (message,) = client.beta.threads.messages.list(thread.id).data
    assert message.attachments is not None
    assert [attachment.file_id for attachment in message.attachments] == [file.id]
    resources = client.beta.threads.retrieve(thread.id).tool_resources
    assert resources is not None
    assert resources.file_search is not None
    (store,) = resources.file_search.vector_store_ids or []
    assert client.vector_stores.files.poll(file.id, vector_store_id=store).status == "completed"
    run = client.beta.threads.runs.create_and_poll(
        thread_id=thread.id, assistant_id=kumos.assistant(tools=[FILE_SEARCH])
    )
    answer = kumos.answer_of(run)
    assert "teapots" in text_of(answer)
    assert {note["file_citation"]["file_id"] for note in annotations_of(answer)} == {file.id}
