"""The diagnosis names what is wrong with an installation, each thing rightly; `manage.py doctor` says it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django.fixtures import Settings

from assistants.clock import now
from assistants.models import Assistant, Project, Thread
from kumos_site import diagnosis
from kumos_site.diagnosis import Check, Finding, Level, stores, surroundings, work
from kumos_site.settings import GIVEN, VARIABLES, without_secrets
from runs.completers import catalogue, vault
from runs.models import Provider, Run, Worker
from tests.runs.test_models import Provider as Lister
from tests.runs.test_models import provider as lister  # noqa: F401  (a fixture)

OK, WARNING, BROKEN = Level
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def well(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation with nothing wrong, which each test spoils in one place."""
    settings.DATA_DIR = tmp_path / "data"
    settings.FILE_UPLOAD_TEMP_DIR = settings.DATA_DIR / "incoming"
    settings.FILE_UPLOAD_TEMP_DIR.mkdir(parents=True)
    settings.DATA_DIR.chmod(0o700)
    settings.DEBUG, settings.KUMOS_FAILPOINTS, settings.SECRET_KEY = False, {}, "s" * 50
    settings.HOST, settings.PORT, settings.ALLOWED_HOSTS = "127.0.0.1", 3000, ["localhost"]
    settings.KUMOS_STREAMS_MAX, settings.KUMOS_FILE_BYTES_MAX = 10, 1
    settings.OPENAI_API_KEY = settings.OPENAI_BASE_URL = settings.OLLAMA_BASE_URL = settings.OLLAMA_MODEL = ""
    settings.KUMOS_DEFAULT_MODEL, settings.KUMOS_PROVIDER_KEYS, settings.REDIS_URL = "scripted", {}, ""
    monkeypatch.setattr(surroundings, "FREE_MIN", 0)
    monkeypatch.setattr(surroundings, "FREE_LOW", 0)
    monkeypatch.setattr(catalogue, "ASK_SECONDS", 60.0)
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda1 / ext4 rw 0 0\n")
    monkeypatch.setattr(stores, "MOUNTS", mounts)
    yield
    catalogue._lists.clear()


def levels(findings: list[Finding]) -> dict[str, Level]:
    return {finding.id: finding.level for finding in findings}


def found(check: Check) -> dict[str, Level]:
    """id → level. Whatever is not well has a fix."""
    findings = list(check())
    assert all(finding.fix for finding in findings if finding.level != OK)
    return levels(findings)


Spoil = Callable[[Settings], object]


