"""deploy/ names what there is: commands, settings, files, ports, and times that fit each other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands

from kumos_site.drain import ANSWER_SECONDS
from kumos_site.settings import VARIABLES
from runs.engine import HAND_OFF_SECONDS

DEPLOY: Path = settings.BASE_DIR / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
OURS = {name: service for name, service in COMPOSE["services"].items() if service.get("image") == "kumos"}
SYSTEMS = {"PYTHONUNBUFFERED"}
"""Variables that are not Kumos's own."""


def unit(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", path.read_text(), re.MULTILINE))


def commands() -> list[str]:
    """Every call of manage.py in deploy/, from its command on."""
    started = [unit(path)["ExecStart"].split("manage.py ")[1] for path in UNITS]
    (default,) = re.findall(r"^CMD \[(.*)\]$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    told = [re.split(r"[`\n]", after)[0] for text in texts() for after in text.split("manage.py ")[1:]]
    return [
        *started,
        *(service["command"] for service in OURS.values()),
        default.replace('"', "").replace(",", ""),
        *told,
    ]


def texts() -> list[str]:
    return [path.read_text() for path in (DEPLOY / "README.md", DEPLOY / "compose.yaml")]


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_commands_exist() -> None:
    assert len(commands()) > 6
    assert {shlex.split(command)[0] for command in commands()} <= get_commands().keys()
    assert {get_commands()[name] for name in ("serve", "runworker")} == {"kumos_site"}


def test_settings_exist() -> None:
    example = re.findall(r"^#?([A-Z_]+)=", (DEPLOY / "kumos.env.example").read_text(), re.MULTILINE)
    image = re.findall(r"([A-Z_]+)=", (DEPLOY / "Dockerfile").read_text())
    units = [re.match(r"[A-Z_]+", unit(path)["Environment"]) for path in UNITS]
    named = [name for text in texts() for name in re.findall(r"KUMOS_[A-Z_]+", text)]
    used = {*example, *image, *(found[0] for found in units if found), *named}
    used.update(name for service in OURS.values() for name in service["environment"])
    assert used - SYSTEMS <= VARIABLES.keys()
    assert {"SECRET_KEY", "DATABASE_URL", "REDIS_URL", "KUMOS_SETUP", "ALLOWED_HOSTS"} <= used


def test_files_exist() -> None:
    for service in OURS.values():
        assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        assert (DEPLOY / f"{service['env_file']}.example").is_file()
    assert (DEPLOY / COMPOSE["services"]["nginx"]["volumes"][0].split(":")[0]).is_file()


def test_the_proxy_asks_servers_that_there_are() -> None:
    named = re.findall(r"^\s*server (\S+?):(\d+)", (DEPLOY / "nginx.conf").read_text(), re.MULTILINE)
    webs = [name for name, service in OURS.items() if "--web" in service["command"]]
    (port,) = re.findall(r"PORT=(\d+)", (DEPLOY / "Dockerfile").read_text())
    assert named == [(name, port) for name in webs]
    assert COMPOSE["services"]["nginx"]["ports"][0].endswith(":" + re.findall(r"listen (\d+);", proxy())[0])


def proxy() -> str:
    return re.sub(r"#.*", "", (DEPLOY / "nginx.conf").read_text())


def test_the_proxy_lets_streams_through() -> None:
    assert {"proxy_buffering off;", "gzip off;", "proxy_http_version 1.1;"} <= {
        line.strip() for line in proxy().split("\n")
    }
    (silence,) = re.findall(r"proxy_read_timeout (\d+)s;", proxy())
    assert float(silence) > 2 * settings.KUMOS_HEARTBEAT_SECONDS
    (largest,) = re.findall(r"client_max_body_size (\d+)m;", proxy())
    assert int(largest) * 1024 * 1024 > settings.KUMOS_FILE_BYTES_MAX


@pytest.mark.parametrize("service", OURS.values(), ids=OURS.keys())
def test_compose_waits_for_a_drain(service: dict[str, Any]) -> None:
    drain = seconds(service["environment"]["KUMOS_DRAIN_SECONDS"])
    assert seconds(service["stop_grace_period"]) > drain + HAND_OFF_SECONDS + ANSWER_SECONDS


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_waits_for_a_drain(path: Path) -> None:
    (drain,) = re.findall(r"KUMOS_DRAIN_SECONDS=(\d+)", (DEPLOY / "kumos.env.example").read_text())
    assert seconds(unit(path)["TimeoutStopSec"]) > seconds(drain) + HAND_OFF_SECONDS + ANSWER_SECONDS
