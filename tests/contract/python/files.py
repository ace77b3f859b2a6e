"""Files and models."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import openai

from tests.contract.python.stage import Kumos, refusal, scenario

NOTES = "Übergrößenträger, naïve café — 日本語.\n".encode()


@scenario
def a_file_lives(kumos: Kumos) -> None:
    files = kumos.client.files
    made = files.create(file=("notes.md", NOTES), purpose="assistants")
    assert (made.object, made.filename, made.bytes, made.purpose) == ("file", "notes.md", len(NOTES), "assistants")
    assert made.status == "processed"
    assert files.retrieve(made.id).to_dict() == made.to_dict()
    assert files.wait_for_processing(made.id, poll_interval=0.1).id == made.id
    gone = files.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "file", True)
    error = refusal(openai.NotFoundError, files.retrieve, made.id)
    assert error.param == "id"
    assert f"No such File object: {made.id}" in error.message


@scenario
def a_file_comes_back_as_it_was(kumos: Kumos) -> None:
    data = bytes(range(256)) * 40
    made = kumos.client.files.create(file=("all bytes.bin", data), purpose="user_data")
    assert kumos.client.files.content(made.id).read() == data


@scenario
def files_from_paths_and_streams(kumos: Kumos) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "Ärger & Co.txt")
        path.write_bytes(NOTES)
        from_path = kumos.client.files.create(file=path, purpose="assistants")
        with path.open("rb") as opened:
            from_opened = kumos.client.files.create(file=opened, purpose="assistants")
    from_memory = kumos.client.files.create(file=io.BytesIO(NOTES), purpose="assistants")
    assert from_path.filename == from_opened.filename == "Ärger & Co.txt"
    assert from_path.bytes == from_opened.bytes == from_memory.bytes == len(NOTES)


@scenario
def a_file_with_an_end(kumos: Kumos) -> None:
    made = kumos.client.files.create(
        file=("notes.txt", NOTES), purpose="assistants", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == made.created_at + 3600


@scenario
def files_page_both_ways(kumos: Kumos) -> None:
    """`batch` and not another purpose, because no other scenario uploads such files."""
    files = kumos.client.files
    made = [files.create(file=(f"{number}.jsonl", b"{}"), purpose="batch").id for number in range(7)]
    assert [file.id for file in files.list(purpose="batch", limit=3, order="asc") if file.id in made] == made
    assert [file.id for file in files.list(purpose="batch", limit=3) if file.id in made] == made[::-1]
    assert not {file.id for file in files.list(purpose="vision")} & set(made)


@scenario
def models(kumos: Kumos) -> None:
    listed = list(kumos.client.models.list())
    assert "scripted" in [model.id for model in listed]
    model = kumos.client.models.retrieve("scripted")
    assert model.object == "model"
    assert model.id == "scripted"
    error = refusal(openai.NotFoundError, kumos.client.models.retrieve, "nobody")
    assert error.code == "model_not_found"
