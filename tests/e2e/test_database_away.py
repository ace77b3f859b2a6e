"""PostgreSQL goes away under a served Kumos and comes back: nobody has to restart anything (design, section 7)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.backends import Postgres, postgres_programs
from tests.e2e.events import DONE, SECONDS, Desk
from tests.process import KumosProcess

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.own_database,
    pytest.mark.skipif(postgres_programs() is None, reason="needs PostgreSQL"),
]

SESSION = {"Cookie": f"sessionid={'a' * 32}"}
"""Of nobody, which only the database knows."""


def test_postgresql_is_away_and_comes_back(tmp_path: Path) -> None:
    with (
        Postgres(fast=True) as postgres,
        KumosProcess(tmp_path, DATABASE_URL=postgres.url, REDIS_URL="") as server,
        Desk(server) as desk,
        server.client() as client,
    ):
        path = desk.ask("!echo Before")
        assert desk.watch(f"{path}/stream").end()[-1] == DONE
        assert client.get("/admin/login/").status_code == 200

        postgres.stop()

        for answer in (
            client.post("/v1/threads", json={}),
            client.get(f"/v1{path}"),
            client.get(f"/v1{path}/stream"),
            client.get("/chat/", headers=SESSION),
            client.get("/admin/", headers=SESSION),
        ):
            assert answer.status_code == 503, f"{answer.url}: {answer.text}"
            assert answer.headers["Retry-After"] == "1"

        postgres.start()

        give_up_at = time.monotonic() + SECONDS
        while client.post("/v1/threads", json={}).status_code == 503:  # as the SDKs do
            assert time.monotonic() < give_up_at, server.output()
            time.sleep(0.1)
        assert client.get("/admin/login/").status_code == 200
        path = desk.ask("!echo After")
        assert desk.watch(f"{path}/stream").end()[-1] == DONE