@pytest.mark.parametrize(
    ("spoil", "check", "named"),
    [
        (lambda s: setattr(s, "DEBUG", True), surroundings.debug, {"debug": WARNING}),
        (lambda s: setattr(s, "ALLOWED_HOSTS", ["*"]), surroundings.hosts, {"hosts.any": WARNING}),
        (lambda s: setattr(s, "HOST", "0.0.0.0"), surroundings.hosts, {"hosts.local": WARNING}),
        (
            lambda s: setattr(s, "CSRF_TRUSTED_ORIGINS", ["https://kumos.example.org"]),
            surroundings.proxy,
            {"proxy": WARNING},
        ),
        (lambda s: setattr(s, "KUMOS_FAILPOINTS", {"x": 1}), surroundings.failpoints, {"failpoints": BROKEN}),
        (lambda s: setattr(s, "SECRET_KEY", "short"), surroundings.secret_key, {"secret_key.short": WARNING}),
        (lambda s: setattr(s, "DATA_DIR", Path("/proc")), surroundings.data_directory, {"data.unwritable": BROKEN}),
        (lambda s: s.DATA_DIR.chmod(0o755), surroundings.data_directory, {"data.open": WARNING}),
        (lambda s: setattr(s, "KUMOS_FILE_BYTES_MAX", 2**60), surroundings.disk, {"disk.uploads": WARNING}),
        (lambda s: setattr(s, "KUMOS_STREAMS_MAX", 2**40), surroundings.open_files, {"open_files": WARNING}),
        (lambda s: setattr(s, "REDIS_URL", "redis://127.0.0.1:1"), stores.bells, {"redis.away": BROKEN}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_settings_that_are_wrong_are_named(
    settings: Settings, spoil: Spoil, check: Check, named: dict[str, Level]
) -> None:
    assert set(found(check).values()) <= {OK}
    spoil(settings)
    assert found(check) == named


@pytest.mark.parametrize(("free", "named"), [("FREE_MIN", "disk.full"), ("FREE_LOW", "disk.low")])
def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, free: str, named: str) -> None:
    monkeypatch.setattr(surroundings, free, 2**60)
    assert list(found(surroundings.disk)) == [named]


def test_a_kept_secret_key_that_others_can_read(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GIVEN, "SECRET_KEY", raising=False)
    kept = settings.DATA_DIR / "secret_key"
    kept.write_text("s" * 50)
    kept.chmod(0o600)
    assert found(surroundings.secret_key) == {"secret_key": OK}
    kept.chmod(0o644)
    assert found(surroundings.secret_key) == {"secret_key.readable": BROKEN}


@pytest.mark.parametrize(
    ("mount", "kind"), [("nfs4", "nfs4"), ("cifs", "cifs"), ("fuse.sshfs", "fuse.sshfs"), ("ext4", ""), ("overlay", "")]
)
def test_sqlite_on_a_network_disk(tmp_path: Path, mount: str, kind: str) -> None:
    stores.MOUNTS.write_text(
        f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} {mount} rw 0 0\nother /nowhere nfs rw 0 0\n"
    )
    assert stores.network_disk(tmp_path / "data" / "kumos.sqlite3") == kind
    assert stores.network_disk(Path("/usr/kumos.sqlite3")) == ""


@pytest.fixture
def own_sqlite(db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseDatabaseWrapper]:
    """A database of this test alone: SQLite changes its journal's mode only while nobody else has it open."""
    if connection.vendor != "sqlite":
        pytest.skip("of SQLite")
    own = connection.copy()
    own.settings_dict["NAME"] = str(tmp_path / "kumos.sqlite3")
    monkeypatch.setattr(stores, "connection", own)
    yield own
    own.close()


@pytest.mark.own_database
def test_what_is_wrong_with_sqlite_is_named(own_sqlite: BaseDatabaseWrapper) -> None:
    assert found(stores.sqlite) == {"database": OK}
    with own_sqlite.cursor() as cursor:
        cursor.execute("PRAGMA journal_mode=DELETE")
        assert found(stores.sqlite) == {"sqlite.journal": WARNING}
        cursor.execute("PRAGMA journal_mode=WAL")
    stores.MOUNTS.write_text(f"server:/ {Path(own_sqlite.settings_dict['NAME']).parent} nfs4 rw 0 0\n")
    assert found(stores.sqlite) == {"sqlite.network": BROKEN}


def test_tables_of_an_older_and_of_a_newer_release(db: None) -> None:
    assert "migrations" in found(stores.database)
    recorder = MigrationRecorder(connection)
    recorder.record_applied("runs", "9999_of_next_year")
    assert found(stores.database)["migrations.unknown"] == WARNING
    ((app, newest),) = MigrationLoader(connection).graph.leaf_nodes("runs")
    recorder.record_unapplied(app, newest)
    assert found(stores.database)["migrations.missing"] == BROKEN
    whole = levels(diagnosis.look())
    assert whole["work"] == WARNING, "nothing is asked of tables that may not be there"


def test_several_processes_without_redis(db: None) -> None:
    Worker.objects.create(id="worker_1", host="a", pid=1, slots=1)
    assert found(stores.one_process) == {"layer": OK}
    Worker.objects.create(id="worker_2", host="a", pid=2, slots=1)
    assert found(stores.one_process) == {"layer.alone": WARNING}


def test_several_secrets_in_one_installation(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(GIVEN, "SECRET_KEY", raising=False)
    for number in (1, 2):
        Worker.objects.create(id=f"worker_{number}", host="data-directory-1", pid=number, slots=1)
        assert found(stores.one_secret) == {}, "they share it"
    Worker.objects.create(id="worker_3", host="data-directory-2", pid=1, slots=1)
    assert found(stores.one_secret) == {"secret_key.several": WARNING}
    monkeypatch.setitem(GIVEN, "SECRET_KEY", "•••")
    assert found(stores.one_secret) == {}


@pytest.mark.parametrize(("seconds", "told"), [(3.0, "3.0 s behind"), (-90.0, "90.0 s ahead of"), (0.2, "agrees")])
def test_clocks_that_differ(seconds: float, told: str) -> None:
    assert told in stores.clock_finding(timedelta(seconds=seconds)).told


def test_the_clock_is_compared_with_the_databases(db: None) -> None:
    assert found(stores.clock) == {"clock": OK}


# Work -----------------------------------------------------------------------------------------------------------------


def made(name: str = "acme", base_url: str = "http://127.0.0.1:1/v1", **fields: Any) -> Provider:
    return Provider.objects.create(name=name, base_url=base_url, **fields)


def test_without_a_model_server(db: None) -> None:
    assert found(work.model_servers) == {"providers.none": WARNING}


def test_a_model_server_that_is_away_and_one_that_refuses_the_key(
    db: None,
    lister: Lister,  # noqa: F811
    settings: Settings,
) -> None:
    assert found(work.model_servers) == {"provider.openai": OK}
    catalogue._lists.clear()
    lister.status = 401
    made()
    assert found(work.model_servers) == {"provider.openai": BROKEN, "provider.acme": BROKEN}
    told = {finding.id: f"{finding.told} {finding.fix}" for finding in work.model_servers()}
    assert "refuses the key (401): OPENAI_API_KEY" in told["provider.openai"]
    assert "cannot be reached" in told["provider.acme"]
    assert "sk-inner" not in str(told)
    catalogue._lists.clear()
    lister.status = 404
    assert found(work.model_servers)["provider.openai"] == WARNING, "its models may work all the same"


def test_keys_that_cannot_be_opened_or_are_not_there(db: None, settings: Settings) -> None:
    made(sealed_key=vault.seal("sk-x", "http://127.0.0.1:1/v1"))
    made("other", key_variable="KUMOS_PROVIDER_KEY_OTHER")
    settings.SECRET_KEY = "t" * 50
    assert found(work.model_servers) == {"provider.acme.key": BROKEN, "provider.other.key": BROKEN}
    told = {finding.id: finding.told for finding in work.model_servers()}
    assert "Enter the key again" in told["provider.acme.key"]
    assert "KUMOS_PROVIDER_KEY_OTHER is not set" in told["provider.other.key"]


def test_a_base_url_that_leads_back_here(db: None, settings: Settings) -> None:
    assert found(work.own_address) == {}
    made(base_url="http://localhost:3000/v1")
    settings.OLLAMA_BASE_URL = "http://127.0.0.1:3000"
    assert found(work.own_address) == {"provider.ollama.self": BROKEN, "provider.acme.self": BROKEN}


def test_providers_that_are_off_but_used_or_in_the_shade(db: None, settings: Settings) -> None:
    made(enabled=False)
    made("openai")
    assert found(work.switched_off) == {}
    project = Project.objects.create(name="Dragons")
    Assistant.objects.create(project=project, model="acme/small")
    settings.OPENAI_API_KEY = "sk-x"
    assert found(work.switched_off) == {"provider.acme.off": WARNING, "provider.openai.shadowed": WARNING}


def test_default_models_that_lead_nowhere(db: None, settings: Settings) -> None:
    project = Project.objects.create(name="Dragons", default_model="acme/small")
    assert [finding.level for finding in work.default_models()] == [BROKEN]
    assert "“Dragons”" in next(iter(work.default_models())).told
    Project.objects.filter(pk=project.pk).update(default_model="")
    assert found(work.default_models) == {"default_model": OK}
    settings.KUMOS_DEFAULT_MODEL = "gpt-4o"
    assert "KUMOS_DEFAULT_MODEL" in next(iter(work.default_models())).told


def a_run(project: Project, **fields: Any) -> Run:
    thread = Thread.objects.create(project=project)
    given = {"model": "scripted", "assistant_id": "asst_1", "expires_at": now() + timedelta(minutes=5), **fields}
    return Run.objects.create(project=project, thread=thread, **given)


def test_runners_and_the_queue(db: None) -> None:
    project = Project.objects.create(name="Dragons")
    assert found(work.runners) == {"runners.none": WARNING, "queue": OK}
    run = a_run(project)
    assert found(work.runners)["runners.none"] == BROKEN, "somebody waits"
    worker = Worker.objects.create(id="worker_1", host="a", pid=1, slots=4)
    assert found(work.runners) == {"runners": OK, "queue": OK}
    Run.objects.filter(pk=run.pk).update(created_at=now() - timedelta(minutes=2))
    assert found(work.runners)["queue"] == WARNING
    Run.objects.filter(pk=run.pk).update(created_at=now() - timedelta(minutes=8))
    assert found(work.runners)["queue"] == BROKEN
    Worker.objects.filter(pk=worker.pk).update(draining=True, drain_asked=True)
    fixes = {finding.id: finding.fix for finding in work.runners()}
    assert "Undrain" in fixes["runners.none"]


def test_runs_that_hang(db: None) -> None:
    project = Project.objects.create(name="Dragons")
    a_run(project, status="in_progress", lease_until=now() - timedelta(seconds=20))
    assert found(work.stuck) == {}
    a_run(project, status="in_progress", lease_until=now() - timedelta(minutes=2))
    assert found(work.stuck) == {"runs.stuck": BROKEN}


# All of it ------------------------------------------------------------------------------------------------------------


def test_a_well_kept_installation_is_all_good(db: None, lister: Lister) -> None:  # noqa: F811
    Worker.objects.create(id="worker_1", host="a", pid=1, slots=4)
    assert [finding for finding in diagnosis.look() if finding.level != OK] == []


def test_a_check_that_fails_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def falls() -> Iterator[Finding]:
        raise ZeroDivisionError("sk-secret")
        yield

    findings = list(diagnosis.made([falls, surroundings.debug]))
    assert levels(findings) == {"falls.failed": BROKEN, "debug": OK}
    assert "sk-secret" not in findings[0].told


def doctor(data: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, "manage.py", "doctor", *arguments],
        env=environment | {"KUMOS_DATA_DIR": str(data)} | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_command_says_it_and_exits_so(tmp_path: Path) -> None:
    told = doctor(tmp_path / "new", "--json", DEBUG="true", KUMOS_METRICS_TOKEN="tok-secret")
    whole = json.loads(told.stdout)
    named = {finding["id"]: finding["level"] for finding in whole["findings"]}
    assert (told.returncode, whole["status"]) == (2, "broken")
    assert named["debug"] == "warning"
    assert named["migrations.missing"] == "broken"
    assert "tok-secret" not in told.stdout


def test_the_command_without_a_database(tmp_path: Path) -> None:
    told = doctor(tmp_path, DATABASE_URL="postgres://kumos:pw-secret@127.0.0.1:1/kumos")
    assert told.returncode == 2
    assert "x broken  Database: It does not answer" in told.stdout
    assert "check DATABASE_URL" in told.stdout
    assert "pw-secret" not in told.stdout + told.stderr


def test_a_data_directory_that_cannot_be_made_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told = doctor(tmp_path / "file" / "data")
    assert told.returncode != 0
    assert len(told.stderr.splitlines()) == 1
    assert "KUMOS_DATA_DIR" in told.stderr


# The page -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "raw", "shown"),
    [
        ("OPENAI_API_KEY", "sk-secret", "•••"),
        ("DATABASE_URL", "postgres://kumos:secret@db/kumos?password=secret", "postgres://…@db/kumos?…"),
        ("REDIS_URL", "redis://:secret@redis:6379/1", "redis://…@redis:6379/1"),
        ("OPENAI_BASE_URL", "https://models.example.org/v1?key=secret", "https://models.example.org/v1?…"),
        ("KUMOS_MASKED_FIELDS", "password,secret", "password,secret"),
    ],
)
def test_settings_are_shown_without_secrets(name: str, raw: str, shown: str) -> None:
    assert without_secrets(name, raw) == shown


def test_the_system_page_shows_what_the_doctor_says(admin_client: Client, settings: Settings) -> None:
    settings.KUMOS_PROVIDER_KEYS = {"KUMOS_PROVIDER_KEY_ACME": "sk-secret"}
    settings.ALLOWED_HOSTS = ["testserver"]
    answer = admin_client.get("/admin/system/")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert "No model server is set" in page
    assert "KUMOS_PROVIDER_KEY_ACME" in page
    assert "sk-secret" not in page
    assert "s" * 50 not in page
    assert all(f"<code>{name}</code>" in page for name in VARIABLES)
    assert '<a href="/admin/system/"' in admin_client.get("/admin/runs/").content.decode()
