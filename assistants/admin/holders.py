"""Who uses a file or a vector store: the assistants and threads whose tool resources name it.

Files for code stand in an index. Vector stores stand in JSON alone, so only the newest of a project are looked at.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import reduce
from operator import or_

from django.db.models import Q, TextField
from django.db.models.functions import Cast
from django.utils.safestring import SafeString

from assistants.models import Assistant, File, Thread, VectorStore

from .markup import link

LOOKED_AT = 1000
SHOWN = 50


def naming(model: type[Assistant] | type[Thread], project_id: str, store_ids: Collection[str]) -> Q:
    """What holds for those of the newest in the project whose resources name one of the stores."""
    newest = model.objects.filter(project_id=project_id).order_by("-created_at", "-id").values("pk")[:LOOKED_AT]
    written = model.objects.filter(pk__in=newest).annotate(written=Cast("tool_resources", TextField()))
    mentions = reduce(or_, (Q(written__contains=f'"{id}"') for id in store_ids))
    return Q(pk__in=written.filter(mentions).order_by().values("pk"))


def links(model: type[Assistant] | type[Thread], condition: Q) -> list[SafeString]:
    found = model.objects.filter(condition).defer("tool_resources", "metadata").order_by("-created_at", "-id")
    return [link(model, one.pk, str(one)) for one in found[:SHOWN]]


def of_file(model: type[Assistant] | type[Thread], file: File, store_ids: Collection[str]) -> list[SafeString]:
    """Those that name the file for code, or one of the stores that hold it."""
    by_code = Q(pk__in=model.objects.filter(named_files=file).order_by().values("pk"))
    return links(model, by_code | naming(model, file.project_id, store_ids) if store_ids else by_code)


def of_store(model: type[Assistant] | type[Thread], store: VectorStore) -> list[SafeString]:
    return links(model, naming(model, store.project_id, [store.id]))
