"""A model server whose name server is silent: its own runs wait and fail, and nobody else notices."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.events import Desk, ends_of, names
from tests.process import KumosProcess, KumosWorker

pytestmark = [pytest.mark.e2e, pytest.mark.any_database]

RUNS = 40
"""More than asyncio has threads, on any machine."""
RESOLVER = """
import pathlib, socket, time

def getaddrinfo(host, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name != "silent.example":
        return look_up(host, *args, **kwargs)
    with here.joinpath("asked").open("a") as asked:
        print(name, file=asked)
    while here.joinpath("silent").exists():
        time.sleep(0.05)
    raise socket.gaierror(socket.EAI_AGAIN, "at last")

here = pathlib.Path(__file__).parent
look_up, socket.getaddrinfo = socket.getaddrinfo, getaddrinfo
"""
"""What Python finds as `sitecustomize`: of one name nothing is heard while there is a file called `silent`."""


@pytest.fixture
def resolver(tmp_path: Path) -> Path:
    folder = tmp_path / "resolver"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RESOLVER)
    (folder / "silent").touch()
    return folder


@pytest.mark.parametrize("command", [("serve",), pytest.param(("serve", "--web"), marks=pytest.mark.slow)])
def test_a_silent_name_server_delays_no_other_run_and_no_stream(
    tmp_path: Path, resolver: Path, command: tuple[str, ...]
) -> None:
    settings = {
        "PYTHONPATH": str(resolver),
        "OPENAI_BASE_URL": "http://silent.example/v1",
        "KUMOS_UPSTREAM_CONNECT_SECONDS": "1000",
    }
    with ExitStack() as stack:
        server = stack.enter_context(KumosProcess(tmp_path, command=command, **settings))
        if command != ("serve",):
            stack.enter_context(KumosWorker(tmp_path, **settings))
        stack.callback((resolver / "silent").unlink)  # else they would wait for it when they stop
        desk = stack.enter_context(Desk(server))
        waiting = desk.assistant(model="gpt-4o")
        runs = [desk.ask("Hello", assistant=waiting) for _ in range(RUNS)]
        desk.watch(f"{runs[-1]}/stream").wait_for("thread.run.in_progress")
        story = desk.watch(f"{desk.ask('!fast !echo Hello')}/stream").end()
        assert ends_of(story) == ["thread.run.completed"]
        assert names(desk.watch(f"{runs[0]}/stream").wait_for("thread.run.in_progress"))[-1] == "thread.run.in_progress"
        assert (resolver / "asked").read_text() == "silent.example\n"
