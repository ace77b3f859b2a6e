"""What runs have used, kept when they end: one entry a run, which outlives the run, its thread and its key.

Sums over it are made by whoever shows them; what tokens cost is said by `prices.py`.
"""

from __future__ import annotations

from datetime import datetime

from runs.models import Run, UsageRecord


def enter(run: Run, moment: datetime) -> None:
    """Enters an ended run. To be called in the transaction that ends it, after its usage is known."""
    used = run.usage or {}
    UsageRecord.objects.create(
        run_id=run.pk,
        project_id=run.project_id,
        thread_id=run.thread_id,
        assistant_id=run.assistant_id,
        made_by=run.made_by,
        model=run.model,
        status=run.status,
        ended_at=moment,
        prompt_tokens=used.get("prompt_tokens", 0),
        cached_tokens=used.get("prompt_token_details", {}).get("cached_tokens", 0),
        completion_tokens=used.get("completion_tokens", 0),
    )
