"""The demo: a project with documents, assistants, a key and somebody to log in. For trying Kumos out, not for serving.

`make_demo` may be called at each start: it adds what is missing and touches nothing else, so whatever somebody changed
in the admin stays. The documents are indexed here and now; the first question need not wait for a runner.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from django.db import transaction

from assistants import storage, stores, versions
from assistants.clock import now
from assistants.models import ApiKey, Assistant, File, FileStatus, Membership, Project, Purpose, VectorStoreFile
from assistants.models.project import digest_of
from assistants.retrieval import index
from assistants.retrieval.chunk import slices
from assistants.retrieval.extract import extract
from assistants.serializers.tools import Tools

PROJECT_NAME = "Demo"
USER_NAME = "admin"
KEY_SECRET = "sk-test-001"
DOCUMENTS = Path(__file__).resolve().parent / "documents"

GET_WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city, now.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "The name of the city, for example Lund"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": False,
}
ASSISTANTS: tuple[dict[str, Any], ...] = (
    {
        "name": "Document Searcher",
        "description": "Answers from the files of this project and says where each fact comes from.",
        "instructions": (
            "You answer questions about the documents of this project. Search them before you answer, use only what"
            " you find there, and cite the passage behind each fact. If the documents do not say it, say so. Keep it"
            " short and friendly."
        ),
        "tools": [{"type": "file_search"}],
        "starters": [
            "Summarize 'Project Dragon' based on all available files",
            "What is the budget of Project Dragon, and how much is spent?",
            "When does the pilot in Varnby start, and what could delay it?",
            "How many days of holiday can I take along into the next year?",
        ],
    },
    {
        "name": "Weather Desk",
        "description": "Calls a function of yours, get_weather, and waits for what you give back.",
        "instructions": (
            "You tell people about the weather. Call get_weather for every city that is asked about, then answer in"
            " one or two sentences."
        ),
        "tools": [{"type": "function", "function": GET_WEATHER}],
        "starters": ["What is the weather in Lund?", "Do I need an umbrella in Bergen?"],
    },
    {
        "name": "Plain Talker",
        "description": "No tools: just a conversation.",
        "instructions": "You are a friendly conversation partner. Answer in plain words and keep it short.",
        "tools": [],
        "starters": ["Who are you?", "What can you do for me?"],
    },
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What there is to try. `added`: what this call had to make, in words; empty where nothing was missing."""

    project: Project
    user: User
    key: str
    assistant_ids: dict[str, str]
    added: tuple[str, ...]

    @property
    def searcher_id(self) -> str:
        return self.assistant_ids["Document Searcher"]


def make_demo() -> Demo:
    """The demo, complete: what is missing is made first. All of it or nothing."""
    added: list[str] = []
    with transaction.atomic():
        project, is_new = Project.objects.get_or_create(name=PROJECT_NAME)
        if is_new:
            added.append(f"the project {PROJECT_NAME}")
        user = member(project, added)
        if not ApiKey.objects.filter(digest=digest_of(KEY_SECRET)).exists():
            ApiKey.issue(project, "Demo key", secret=KEY_SECRET)
            added.append(f"the API key {KEY_SECRET}")
        assistant_ids = {wanted["name"]: assistant(project, wanted, added) for wanted in ASSISTANTS}
        known = set(File.objects.filter(project=project).values_list("filename", flat=True))
        missing = [path for path in sorted(DOCUMENTS.iterdir()) if path.name not in known]
        for path in missing:
            upload(project, path)
        if missing:
            added.append(f"{len(missing)} document{'s' if len(missing) > 1 else ''}")
    return Demo(project, user, KEY_SECRET, assistant_ids, tuple(added))


def find_demo() -> Demo | None:
    """The demo as somebody left it, or None where any of what a newcomer needs is gone. Brings nothing back."""
    project = Project.objects.filter(name=PROJECT_NAME).first()
    user = User.objects.filter(username=USER_NAME, is_active=True).first()
    key = ApiKey.objects.usable(now()).filter(digest=digest_of(KEY_SECRET), project=project).exists()
    if project is None or user is None or not key:
        return None
    found = Assistant.objects.filter(project=project, scratch_of=None).order_by("-created_at")
    return Demo(project, user, KEY_SECRET, {each.name: each.id for each in found if each.name}, ())


def member(project: Project, added: list[str]) -> User:
    """The user, who has no password: the way in is a one-time link (kumos_site/login.py)."""
    user, is_new = User.objects.get_or_create(username=USER_NAME, defaults={"is_staff": True, "is_superuser": True})
    if is_new:
        user.set_unusable_password()
        user.save()
        added.append(f"the user {USER_NAME}")
    Membership.objects.get_or_create(project=project, user=user)
    return user


def assistant(project: Project, wanted: dict[str, Any], added: list[str]) -> str:
    """The id of the assistant of that name."""
    named = Assistant.objects.filter(project=project, name=wanted["name"], scratch_of=None)
    found = named.order_by("created_at").first()
    if found is None:
        fields = {key: value for key, value in wanted.items() if key != "starters"}
        fields["tools"] = Tools().run_validation(fields["tools"])  # with its defaults, as POST /v1/assistants does
        found = Assistant.objects.create(
            project=project,
            model=settings.KUMOS_DEFAULT_MODEL,
            metadata={"starters": json.dumps(wanted["starters"])},
            **fields,
        )
        versions.record(found, "the demo")
        added.append(f"the assistant {found.name}")
    return found.id


def upload(project: Project, path: Path) -> None:
    """The document as a file of the project, searchable at once. It is ours, so no child process has to read it."""
    content = path.read_bytes()
    file = storage.store_file(project, ContentFile(content), filename=path.name, purpose=Purpose.ASSISTANTS)
    store_file = stores.attach(stores.covering_store(project), file)
    index.add_passages(store_file.pk, 0, slices(extract(content, path.name)))
    VectorStoreFile.objects.filter(pk=store_file.pk).update(status=FileStatus.COMPLETED, usage_bytes=file.bytes)
