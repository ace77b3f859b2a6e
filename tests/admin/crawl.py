"""Every address of the admin, from the URL patterns, and a database with one object of everything to fill them with.

Secrets and content stand wherever they can stand. A page or a table that is added later is crawled from that day on; a
new table must get an object in `everything`, or the crawl says so.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Model
from django.urls import URLPattern, URLResolver, get_resolver

from assistants import versions
from assistants.admin import audit
from assistants.models import (
    ApiKey,
    Assistant,
    Chunk,
    File,
    Membership,
    Message,
    Project,
    Share,
    Thread,
    VectorStore,
    VectorStoreFile,
)
from runs.completers import vault
from runs.models import McpServer, ModelPrice, Provider, Run, RunStep, UsageRecord, Worker

from .conftest import Talk

CONTENT = "zyxwvutcontent"
SECRETS = {
    "value": "hunter2-in-metadata",
    "in arguments": "hunter2-in-arguments",
    "of a model server": "sk-hunter2-upstream",
    "of an MCP server": "hunter2-of-tools",
}
CLOSING = ("admin/logout/", "admin/login/")
"""What would end the crawl."""


def everything(talk: Talk) -> dict[type[Model], Model]:
    """One object of each table, most of them of the talk."""
    project, thread, run = talk.thread.project, talk.thread, talk.run
    secret = {"api_key": SECRETS["value"], "customer": "c-17"}
    for thing in (talk.thread, talk.answer, talk.run, talk.assistant):
        type(thing)._default_manager.filter(pk=thing.pk).update(metadata={**secret, "title": CONTENT})
    talk.assistant.refresh_from_db()
    talk.assistant.metadata = secret  # what an assistant is made of is no content
    talk.assistant.save()
    text = [{"type": "text", "text": {"value": f"{CONTENT} was said", "annotations": []}}]
    Message.objects.filter(pk=talk.answer.pk).update(content=text)
    arguments = json.dumps({"password": SECRETS["in arguments"], "city": CONTENT})
    output = json.dumps({"x": [{"secret": SECRETS["value"]}], "y": CONTENT})
    function = {"name": "roar", "arguments": arguments, "output": output}
    text_part = {"type": "text", "text": CONTENT}
    passage = {"file_id": "file-1", "file_name": "lore.txt", "score": 0.9, "content": [text_part]}
    calls = [
        {"id": "call_1", "type": "function", "function": function},
        {"id": "call_2", "type": "file_search", "file_search": {"results": [passage]}},
    ]
    RunStep.objects.filter(run=run, type="tool_calls").update(
        step_details={"type": "tool_calls", "tool_calls": calls},
        begun={"calls": calls, "arguments": {"call_1": arguments}},
    )
    Run.objects.filter(pk=run.pk).update(instructions=CONTENT, made_by="user 1", request_id="req_" + "1" * 32)
    delta = {"delta": {"step_details": {"tool_calls": [{"function": {"arguments": arguments}}]}}}
    thread.events.filter(seq=2).update(data=json.dumps(delta))
    thread.events.filter(seq=1).update(data=json.dumps({"instructions": CONTENT, "metadata": secret}))
    file = File.objects.create(project=project, filename="lore.txt", purpose="assistants", bytes=20)
    file.blob.save("lore.txt", ContentFile(f"{CONTENT} in a file".encode()))
    store = VectorStore.objects.create(project=project, name="Lore", metadata=secret)
    held = VectorStoreFile.objects.create(vector_store=store, file=file, status="completed", attributes=secret)
    Chunk.objects.create(store_file=held, position=0, text=CONTENT)
    key, _ = ApiKey.issue(project, "billing", scopes=["threads.read"])
    share, _ = Share.issue(thread)
    user = User.objects.create_user("somebody", password="hunter2-password")
    Membership.objects.create(project=project, user=user)
    versions.record(talk.assistant, "somebody")
    base_url = "http://127.0.0.1:9/v1"
    sealed = vault.seal(SECRETS["of a model server"], base_url)
    provider = Provider.objects.create(name="acme", base_url=base_url, sealed_key=sealed)
    mcp_url = "http://127.0.0.1:9/mcp"
    mcp_server = McpServer.objects.create(
        name="trains",
        base_url=mcp_url,
        sealed_key=vault.seal(SECRETS["of an MCP server"], mcp_url),
        tools=[{"name": "book", "description": "Books.", "parameters": {"type": "object"}, "idempotent": False}],
    )
    entry = audit.entry(project, 2, audit.made("Made.", key), user.pk)
    entry.save()
    usage = UsageRecord.objects.create(
        run_id=run.pk,
        project=project,
        thread_id=thread.pk,
        assistant_id=talk.assistant.pk,
        model="acme/large",
        status="completed",
        ended_at=run.created_at,
    )
    things: list[Model] = [
        project, thread, run, talk.answer, talk.assistant, file, store, key, share, user, provider, entry, usage,
        mcp_server,
        Group.objects.create(name="Guests"),
        thread.events.get(seq=2),
        Worker.objects.create(id="worker_1", host="host", pid=1, slots=4),
        ModelPrice.objects.create(model="acme/large", prompt=1, completion=2),
    ]  # fmt: skip
    return {type(thing): thing for thing in things}


def secrets_kept() -> list[str]:
    """What must be on no page, besides SECRETS: what is in the database and tells nobody anything."""
    kept = [*ApiKey.objects.values_list("digest", flat=True), *Share.objects.values_list("digest", flat=True)]
    kept += [*User.objects.exclude(password="").values_list("password", flat=True), settings.SECRET_KEY, "hunter2"]
    sealed = [kept.sealed_key for table in (Provider, McpServer) for kept in table._default_manager.all()]
    return [*SECRETS.values(), *kept, *sealed]


# Addresses ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Page:
    """An address; `model` and `place` ("changelist", "change", …) where it belongs to a table."""

    address: str
    model: type[Model] | None = None
    place: str = ""

    @property
    def is_own(self) -> bool:
        """Whether the page is of Kumos, not one that Django's admin has of every table."""
        return self.place not in ("changelist", "add", "change", "delete", "history")


