"""file_search in a run (contract 5.6): ranked passages of the assistant's and the thread's stores, numbered for citing.

Where neither names a store, it covers every file of the project with purpose `assistants` (KUMOS_SEARCH_ALL_FILES).
Extraction, chunks and ranking are in assistants/retrieval.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import orjson
from channels.db import database_sync_to_async
from django.conf import settings

from assistants import stores
from assistants.clock import now
from assistants.models import Thread, VectorStore
from assistants.retrieval.search import Passage, search
from assistants.tokens import count_tokens
from runs import citations, ingest
from runs.completers import CompleterError
from runs.models import Run
from runs.tools import Details, Show

RESULTS = 20
RESULTS_FOR_SMALL = 5  # for gpt-3.5-turbo (contract 2.3)
TOKENS_MAX = 16_000
"""What the passages of one search may come to (contract 5.6); the best ones stay."""
RANKER = "default_2024_08_21"
WAIT_SECONDS = 60.0  # for files that are still being processed (contract 5.2)


class FileSearch:
    type = "file_search"
    input = ""

    def function(self) -> Mapping[str, Any]:
        return {
            "type": "function",
            "function": {
                "name": self.type,
                "description": (
                    "Searches the files that are available in this conversation and returns the best passages."
                    " Use it for every question that the files may answer. Behind each statement taken from a passage"
                    " write that passage's marker, exactly as given, for example 【0:2†source】."
                ),
                "parameters": {
                    "type": "object",
                    "properties": {"query": {"type": "string", "description": "What to look for, in key words."}},
                    "required": ["query"],
                    "additionalProperties": False,
                },
            },
        }

    def opening(self, run: Run) -> Details:
        _, threshold = self.options(run)
        return {"ranking_options": {"ranker": RANKER, "score_threshold": threshold}, "results": []}

    def options(self, run: Run) -> tuple[int, float]:
        """How many results and from which score on, as the run's tool says."""
        given = next(tool for tool in run.tools if tool["type"] == self.type).get(self.type) or {}
        ranking = given.get("ranking_options") or {}
        default = RESULTS_FOR_SMALL if run.model.startswith("gpt-3.5-turbo") else RESULTS
        return given.get("max_num_results") or default, ranking.get("score_threshold") or 0.0

    async def execute(self, run: Run, arguments: str, show: Show) -> Details:
        store_ids = await database_sync_to_async(stores_of, thread_sensitive=False)(run)
        awaited = await database_sync_to_async(awaited_of, thread_sensitive=False)(run, store_ids)
        waiting = database_sync_to_async(ingest.waiting_in, thread_sensitive=False)
        begun = now()  # files that come later are not waited for: where they keep coming, there is always one
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT_SECONDS):
                while await waiting(awaited, begun):
                    await asyncio.sleep(0.1)
        limit, threshold = self.options(run)
        passages = await database_sync_to_async(best_passages, thread_sensitive=False)(
            store_ids, query_of(arguments), limit, threshold
        )
        return {**self.opening(run), "results": [result(passage) for passage in passages]}

    def told(self, details: Mapping[str, Any], step_number: int, first_result: int) -> str:
        results = [
            {
                "marker": citations.marker(step_number, number),
                "file_name": found["file_name"],
                "score": found["score"],
                "text": "\n".join(part["text"] for part in found["content"]),
            }
            for number, found in enumerate(details["results"], start=first_result)
        ]
        return orjson.dumps({"results": results}).decode()


def query_of(arguments: str) -> str:
    """The model's query; what it wrote as it is, where that is not the JSON it was asked for."""
    try:
        parsed = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
    return str(parsed.get("query") or arguments) if isinstance(parsed, dict) else str(parsed)


def best_passages(store_ids: Sequence[str], query: str, limit: int, threshold: float) -> list[Passage]:
    """The best passages, as many as `limit` and TOKENS_MAX allow."""
    passages = search(store_ids, query, limit=limit, score_threshold=threshold)
    sums = accumulate(count_tokens(passage.text) for passage in passages)
    return [passage for passage, tokens in zip(passages, sums, strict=True) if tokens <= TOKENS_MAX]


def result(passage: Passage) -> dict[str, Any]:
    return {
        "file_id": passage.file_id,
        "file_name": passage.filename,
        "score": passage.score,
        "attributes": dict(passage.attributes),
        "content": [{"type": "text", "text": passage.text}],
    }


def stores_of(run: Run) -> list[str]:
    """The ids of the stores to search; using them keeps them alive. A run that names an expired store fails."""
    named = (run.tool_resources.get("file_search") or {}).get("vector_store_ids") or []
    found = VectorStore.objects.filter(project_id=run.project_id)
    if named or not settings.KUMOS_SEARCH_ALL_FILES:
        found = found.filter(pk__in=named)
    else:
        found = found.filter(covers_project=True)
    for store in found:
        if stores.is_expired(store):
            raise CompleterError("server_error", f"Vector store {store.pk} has expired.")
    ids = [store.pk for store in found]
    stores.touch(ids)
    return ids


def awaited_of(run: Run, store_ids: Sequence[str]) -> list[str]:
    """Whose unread files the run waits for: the thread's store (contract 5.2), or that of all files where it stands in.

    What an assistant knows is put together beforehand, and its run does not wait for more.
    """
    if not (run.tool_resources.get("file_search") or {}).get("vector_store_ids"):
        return list(store_ids)
    resources = Thread.objects.values_list("tool_resources", flat=True).get(pk=run.thread_id)
    own = (resources.get("file_search") or {}).get("vector_store_ids") or []
    return [id for id in store_ids if id in own]
