"""The environment as settings: documented, loud on bad values, and a secret key that is made once."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from kumos_site.settings import VARIABLES, without_secrets
from runs.admin import bundle

TABLE_ROW = re.compile(r"^\| `(?P<name>[A-Z_]+)` \| (?:`(?P<default>.*?)`|none) \| [^|]+ \| [^|]+ \|$", re.MULTILINE)


def as_documented(name: str, default: str) -> str:
    """Two defaults hold paths of the machine: those read as `./data` and by the name of the variable they follow."""
    if name == "KUMOS_DATA_DIR":
        return default.replace(str(settings.BASE_DIR), ".")
    return default.replace(str(settings.DATA_DIR), "KUMOS_DATA_DIR")


def run(code_or_command: list[str], data: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return subprocess.run(
        [sys.executable, *code_or_command],
        env=environment | {"KUMOS_DATA_DIR": str(data)} | variables,
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
    )


def test_every_variable_and_its_default_is_documented() -> None:
    page = (settings.BASE_DIR / "docs" / "settings.md").read_text()
    documented = {row["name"]: row["default"] or "" for row in TABLE_ROW.finditer(page)}
    assert documented == {name: as_documented(name, default) for name, default in VARIABLES.items()}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "abc"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("DATABASE_URL", "mysql://localhost/kumos"),
        ("DATABASE_URL", "nonsense"),
        ("KUMOS_DATABASE_POOL", "1"),
        ("KUMOS_STATEMENT_SECONDS", "0"),
        ("DEBUG", "perhaps"),
        ("KUMOS_RUN_SECONDS", "-1"),
        ("KUMOS_LEASE_SECONDS", "inf"),
        ("KUMOS_LEASE_SECONDS", "6"),
        ("KUMOS_IMAGE_SECONDS", "0"),
        ("KUMOS_IMAGE_BYTES_MAX", "much"),
        ("KUMOS_RUN_SLOTS", "many"),
        ("INTERRUPTED_RUN", "retry"),
        ("OPENAI_BASE_URL", "localhost:11434"),
        ("LOG_LEVEL", "LOUD"),
        ("KUMOS_FAILPOINTS", "run.claimed.before_commit"),
        ("KUMOS_FAILPOINTS", "run.claimed.before_commit:0"),
        ("KUMOS_FAILPOINTS", "run.claimed.before_commit:1:explode"),
    ],
)
def test_a_bad_value_stops_the_start_with_one_line_that_names_it(tmp_path: Path, name: str, value: str) -> None:
    start = run(["manage.py", "check"], tmp_path, **{name: value})
    assert start.returncode != 0
    assert len(start.stderr.splitlines()) == 1
    assert name in start.stderr


def test_an_empty_value_counts_as_not_given(tmp_path: Path) -> None:
    start = run(["manage.py", "check"], tmp_path, PORT="", DATABASE_URL=" ", LOG_LEVEL="")
    assert start.returncode == 0, start.stderr


def key_of_a_start(data: Path, **variables: str) -> str:
    start = run(["-c", "from kumos_site.settings import SECRET_KEY; print(SECRET_KEY)"], data, **variables)
    assert start.returncode == 0, start.stderr
    return start.stdout.strip()


def test_the_secret_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first = key_of_a_start(data)
    assert len(first) >= 50
    assert key_of_a_start(data) == first
    assert {path.name for path in data.iterdir()} == {"incoming", "secret_key"}
    assert stat.S_IMODE((data / "secret_key").stat().st_mode) == 0o600
    assert key_of_a_start(tmp_path / "other") != first


def test_a_given_secret_key_is_used_and_none_is_made(tmp_path: Path) -> None:
    assert key_of_a_start(tmp_path, SECRET_KEY="given") == "given"
    assert not (tmp_path / "secret_key").exists()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgres://u:p@host:5432/db", "postgres://…@host:5432/db"),
        ("postgres://u:p@ss@host/db", "postgres://…@host/db"),
        ("redis://:p@ss@[::1]:6379/0", "redis://…@[::1]:6379/0"),
        ("https://me:a?b@models.example/v1", "https://…@models.example/v1"),
        ("postgres://host/db?user=u&password=p@ss", "postgres://host/db?…"),
        ("https://models.example/@me/v1", "https://models.example/@me/v1"),
        ("sqlite:////srv/kumos.sqlite3", "sqlite:////srv/kumos.sqlite3"),
    ],
)
def test_who_logs_in_by_an_address_is_not_shown(address: str, shown: str) -> None:
    assert without_secrets("DATABASE_URL", address) == shown
    assert bundle.told("OPENAI_BASE_URL", address) == shown.replace("//…@", "//•••@")
