"""What pages of threads tell of their runs: tool calls and passages in the conversation, and a filter of the list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from assistants.admin.transcript import Card, Work
from runs.models import ACTIVE, Run, RunStatus, RunStep, StepType

from .timeline import Call, call_of

STEPS_READ = 1000
RUNS_LOOKED_AT = 1000


def work_of(run_ids: Sequence[str], readable: bool) -> Work:
    """The tool calls of these runs, each before the message that followed it, and the passages they found.

    Without `readable` only what was called, and in which files something was found.
    """
    steps = RunStep.objects.filter(run__in=run_ids).order_by("run", "created_at", "id")
    by_run: dict[str, list[Any]] = {}
    for step in steps.values("run_id", "type", "step_details", "call_arguments")[:STEPS_READ]:
        by_run.setdefault(step["run_id"], []).append(step)
    cards: dict[str, list[Card]] = {}
    passages: dict[tuple[str, int, int], tuple[str, str]] = {}
    for run_id, told in by_run.items():
        waiting: list[Card] = []
        for number, step in enumerate(told):
            details = step["step_details"]
            if step["type"] == StepType.TOOL_CALLS:
                calls = details.get("tool_calls") or ()
                asked = step["call_arguments"]
                waiting += [card_of(call_of(call, asked.get(call["id"], ""), readable=readable)) for call in calls]
                for index, (file_id, text) in enumerate(found_by(calls) if readable else ()):
                    passages[run_id, number, index] = (file_id, text)
            else:
                cards[details.get("message_creation", {}).get("message_id", "")] = waiting
                waiting = []
    return Work(cards, passages)


def card_of(call: Call) -> Card:
    found = [(f"{hit.filename} · score {hit.score}", hit.text) for hit in call.hits]
    return Card(call.title, call.asked, call.answer, found)


def found_by(calls: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """(file id, text) of what the searches of a step found, in the order that citations count (contract 2.7)."""
    for call in calls:
        if call.get("type") == "file_search":
            for result in call["file_search"].get("results") or ():
                yield str(result.get("file_id")), "\n".join(part["text"] for part in result.get("content") or ())


class RunsFilter(admin.SimpleListFilter):
    """Threads by what became of their runs. Of the failed ones the newest are looked at, so that it costs little."""

    title = "runs"
    parameter_name = "runs"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("active", "One is active"), ("failed", "One of the newest failed"), ("none", "None yet")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "active":
                return queryset.filter(pk__in=Run.objects.filter(status__in=ACTIVE).order_by().values("thread"))
            case "failed":
                failed = Run.objects.filter(status=RunStatus.FAILED).order_by("-created_at")
                return queryset.filter(pk__in=failed.values("thread")[:RUNS_LOOKED_AT])
            case "none":
                return queryset.filter(runs=None)
        return queryset