def pages(things: dict[type[Model], Model], run: Run) -> Iterator[Page]:
    named = {f"{model._meta.app_label}/{model._meta.model_name}/": model for model in admin.site._registry}
    given = {
        "app_label": "assistants",
        "url": "nothing",
        "number": 1,
        "run_id": run.pk,
        "thread_id": run.thread_id,
        "content_type_id": 1,
        **{f"{model._meta.model_name}_id": thing.pk for model, thing in things.items()},
    }

    def walk(patterns: list[URLPattern | URLResolver], prefix: str, model: type[Model] | None) -> Iterator[Page]:
        for pattern in patterns:
            part = str(pattern.pattern)
            if isinstance(pattern, URLResolver):
                yield from walk(pattern.url_patterns, prefix + part, named.get(part, model))
                continue
            own = {"object_id": quote(things[model].pk), "id": quote(things[model].pk)} if model else {"object_id": "1"}
            address = prefix + part
            if part.startswith("^") or "(?P" in part:  # Django's last one, for what is not there
                address = f"{prefix}nothing/"
            for name in getattr(pattern.pattern, "converters", {}):
                value = own.get(name, given.get(name, own["object_id"]))
                address = re.sub(rf"<(?:\w+:)?{name}>", str(value), address)
            place = (pattern.name or "").rpartition("_")[2]
            yield Page(f"/{address}", model, place)

    for pattern in get_resolver().url_patterns:
        if str(pattern.pattern) == "admin/":
            assert isinstance(pattern, URLResolver)
            for page in walk(pattern.url_patterns, "admin/", None):
                if page.address.lstrip("/") not in CLOSING:
                    yield page


def names_in(things: dict[type[Model], Model]) -> dict[str, Any]:
    """Fields that pages of our own read, from an address or a form, each with what is there to be had by it."""
    project, thread, run, assistant, store, file, provider = (
        things[model].pk for model in (Project, Thread, Run, Assistant, VectorStore, File, Provider)
    )
    return {
        "project": project,
        "assistant": assistant,
        "trial_of": assistant,
        "trial": assistant,
        "clone": assistant,
        "store": store,
        "file": file,
        "thread": thread,
        "runs": run,
        "provider": provider,
        "server": "trains",
        "tool": "trains__book",
        "arguments": "{}",
        "model": "acme/large",
        "name": "stolen",
        "text": "stolen",
        "functions": "{}",
        "query": "lore",
        "use": "search",
        "status": "completed",
        "from": 1,
        "to": 1,
        "before": 2,
        "by": "made_by",
        "trial_compare": 1,
        "trial_fresh": 1,
        "fragment": 1,
        "live": 1,
    }


