"""What runs have used, kept when they end: one entry a run, which outlives the run, its thread and its key.

Keys that follow each other are one line there (`ApiKey.succession`). Sums over it are made by whoever shows them; what
tokens cost is said by `prices.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from typing import Any

from django.db import DatabaseError, connection, transaction

from assistants import keys
from runs import prices
from runs.completers import providers
from runs.models import Run, UsageRecord

logger = logging.getLogger(__name__)

_later = ThreadPoolExecutor(1, thread_name_prefix="prices")
"""Where the table of prices is read for the first time."""


def enter(run: Run, moment: datetime, unseen: Mapping[str, Any] | None = None) -> None:
    """Enters an ended run. To be called in the transaction that ends it, after its usage is known.

    `unseen` is usage that the run itself does not show.
    """
    parts = [part for part in (run.usage, unseen) if part]
    tokens = (
        sum(part.get("prompt_tokens", 0) for part in parts),
        sum(part.get("prompt_token_details", {}).get("cached_tokens", 0) for part in parts),
        sum(part.get("completion_tokens", 0) for part in parts),
    )
    model = providers.meant(run.model, run.project_id)
    later = False
    try:
        cost = prices.cost_of(model, *tokens, read=False)
    except prices.NotRead:  # the writer does not wait for it, nor does the database
        cost, later = None, True
    UsageRecord.objects.create(
        run_id=run.pk,
        project_id=run.project_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        made_by=keys.succession_of(run.made_by) if run.made_by.startswith("key_") else run.made_by,
        model=run.model,
        status=run.status,
        ended_at=moment,
        prompt_tokens=tokens[0],
        cached_tokens=tokens[1],
        completion_tokens=tokens[2],
        cost=cost,
    )
    if later:
        transaction.on_commit(partial(_later.submit, _price, run.pk, model, tokens), robust=True)


def _price(run_id: str, model: str, tokens: tuple[int, int, int]) -> None:
    """Enters the cost of a run that ended before the prices were at hand."""
    try:
        if (cost := prices.cost_of(model, *tokens)) is not None:
            UsageRecord.objects.filter(pk=run_id, cost=None).update(cost=cost)
    except DatabaseError:
        logger.warning("the cost of run %s was not kept", run_id, exc_info=True)
    finally:
        connection.close()
