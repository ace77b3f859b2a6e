"""A worker that an operator drains in the admin: another process takes the queue, it lives on, and it comes back."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.events import SECONDS, Desk
from tests.e2e.test_operations import eventually
from tests.process import KumosProcess, KumosWorker

pytestmark = pytest.mark.e2e

LIST = "/admin/runs/worker/"


class Operator:
    """Somebody in the admin, without a browser."""

    def __init__(self, server: KumosProcess) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=SECONDS, follow_redirects=True)
        self.http.get(server.login_url)

    def page(self) -> str:
        answer = self.http.get(LIST)
        assert answer.status_code == 200, answer.text
        return html.unescape(answer.text)

    def row_of(self, pid: int) -> str:
        """The text of that process's row in the list; "" if it is not there."""
        rows = re.findall(r"<tr.*?</tr>", self.page(), re.DOTALL)
        return next((row for row in rows if f"process {pid}<" in row), "")

    def act(self, action: str, pid: int) -> None:
        chosen = re.search(r'name="_selected_action" value="([^"]+)"', self.row_of(pid))
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self.page())
        assert chosen is not None
        assert token is not None
        form = {"action": action, "_selected_action": chosen[1], "csrfmiddlewaretoken": token[1]}
        answer = self.http.post(LIST, data=form, headers={"Referer": f"{self.http.base_url}{LIST}"})
        assert "1 told to" in html.unescape(answer.text)


@pytest.fixture(scope="module")
def brisk() -> dict[str, str]:
    return {"KUMOS_BEAT_SECONDS": "0.2", "KUMOS_LEASE_SECONDS": "60"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, brisk: dict[str, str]) -> Iterator[KumosProcess]:
    with KumosProcess(tmp_path_factory.mktemp("drain"), **brisk) as process:
        yield process


@pytest.fixture(scope="module")
def worker(server: KumosProcess, brisk: dict[str, str]) -> Iterator[KumosWorker]:
    with KumosWorker(Path(server.data_dir), **brisk) as process:
        yield process


@pytest.fixture
def operator(server: KumosProcess) -> Iterator[Operator]:
    operator = Operator(server)
    yield operator
    operator.http.close()


def test_a_drained_worker_leaves_the_queue_to_others(
    server: KumosProcess, worker: KumosWorker, operator: Operator
) -> None:
    with Desk(server) as desk:
        eventually(lambda: operator.row_of(worker.pid), lambda row: "kumos-alive" in row)
        operator.act("drain", server.pid)
        eventually(lambda: operator.row_of(server.pid), lambda row: "kumos-drained" in row)
        held = desk.ask("!stall")
        eventually(lambda: operator.row_of(worker.pid), lambda row: "1 of 64" in row)
        assert "0 of 64" in operator.row_of(server.pid)
        operator.act("undrain", server.pid)
        operator.act("drain", worker.pid)
        eventually(lambda: operator.row_of(worker.pid), lambda row: "kumos-draining" in row and "1 of 64" in row)
        eventually(lambda: operator.row_of(server.pid), lambda row: "kumos-alive" in row)
        others = [desk.ask("!stall") for _ in range(4)]
        eventually(lambda: operator.row_of(server.pid), lambda row: "4 of 64" in row)
        assert "1 of 64" in operator.row_of(worker.pid), "it keeps what it has"
        for path in [held, *others]:
            desk.make(f"{path}/cancel")
            assert desk.ended(path)["status"] == "cancelled", "also by the one that drains"
        eventually(lambda: operator.row_of(worker.pid), lambda row: "kumos-drained" in row)
