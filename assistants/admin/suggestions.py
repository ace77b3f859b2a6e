"""What the assistant's form suggests while people type: names of models, vector stores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from assistants.models import Assistant, VectorStore

from .inputs import Suggestion

SUGGESTED = 100

model_sources: list[Callable[[], Iterable[str]]] = []
"""Where names of models come from: `runs.admin` puts the providers' here."""


listed_sources: list[Callable[[], Iterable[str]]] = []
"""The same with what providers list when they are asked, which may take seconds."""


function_sources: list[Callable[[str], Iterable[Mapping[str, Any]]]] = []
"""Where functions come from that the server carries out, for a project: `runs.admin` puts the tools' here."""


def functions(project_id: str) -> list[Mapping[str, Any]]:
    """What the form of an assistant offers to insert. While no project is chosen, what every project has."""
    return [function for source in function_sources for function in source(project_id)][:SUGGESTED]


def models(*, ask: bool = False) -> list[Suggestion]:
    """What the providers name, then what assistants use, each once. No provider is called, unless `ask`."""
    used = Assistant.objects.filter(scratch_of=None).order_by("pk").values_list("model", flat=True)[:SUGGESTED]
    sources = [*model_sources, *(listed_sources if ask else ())]
    names = dict.fromkeys([*(name for source in sources for name in source()), *used])
    return [(name, "") for name in names]


def vector_stores(project_id: str) -> list[Suggestion]:
    """The newest stores of a project; while none is chosen (an empty id), some of any project, with its name."""
    stores = VectorStore.objects.filter(covers_project=False).select_related("project")
    stores = (
        stores.filter(project_id=project_id).order_by("-created_at", "-id") if project_id else stores.order_by("pk")
    )
    return [(store.id, f"{store} · {store.project}") for store in stores[:SUGGESTED]]