ELSEWHERE = {
    "q", "p", "since", "format", "select_across",  # of lists, which are asked for all of it
    "_saveasnew",  # a button
    "seen", "state",  # what only a page shows that was asked before: sent with its form
}  # fmt: skip


def fields_read() -> set[str]:
    """The names that the admin's modules look for in a request."""
    root = Path(settings.BASE_DIR)
    modules = [*root.glob("*/admin/*.py"), *root.glob("*/admin.py"), *root.glob("kumos_site/*.py")]
    told = "\n".join(module.read_text() for module in modules)
    asked = re.findall(r'request\.(?:POST|GET|FILES)(?:\.get(?:list)?)?[\[(]"(\w+)"', told)
    return {*asked, *re.findall(r'"(\w+)" in request\.(?:POST|GET)', told)}


class Forms(HTMLParser):
    """What the forms of a page would send as they stand, with `fill` in place of empty texts."""

    def __init__(self, html: str, fill: str = "") -> None:
        super().__init__()
        self.fill = fill
        self.sent: dict[str, Any] = {}
        self.buttons: dict[str, str] = {}
        self._select = self._area = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        name = given.get("name") or ""
        if tag == "input" and name and name != "csrfmiddlewaretoken":
            kind = given.get("type", "text")
            if kind == "submit":
                self.buttons[name] = given.get("value") or "1"
            elif kind in ("checkbox", "radio"):
                if "checked" in given:
                    self.sent[name] = given.get("value") or "on"
            elif kind != "file":
                self.sent[name] = given.get("value") or (self.fill if kind == "text" else "")
        elif tag == "button" and name and given.get("type", "submit") == "submit":
            self.buttons[name] = given.get("value") or "1"
        elif tag == "textarea":
            self._area = name
            self.sent[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option" and self._select and ("selected" in given or self._select not in self.sent):
            self.sent[self._select] = given.get("value") or ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.sent[self._area] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._area = ""
        elif tag == "select":
            self._select = ""


def posts_of(page: Page, shown: str, things: dict[type[Model], Model]) -> Iterator[dict[str, Any]]:
    """What to send there: nothing, what confirms a deletion, every action, the forms as somebody sees them with each
    of their buttons, and to a page of our own what it may read."""
    yield {}
    yield {"post": "yes", "confirm": "yes", "grace": "0"}
    for fill in ("", "stolen"):
        forms = Forms(shown, fill)
        if forms.sent:
            yield {**forms.sent, "name": "stolen", "_save": "1"}
            for name in forms.buttons.keys() - {"_save"}:
                yield {**forms.sent, "name": "stolen", name: forms.buttons[name]}
    if page.is_own:
        named = names_in(things)
        yield named
        for store, use in ((named["store"], "search"), ("", "search"), ("", "code")):
            yield {**named, "store": store, "use": use, "file": ContentFile(b"stolen", "stolen.txt")}
    if page.model is not None and page.place in ("changelist", "change"):
        chosen = {"_selected_action": [things[page.model].pk], "post": "yes", "confirmed": "yes"}
        actions = [*(admin.site._registry[page.model].actions or ()), "delete_selected"]
        for action in actions:
            name = action if isinstance(action, str) else action.__name__
            yield {"action": name, "CHANGE_FORM-action": name, "select_across": "1", **chosen}


def text_of(answer: Any) -> str:
    """All that an answer says. Of a stream that does not end, nothing: there is no server here to end it."""
    if getattr(answer, "streaming", False):
        if answer.is_async:
            return ""
        body = b"".join(answer.streaming_content)
    else:
        body = answer.content
    told = f"{answer.headers}\n"
    if body[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(body)) as bundle:
            return told + "\n".join(bundle.read(name).decode(errors="replace") for name in bundle.namelist())
    return told + body.decode(errors="replace")


# The database ---------------------------------------------------------------------------------------------------------

CHANGES_BY_ITSELF = {"last_login", "last_used_at"}


def dump() -> dict[str, list[str]]:
    """Every row of every table, but sessions and what a look changes."""
    tables = [table for table in connection.introspection.table_names() if table != "django_session"]
    found = {}
    with connection.cursor() as cursor:
        for table in tables:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            names = [column[0] for column in cursor.description or ()]
            kept = [index for index, name in enumerate(names) if name not in CHANGES_BY_ITSELF]
            found[table] = sorted(repr([row[index] for index in kept]) for row in cursor.fetchall())
    return found
