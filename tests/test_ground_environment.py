"""bin/environment, the pins it installs, and bin/system-packages: what `make` does before any Python of ours runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.conf import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PIN = re.compile(
    r"^([A-Za-z0-9._-]+)==([^ ]+)(?: ;.*?)? \\\n((?: +--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What bin/environment needs of a clone, and a `uv` and a `pip` that cannot install anything."""
    shutil.copytree(settings.BASE_DIR / "bin", tmp_path / "bin")
    (tmp_path / "pins.txt").write_text("nothing==1.0\n")
    return tmp_path


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def environment(clone: Path, *folder: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", "bin/environment", "pins.txt", *folder],
        cwd=clone,
        env={"PATH": f"{clone / 'path'}:/usr/bin:/bin"} | variables,
        capture_output=True,
        text=True,
    )


def with_old_python(clone: Path) -> Path:
    old = "case $2 in *version_info*) exit 1 ;; *python_version*) echo 3.8.18 ;; *) exit 1 ;; esac"
    for name in ("python3.12", "python3.13", "python3.14", "python3", "python"):
        script(clone / "path" / name, old)
    return clone / "path" / "python3"


def test_a_python_that_is_too_old_gets_one_line(clone: Path) -> None:
    chosen = environment(clone, PYTHON=str(with_old_python(clone)))
    assert chosen.returncode != 0
    assert "3.8.18" in chosen.stderr
    assert len((chosen.stdout + chosen.stderr).splitlines()) == 1


def test_where_no_python_is_new_enough_uv_is_asked_and_its_failure_is_explained(clone: Path) -> None:
    with_old_python(clone)
    script(clone / "path" / "uv", 'echo "asked for $*" >> asked; exit 1')
    nothing_found = environment(clone)
    assert nothing_found.returncode != 0
    assert "3.8.18" in nothing_found.stderr
    assert len(nothing_found.stderr.splitlines()) == 1
    assert "--python 3.13 .venv" in (clone / "asked").read_text()


def test_the_second_call_installs_nothing_and_changed_pins_are_installed(clone: Path) -> None:
    script(clone / ".venv" / "bin" / "python", f'exec {sys.executable} "$@"')
    script(clone / "path" / "uv", 'echo "$*" >> installs')
    assert environment(clone).returncode == 0
    assert environment(clone).returncode == 0
    assert len((clone / "installs").read_text().splitlines()) == 1
    (clone / "pins.txt").write_text("nothing==2.0\n")
    assert environment(clone).returncode == 0
    assert len((clone / "installs").read_text().splitlines()) == 2


def test_an_install_that_failed_is_tried_again(clone: Path) -> None:
    script(
        clone / ".venv" / "bin" / "python", f'case $* in *ensurepip*|*pip*) exit 1 ;; esac; exec {sys.executable} "$@"'
    )
    script(clone / "path" / "uv", 'echo "$*" >> installs; exit 1')
    assert environment(clone).returncode != 0
    assert environment(clone).returncode != 0
    assert len((clone / "installs").read_text().splitlines()) == 2


def system_packages(clone: Path, apt: str) -> subprocess.CompletedProcess[str]:
    """On a machine where nothing is installed: `apt` is what its apt-get does. What it was asked is in `asked`."""
    path = clone / "nothing"
    script(path / "id", "echo 0")
    script(path / "sleep", "")
    script(path / "apt-get", f'echo "$1" >> {clone}/asked; {apt}')
    return subprocess.run(
        ["/bin/sh", "bin/system-packages"], cwd=clone, env={"PATH": str(path)}, capture_output=True, text=True
    )


def test_a_mirror_or_a_lock_that_fails_for_a_moment_is_tried_again(clone: Path) -> None:
    done = system_packages(clone, f"[ -e {clone}/$1 ] || {{ : > {clone}/$1; exit 100; }}")
    assert done.returncode == 0, done.stderr
    assert (clone / "asked").read_text().split() == ["update", "install", "update", "install"]


def test_lists_that_cannot_be_renewed_may_still_do(clone: Path) -> None:
    done = system_packages(clone, "[ $1 = install ]")
    assert done.returncode == 0, done.stderr
    assert (clone / "asked").read_text().split() == ["update", "install"]


def test_an_apt_that_never_works_is_an_error(clone: Path) -> None:
    done = system_packages(clone, "exit 100")
    assert done.returncode != 0
    assert "chromium" in done.stderr
    assert (clone / "asked").read_text().split() == ["update", "install"] * 5


def pins(name: str) -> dict[str, str]:
    """Package → version of a pins file. Several versions of one package, for different machines, count as the last."""
    return {match[1]: match[2] for match in PIN.finditer((settings.BASE_DIR / name).read_text())}


PINS = sorted(
    str(path.relative_to(settings.BASE_DIR))
    for folder in (settings.BASE_DIR, settings.BASE_DIR / "tests" / "contract" / "python")
    for path in folder.glob("requirements*.txt")
)


@pytest.mark.parametrize("name", PINS)
def test_pins_are_exact_hashed_and_name_no_host(name: str) -> None:
    text = (settings.BASE_DIR / name).read_text()
    rest = [line for line in PIN.sub("", text).splitlines() if not line.lstrip().startswith("#")]
    assert rest == []
    assert "://" not in text
    assert pins(name)


def test_pins_fit_what_pyproject_asks_for() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text())
    serving, testing = pins("requirements.txt"), pins("requirements-test.txt")
    groups = project["dependency-groups"]
    asked = [(line, serving) for line in project["project"]["dependencies"]]
    asked += [(line, testing) for name in ("test", "lint", "documents") for line in groups[name]]
    asked += [(line, pins("requirements-uv.txt")) for line in groups["pins"]]
    for name in ("openai-1", "openai-2", "openai-3", "langchain"):
        asked += [(line, pins(f"tests/contract/python/requirements-{name}.txt")) for line in groups[name]]
    for line, pinned in asked:
        requirement = Requirement(line)
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), line
    assert {name: testing.get(name) for name in serving} == serving


def test_the_npm_lock_is_hashed_and_names_no_host() -> None:
    folder = settings.BASE_DIR / "tests" / "contract" / "node"
    text = (folder / "package-lock.json").read_text()
    assert "://" not in text + (folder / "package.json").read_text() + (folder / ".npmrc").read_text()
    locked = json.loads(text)["packages"]
    root = locked.pop("")
    assert root["dependencies"] == json.loads((folder / "package.json").read_text())["dependencies"]
    assert {name for name, entry in locked.items() if not entry.get("integrity", "").startswith("sha512-")} == set()


def test_an_environment_may_stand_elsewhere(clone: Path) -> None:
    script(
        clone / "path" / "uv", f'echo "$*" >> asked; [ "$1" != venv ] || {sys.executable} -m venv --without-pip there'
    )
    made = environment(clone, "there", PYTHON=sys.executable)
    assert made.returncode == 0, made.stderr
    assert "--python there/bin/python" in (clone / "asked").read_text()
    assert (clone / "there" / "installed-pins.txt").read_text() == (clone / "pins.txt").read_text()
    assert not (clone / ".venv").exists()


def test_the_readme_names_targets_that_the_makefile_has() -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (settings.BASE_DIR / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make ([a-z]+)", (settings.BASE_DIR / "README.md").read_text(), re.MULTILINE)
    assert {"serve", "test"} <= set(named) <= set(targets)
