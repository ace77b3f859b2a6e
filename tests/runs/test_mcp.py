"""Tools of MCP servers in runs: a real server, asked by the real client, which misbehaves on command."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from runs.completers import vault
from runs.executor import Stop
from runs.models import McpServer
from runs.tools import mcp, named
from runs.tools.function import OUTPUT_BYTES_MAX
from runs.writer import Writer
from tests.conftest import ApiClient
from tests.loops import until
from tests.mcp_server import KEY, McpProcess
from tests.runs.conftest import ask
from tests.runs.model import Model, call
from tests.runs.observed import Live, check, live, worked
from tests.runs.test_function_recovery import told
from tests.runs.test_functions import outputs, tool

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[McpProcess]:
    with McpProcess(tmp_path_factory.mktemp("mcp")) as process:
        yield process


@pytest.fixture
def server(process: McpProcess, db: None) -> McpServer:
    return McpServer.objects.create(name="trains", base_url=process.url)


def state(server: McpServer) -> McpServer:
    server.refresh_from_db()
    return server


def output_of(alice: ApiClient, model: Model, writer: Writer, name: str, arguments: str = "{}") -> str:
    model.will(call(name, arguments), finish="tool_calls")
    model.will("I see.")
    _, run = ask(alice, "Hello", model="m", tools=[tool(name)])
    assert worked(run, writer).status == "completed"
    check(alice, run)
    (said,) = told(model)
    assert outputs(run) == [said]
    return str(said)


# Lists ----------------------------------------------------------------------------------------------------------------


def test_a_servers_tools_are_kept_with_when(server: McpServer) -> None:
    assert mcp.refresh(server) == ""
    known = {tool["name"]: tool for tool in state(server).tools}
    assert known["add"]["description"] == "Adds two numbers."
    assert known["add"]["parameters"]["required"] == ["a", "b"]
    assert (known["add"]["idempotent"], known["book"]["idempotent"]) == (True, False)
    assert server.listed_at == server.checked_at is not None
    assert [function.name for function in mcp.offered(server)][:2] == ["trains__add", "trains__book"]


def test_a_key_is_sent_in_the_header_that_is_said(process: McpProcess, server: McpServer, settings: Settings) -> None:
    server.base_url = process.at("key")
    assert mcp.refresh(server) == "It answers 401 Unauthorized. Check its key."
    assert "401" in state(server).error
    server.base_url, server.sealed_key = process.at("key"), vault.seal(KEY, process.at("key"))
    assert mcp.refresh(server) == ""
    assert state(server).error == ""
    settings.KUMOS_MCP_KEYS = {"KUMOS_MCP_KEY_TRAINS": KEY}
    server.base_url, server.header = process.at("key"), "X-Key"
    server.sealed_key, server.key_variable = "", "KUMOS_MCP_KEY_TRAINS"
    assert mcp.refresh(server) == ""
    server.key_variable = "KUMOS_MCP_KEY_OTHER"
    assert "KUMOS_MCP_KEY_OTHER is not set" in mcp.refresh(server)


def test_a_key_is_for_its_address_alone(process: McpProcess, server: McpServer) -> None:
    server.sealed_key = vault.seal(KEY, "https://elsewhere.example.org/mcp")
    assert mcp.refresh(server) == vault.OTHER_ADDRESS


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("nothing", "It answers 404 Not Found."),
        ("redirect", "It sends elsewhere"),
        ("html", "Unexpected content type: text/html"),
        ("endless", "It answers with more than 4 MB."),
    ],
)
def test_what_is_no_mcp_server_is_said_in_words(
    path: str, words: str, process: McpProcess, server: McpServer, settings: Settings
) -> None:
    mcp.refresh(server)
    listed = state(server).tools
    server.base_url = process.at(path)
    assert mcp.refresh(server).startswith(words)
    assert state(server).error.startswith(words)
    assert server.tools == listed, "what it listed last stays"


def test_one_that_is_away_or_silent_is_not_waited_for(
    process: McpProcess, server: McpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.base_url = "http://127.0.0.1:1/mcp"
    assert mcp.refresh(server).startswith("It cannot be reached")
    from runs.tools import mcp_client

    monkeypatch.setattr(mcp_client, "LIST_SECONDS", 0.2)
    server.base_url = process.at("silent")
    assert mcp.refresh(server) == "No list of tools within 0.2 seconds."


# Runs -----------------------------------------------------------------------------------------------------------------


def test_a_tool_is_a_function_that_runs_here(alice: ApiClient, model: Model, writer: Writer, server: McpServer) -> None:
    mcp.refresh(server)
    assert output_of(alice, model, writer, "trains__add", '{"a": 2, "b": 3}') == "5"
    offered = model.requests[0]["tools"][0]["function"]
    assert (offered["name"], offered["description"]) == ("trains__add", "Adds two numbers.")
    assert offered["parameters"]["required"] == ["a", "b"]


def test_a_tool_that_is_not_listed_yet_is_looked_for(
    alice: ApiClient, model: Model, writer: Writer, server: McpServer, process: McpProcess
) -> None:
    assert output_of(alice, model, writer, "trains__add", '{"a": 2, "b": 3}') == "5"
    assert any(tool["name"] == "add" for tool in state(server).tools)
    said = output_of(alice, model, writer, "trains__nope")
    assert said == "Error: the MCP server trains has no tool nope"


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("closed", "{}", "Error: Error executing tool closed: we are closed"),
        ("add", '{"a": 1', "Error: the arguments are not JSON"),
        ("add", "[1]", "Error: the arguments are not a JSON object"),
        ("add", '{"a": "x", "b": 1}', "Error: "),
        ("huge", "{}", "Error: the MCP server trains cannot be used: It answers with more than 4 MB."),
        ("image", "{}", "[image: image/png, not shown]"),
    ],
)
def test_what_goes_wrong_is_told_to_the_model(
    name: str, arguments: str, said: str, alice: ApiClient, model: Model, writer: Writer, server: McpServer
) -> None:
    mcp.refresh(server)
    assert output_of(alice, model, writer, f"trains__{name}", arguments).startswith(said)


def test_a_long_output_is_cut(alice: ApiClient, model: Model, writer: Writer, server: McpServer) -> None:
    mcp.refresh(server)
    assert len(output_of(alice, model, writer, "trains__long")) <= OUTPUT_BYTES_MAX


def test_a_tool_has_its_time(
    alice: ApiClient, model: Model, writer: Writer, server: McpServer, settings: Settings
) -> None:
    mcp.refresh(server)
    settings.KUMOS_TOOL_SECONDS = 0.5
    assert output_of(alice, model, writer, "trains__slow").startswith("Error: no output within 0.5 seconds.")


def test_a_server_that_dies_in_a_call_is_red_until_it_answers_again(
    alice: ApiClient, model: Model, writer: Writer, server: McpServer, tmp_path: Path
) -> None:
    with McpProcess(tmp_path) as mortal:
        McpServer.objects.update(base_url=mortal.url)
        mcp.refresh(state(server))
        said = output_of(alice, model, writer, "trains__die")
        assert said.startswith("Error: the MCP server trains cannot be used: ")
        assert mortal.begun == ["die"], "it is not called again"
    assert state(server).error
    with McpProcess(tmp_path) as mortal:
        McpServer.objects.update(base_url=mortal.url)
        assert output_of(alice, model, writer, "trains__add", '{"a": 2, "b": 3}') == "5"
    assert state(server).error == ""


def test_a_run_that_is_cancelled_does_not_wait(
    alice: ApiClient, model: Model, writer: Writer, server: McpServer, process: McpProcess
) -> None:
    mcp.refresh(server)
    before = len(process.begun)
    model.will(call("trains__slow", "{}"), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[tool("trains__slow")])

    async def work(live: Live) -> None:
        task = await live.start()
        await until(lambda: len(process.begun) > before)
        await asyncio.to_thread(alice.make, f"/threads/{run.thread_id}/runs/{run.pk}/cancel")
        live.executor.stop(Stop.CANCELLED)
        await task

    assert live(run, writer, work).status == "cancelled"
    check(alice, run)


# Whose ----------------------------------------------------------------------------------------------------------------


def test_a_projects_server_is_no_other_projects(
    alice: ApiClient, charlie: ApiClient, model: Model, writer: Writer, server: McpServer, process: McpProcess
) -> None:
    """To another project the name means nothing: its client is asked, as for every function of its own."""
    McpServer.objects.update(project=charlie.project)
    mcp.refresh(server)
    before = len(process.booked)
    model.will(call("trains__book", '{"train": "IC 5"}'), finish="tool_calls")
    _, run = ask(alice, "Hello", model="m", tools=[tool("trains__book")])
    assert worked(run, writer).status == "requires_action"
    assert "description" not in model.requests[0]["tools"][0]["function"]
    assert len(process.booked) == before
    assert output_of(charlie, model, writer, "trains__book", '{"train": "IC 6"}') == "Seat 7 in IC 6."
    assert process.booked[before:] == ["IC 6"]


def test_one_that_is_switched_off_is_not_asked(
    alice: ApiClient, model: Model, writer: Writer, server: McpServer
) -> None:
    mcp.refresh(server)
    McpServer.objects.update(enabled=False)
    said = output_of(alice, model, writer, "trains__add", '{"a": 2, "b": 3}')
    assert said == "Error: the MCP server trains is switched off"


def test_names_that_cannot_be_a_servers_ask_nothing(db: None) -> None:
    with CaptureQueriesContext(
        connection,
    ) as asked:
        assert named(["get_weather", "add_"], "proj_1") == {}
    assert len(asked) == 0
    with CaptureQueriesContext(connection) as asked:
        assert named(["a__b", "c__d", "__x", "x__"], "proj_1") == {}
    assert len(asked) == 1


def test_a_start_loads_nothing_of_it() -> None:
    code = "import django, sys; django.setup(); import runs.executor; print({'mcp', 'pydantic'} & {*sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "kumos_site.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "set()"
