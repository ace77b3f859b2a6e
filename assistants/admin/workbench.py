"""What the assistant's form asks for while somebody works on it: tokens, verdicts on functions, models, files.

Nothing here changes the assistant: what comes of it is put into the form, and saved with it. A file that is uploaded
here asks for the rights, and leaves the entries in the audit log, that the pages of files and stores would. Trying it
out is trial.py's business.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.defaultfilters import filesizeformat
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from assistants import stores, tokens
from assistants.errors import ApiError
from assistants.models import Project, Purpose, VectorStoreFile
from assistants.parsers import label
from assistants.serializers.fields import INSTRUCTIONS_MAX
from assistants.storage import enter, received

from . import audit, function_tools, suggestions
from .markup import error_in_words

if TYPE_CHECKING:
    from .assistant import AssistantAdmin

FILES_SHOWN = 50
TEXTS_MAX = 200

View = Callable[..., HttpResponse]


def urls(page: AssistantAdmin, wrap: Callable[[View], View]) -> list[Any]:
    """Their addresses, below the list of assistants. `wrap` is the admin site's: who is no staff has to log in."""
    views: dict[str, View] = {"tokens": count, "check": check, "models": models, "uploads": uploads}
    views["upload"] = require_POST(partial(upload, page))
    return [path(f"{name}/", wrap(view), name=f"assistants_assistant_{name}") for name, view in views.items()]


def may_write(request: HttpRequest) -> bool:
    return request.user.has_perm("assistants.add_assistant") or request.user.has_perm("assistants.change_assistant")


def for_writers(request: HttpRequest) -> None:
    if not may_write(request):
        raise PermissionDenied


def refused(message: str, status: int = 400) -> JsonResponse:
    return JsonResponse({"message": message}, status=status)


@require_POST
def count(request: HttpRequest) -> HttpResponse:
    """How long `text` is, as it would be saved."""
    for_writers(request)
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text) > 2 * INSTRUCTIONS_MAX:
        return refused("The text is much too long.")
    return JsonResponse({"tokens": tokens.count_tokens(text), "characters": len(text), "most": INSTRUCTIONS_MAX})


@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """A verdict on each of the `functions`, in their order."""
    for_writers(request)
    texts = request.POST.getlist("functions")
    if len(texts) > TEXTS_MAX:
        return refused(f"At most {TEXTS_MAX} at once.")
    return JsonResponse({"functions": function_tools.verdicts(texts)})


@require_GET
def models(request: HttpRequest) -> HttpResponse:
    """Every model that is known, with what providers list when they are asked, which may take seconds."""
    for_writers(request)
    return JsonResponse({"models": [name for name, _ in suggestions.models(ask=True)]})


def upload(page: AssistantAdmin, request: HttpRequest) -> HttpResponse:
    """One file into the project: for code as it is, else into `store`, or into a new one where none is named."""
    for_writers(request)
    for_search = request.POST.get("use") != "code"
    named = request.POST.get("store", "").strip()
    if not request.user.has_perm("assistants.add_file"):
        return refused("You may not upload files.", 403)
    if for_search and not request.user.has_perm(f"assistants.{'change' if named else 'add'}_vectorstore"):
        return refused(f"You may not {'put files into' if named else 'make'} vector stores.", 403)
    project = Project.objects.filter(pk=request.POST.get("project", "")).first()
    given = request.FILES.get("file")
    if project is None:
        return refused("Choose a project first.")
    if not isinstance(given, UploadedFile) or not given.size:
        return refused("The file is empty." if given else "There is no file in the request.")
    if given.size > settings.KUMOS_FILE_BYTES_MAX:
        return refused(f"The file is larger than {filesizeformat(settings.KUMOS_FILE_BYTES_MAX)}.")
    try:
        # Before the bytes are kept: a store that is not there is found at once.
        store = stores.find_store(project, named) if for_search and named else None
        with (
            received(project, given, filename=label(given), purpose=Purpose.ASSISTANTS) as file,
            transaction.atomic(),
        ):
            enter(file)
            page.log_addition(request, file, [{"added": {}}])
            if for_search:
                if store is None:
                    store = stores.create_store(project, name=request.POST.get("name", "")[:200] or None)
                    page.log_addition(request, store, audit.made("Made for a file of an assistant’s form.", store))
                stores.attach(store, file)
                page.log_change(request, store, f"Files attached: {file.filename}.")
    except ApiError as error:
        return refused(str(error))
    return JsonResponse({"file": file.pk, "name": file.filename, "store": store.pk if store else ""})


@require_GET
def uploads(request: HttpRequest) -> HttpResponse:
    """The newest files of a store with what became of them."""
    for_writers(request)
    if not any(request.user.has_perm(f"assistants.{may}_vectorstore") for may in ("view", "change")):
        raise PermissionDenied
    rows = (
        VectorStoreFile.objects.filter(
            vector_store=request.GET.get("store", ""),
            vector_store__project=request.GET.get("project", ""),
            vector_store__covers_project=False,
        )
        .select_related("file")
        .order_by("-created_at", "-id")[: FILES_SHOWN + 1]
    )
    files = [
        {"file": row.file_id, "name": row.file.filename, "status": row.status, "error": error_in_words(row.last_error)}
        for row in rows
    ]
    return JsonResponse({"files": files[:FILES_SHOWN], "more": len(files) > FILES_SHOWN})
