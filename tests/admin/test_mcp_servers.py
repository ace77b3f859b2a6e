"""MCP servers in the admin: their keys stay hidden, their light says what was found, a call by hand is a real one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from pytest_django.fixtures import DjangoAssertNumQueries, Settings

from assistants.clock import now
from assistants.models import Assistant, Project
from runs.completers import vault
from runs.models import McpServer, RunStep
from runs.tools import CallContext, function_tool, mcp, python
from tests.mcp_server import KEY, McpProcess

from .conftest import HOSTILE, SHOWN, Talk

ADDRESS = "https://tools.example.org/mcp/"
SECRET = "hunter2-of-trains"
LIST = "/admin/runs/mcpserver/"
ADD = f"{LIST}add/"
TEST = f"{LIST}test/"
TRY = "/admin/tools/try/"
AUDIT = "/admin/admin/logentry/"
TOOLS = [
    {"name": "book", "description": f"Books. {HOSTILE}", "parameters": {"type": "object"}, "idempotent": False},
    {"name": "x" * 64, "description": "", "parameters": {"type": "object"}, "idempotent": False},
]


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpProcess]:
    with McpProcess(tmp_path_factory.mktemp("mcp")) as process:
        yield process


@pytest.fixture(autouse=True)
def nothing_set(settings: Settings) -> None:
    settings.KUMOS_MCP_KEYS = {}


@pytest.fixture
def known() -> Iterator[None]:
    before = dict(python.functions)
    yield
    python.functions.clear()
    python.functions.update(before)


def form(**changed: str) -> dict[str, str]:
    given = {
        "name": "trains", "project": "", "base_url": ADDRESS, "header": "Authorization", "api_key": "",
        "key_variable": "", "enabled": "on", **changed,
    }  # fmt: skip
    return {name: value for name, value in given.items() if value != "off"}


def made(**fields: Any) -> McpServer:
    given = {"name": "trains", "base_url": ADDRESS, "sealed_key": vault.seal(SECRET, ADDRESS), **fields}
    return McpServer.objects.create(**given)


def page_of(server: McpServer) -> str:
    return reverse("admin:runs_mcpserver_change", args=[server.pk])


def errors_of(answer: Any) -> str:
    assert answer.status_code == 200
    return " ".join(re.findall(r'<ul class="errorlist.*?</ul>', answer.content.decode(), re.DOTALL))


def test_a_key_is_sealed_and_never_shown_again(root: Client) -> None:
    assert root.post(ADD, form(api_key=SECRET)).status_code == 302
    server = McpServer.objects.get()
    assert vault.unseal(server.sealed_key, ADDRESS) == SECRET
    assert server.base_url == ADDRESS, "the slash at its end may mean something"
    root.post(page_of(server), form(api_key=f"{SECRET}-2"))
    for address in (
        LIST,
        page_of(server),
        f"{page_of(server)[:-7]}history/",
        "/admin/admin/logentry/",
        "/admin/tools/",
    ):
        shown = root.get(address).content.decode()
        assert SECRET not in shown
        assert server.sealed_key not in shown
    assert not LogEntry.objects.filter(change_message__contains=SECRET).exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"base_url": "stdio:run-me"}, "http"),
        ({"base_url": "https://user:pw@tools.example.org/mcp"}, "No name and no password"),
        ({"base_url": "https://tools.example.org/mcp?key=1"}, "without ?"),
        ({"base_url": "http://127.0.0.1:3000/mcp"}, "this Kumos itself"),
        ({"base_url": "http://testserver/mcp"}, "this Kumos itself"),
        ({"name": "my trains"}, "A name has a-z"),
        ({"name": "a__b"}, "A name has a-z"),
        ({"name": "trains\n"}, ""),
        ({"header": "Host"}, "no header"),
        ({"header": "X-Key: 1"}, "no header"),
        ({"api_key": "k k"}, "no spaces"),
        ({"api_key": "k", "key_variable": "KUMOS_MCP_KEY_TRAINS"}, "not both"),
        ({"key_variable": "SECRET_KEY"}, "valid choice"),
        ({"key_variable": "KUMOS_PROVIDER_KEY_ACME"}, "valid choice"),
        ({"project": "proj_unknown"}, "valid choice"),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    root: Client, settings: Settings, change: dict[str, str], told: str
) -> None:
    settings.HOST, settings.PORT = "127.0.0.1", 3000
    settings.KUMOS_MCP_KEYS = {"KUMOS_MCP_KEY_TRAINS": "k-env"}
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_ACME": "sk-env"}
    answer = root.post(ADD, form(**change))
    if told:
        assert told in errors_of(answer)
        assert not McpServer.objects.exists()
    else:
        assert McpServer.objects.get().name == "trains"


def test_another_address_asks_for_the_key_again(root: Client) -> None:
    server = made()
    assert "another address" in errors_of(root.post(page_of(server), form(base_url="https://thief.example.org/mcp")))
    server.refresh_from_db()
    assert server.base_url == ADDRESS


def test_the_light_says_what_was_found_last(root: Client, process: McpProcess) -> None:
    server = made(base_url=process.at("key"), sealed_key="")
    assert "not tested yet" in root.get(LIST).content.decode()
    assert "has not been asked yet" in root.get(page_of(server)).content.decode()
    page = root.post(TEST, {"server": "trains"}, follow=True).content.decode()
    assert "trains cannot be used: It answers 401 Unauthorized. Check its key." in page
    assert "kumos-failed" in root.get(LIST).content.decode()
    root.post(page_of(server), form(base_url=process.at("key"), api_key=KEY))
    page = root.post(TEST, {"server": "trains"}, follow=True).content.decode()
    assert "trains answers, and has" in page
    assert "trains__add" in page
    assert "Adds two numbers." in page
    shown = root.get(LIST).content.decode()
    assert 'kumos-completed">answers</span> just now' in shown
    assert "kumos-failed" not in shown
    McpServer.objects.update(enabled=False)
    assert "switched off" in root.get(LIST).content.decode()
    assert root.post(TEST, {"server": "nobody"}).status_code == 404
    assert root.get(TEST).status_code == 405


def test_what_a_server_says_is_shown_as_text(root: Client, dragons: Project) -> None:
    server = made(tools=TOOLS, listed_at=now(), checked_at=now(), error=f"It said {HOSTILE}")
    for address in (LIST, page_of(server), "/admin/tools/", f"{TRY}?tool=trains__book"):
        page = root.get(address).content.decode()
        assert HOSTILE not in page
        assert SHOWN in page
    assert "x" * 64 not in root.get(page_of(server)).content.decode(), "its function's name would be too long"


def test_who_may_only_look_changes_nothing(staff: Callable[..., Client], process: McpProcess, dragons: Project) -> None:
    server = made(base_url=process.url, tools=TOOLS, listed_at=now())
    viewer = staff("view_mcpserver", "view_run")
    for address in (LIST, page_of(server), "/admin/tools/"):
        page = viewer.get(address).content.decode()
        assert "trains__" in page
        assert "Test trains" not in page
        assert TRY not in page
        assert 'name="api_key"' not in page
    assert "kept, sealed" in viewer.get(page_of(server)).content.decode()
    for address, data in ((page_of(server), form()), (TEST, {"server": "trains"}), (ADD, form())):
        assert viewer.post(address, data).status_code == 403
    call = {"tool": "trains__book", "arguments": '{"train": "IC 1"}', "project": dragons.pk}
    assert viewer.get(f"{TRY}?tool=trains__book").status_code == viewer.post(TRY, call).status_code == 403
    server.refresh_from_db()
    assert (server.checked_at, process.booked) == (None, [])
    page = staff("view_run").get("/admin/tools/").content.decode()
    assert "trains__book" not in page
    assert LIST not in page


# Calls by hand --------------------------------------------------------------------------------------------------------


def test_a_call_by_hand_is_a_real_one_and_in_the_audit_log(root: Client, process: McpProcess, dragons: Project) -> None:
    server = made(base_url=process.url, sealed_key="")
    mcp.refresh(server)
    before = len(process.booked)
    page = root.get(f"{TRY}?tool=trains__book").content.decode()
    assert "Books a seat." in page
    assert "&quot;train&quot;" in page
    asked = {"tool": "trains__book", "project": dragons.pk, "arguments": '{"train": "IC 9", "password": "hunter2"}'}
    page = root.post(TRY, asked).content.decode()
    assert "Seat 7 in IC 9." in page
    assert process.booked[before:] == ["IC 9"]
    entry = LogEntry.objects.latest("pk")
    assert (entry.object_id, entry.object_repr) == (str(server.pk), "trains")
    assert "Tried trains__book for the project “Dragons”" in entry.change_message
    assert "IC 9" in entry.change_message
    assert "hunter2" not in entry.change_message
    assert "Tried trains__book" in root.get(AUDIT).content.decode()


@pytest.mark.usefixtures("known")
def test_a_python_function_is_tried_for_a_project(root: Client, dragons: Project) -> None:
    seen: list[CallContext] = []

    @function_tool
    def double(number: int, context: CallContext) -> int:
        """Doubles."""
        seen.append(context)
        return 2 * number

    page = root.get("/admin/tools/").content.decode()
    assert "<h2>double</h2>" in page
    assert f"Python, {__name__}" in page
    assert f'href="{TRY}?tool=double"' in page
    asked = {"tool": "double", "project": dragons.pk, "arguments": '{"number": 21}'}
    assert ">42</pre>" in root.post(TRY, asked).content.decode()
    assert (seen[0].project_id, seen[0].run_id) == (dragons.pk, "")
    assert LogEntry.objects.latest("pk").object_id == dragons.pk
    wrong = root.post(TRY, {**asked, "arguments": '{"number": "x"}'}).content.decode()
    assert "Error: the arguments do not fit. number:" in wrong
    assert "Expected a JSON object." in errors_of(root.post(TRY, {**asked, "arguments": "[]"}))
    assert "not JSON" in errors_of(root.post(TRY, {**asked, "arguments": "{"}))
    assert root.get(f"{TRY}?tool=nothing").status_code == 404


def test_a_projects_server_is_tried_for_no_other(root: Client, process: McpProcess, dragons: Project) -> None:
    made(base_url=process.url, sealed_key="", project=Project.objects.create(name="Elves"), tools=TOOLS)
    asked = {"tool": "trains__book", "project": dragons.pk, "arguments": '{"train": "IC 2"}'}
    assert "valid choice" in errors_of(root.post(TRY, asked))
    assert "IC 2" not in process.booked


# The other pages ------------------------------------------------------------------------------------------------------


def test_recent_calls_stand_beside_their_function(
    root: Client, staff: Callable[..., Client], talk: Talk, known: None
) -> None:
    @function_tool
    def roar(how: str) -> str:
        return how

    page = root.get("/admin/tools/").content.decode()
    assert page.count(talk.run.pk) == 2, "a call of file_search, and one of roar"
    assert HOSTILE not in page
    details = RunStep.objects.get(type="tool_calls").step_details
    details["tool_calls"][1]["function"]["output"] = "password=hunter2 and content"
    RunStep.objects.filter(type="tool_calls").update(step_details=details)
    page = root.get("/admin/tools/").content.decode()
    assert "and content" in page
    assert "hunter2" not in page
    assert "and content" not in staff("view_run").get("/admin/tools/").content.decode()


def test_an_assistants_form_offers_what_its_project_may_use(root: Client, dragons: Project) -> None:
    elves = Project.objects.create(name="Elves")
    made(tools=TOOLS)
    made(name="secret", tools=TOOLS, project=elves)
    made(name="off", tools=TOOLS, enabled=False)
    assistant = Assistant.objects.create(project=dragons, model="scripted")
    page = root.get(reverse("admin:assistants_assistant_change", args=[assistant.pk])).content.decode()
    assert "trains__book" in page
    assert "secret__book" not in page
    assert "off__book" not in page
    Assistant.objects.update(project=elves)
    page = root.get(reverse("admin:assistants_assistant_change", args=[assistant.pk])).content.decode()
    assert "secret__book" in page
    page = root.get(reverse("admin:assistants_assistant_add")).content.decode()
    assert "trains__book" in page
    assert "secret__book" not in page


def test_the_pages_ask_little(
    root: Client, dragons: Project, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(20):
        made(name=f"trains-{number}", project=dragons, tools=TOOLS)
    for address, most in ((LIST, 8), ("/admin/tools/", 9), (f"{TRY}?tool=trains-1__book", 6)):
        with django_assert_max_num_queries(most):
            assert root.get(address).status_code == 200
