"""The SDKs that are driven, where they are installed (bin/sdks), and how their scenarios are played.

A play is a process of the SDK's own: Python of its environment, or Node. It prints a JSON line for each scenario that
ended; what is missing at its end was interrupted.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.contract.python import SCENES
from tests.process import ROOT

HERE = Path(__file__).resolve().parent
ENVIRONMENTS = ROOT / ".venv-contract"
PLAY_SECONDS = 400.0
DRIVEN = {"openai": "openai", "langchain": "langchain-classic"}
"""The package whose version names the tests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sdk:
    """What is driven, with its version, and by which command. A case is "MODE:SCENARIO"."""

    name: str
    command: Sequence[str]
    cases: Sequence[str]
    pins: Path
    stamp: Path
    """The copy of the pins that bin/sdks leaves where it has installed them."""
    is_newest: bool
    """Of its kind. What an older one sends differs, and no database can tell."""
    is_oldest: bool

    @property
    def is_installed(self) -> bool:
        runs = shutil.which(self.command[0]) is not None
        return runs and self.stamp.is_file() and self.stamp.read_bytes() == self.pins.read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """What was said of each case, None for what went well. `output` is for those that never ended."""

    failures: Mapping[str, str | None]
    output: str

    def failure_of(self, case: str) -> str | None:
        return self.failures.get(case, f"{case} did not end. {self.output}")


def play(sdk: Sdk, cases: Sequence[str], **settings: str) -> Play:
    """Plays the cases with Kumos at the addresses that the settings name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "OLLAMA_"))}
    process = subprocess.Popen(
        [*sdk.command, *cases],
        cwd=ROOT,
        env=kept | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said, complaint = process.communicate(timeout=PLAY_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        said, complaint = process.communicate()
        complaint += f"\nIt took more than {PLAY_SECONDS:g} s."
    ended = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return Play(failures={f"{it['mode']}:{it['scenario']}": it["failure"] for it in ended}, output=complaint)


def names_in(paths: Iterable[Path], declaration: str) -> list[str]:
    """The scenarios declared in the sources, which cannot be imported here: what they drive is installed elsewhere."""
    return [name for path in paths for name in re.findall(declaration, path.read_text(), re.MULTILINE)]


def python_sdks() -> list[Sdk]:
    found: list[Sdk] = []
    scenes: set[str] = set()
    every = sorted(HERE.glob("python/requirements-*.txt"), reverse=True)
    for pins in every:
        environment = pins.stem.removeprefix("requirements-")
        scene = environment.partition("-")[0]
        is_newest = scene not in scenes
        scenes.add(scene)
        (version,) = re.findall(rf"^{DRIVEN[scene]}==(\S+)", pins.read_text(), re.MULTILINE)
        names = names_in([HERE / "python" / f"{module}.py" for module in SCENES[scene]], r"^@scenario\ndef (\w+)")
        folder = ENVIRONMENTS / environment
        found.append(
            Sdk(
                name=f"{DRIVEN[scene]}-{version}",
                command=[str(folder / "bin" / "python"), "-m", "tests.contract.python", scene],
                cases=[f"{mode}:{name}" for mode in ("sync", "async") for name in names],
                pins=pins,
                stamp=folder / f"installed-{pins.name}",
                is_newest=is_newest,
                is_oldest=pins == [other for other in every if f"-{scene}" in other.stem][-1],
            )
        )
    return found


def npm_sdks() -> list[Sdk]:
    """One per alias of package.json."""
    names = names_in(sorted(HERE.glob("node/*.mjs")), r'^scenario\("([^"]+)"')
    found: list[Sdk] = []
    versions = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
    for alias, target in versions.items():
        found.append(
            Sdk(
                name=f"npm-{target.rpartition('@')[2]}",
                command=["node", str(HERE / "node" / "main.mjs"), alias],
                cases=[f"async:{name}" for name in names],
                pins=HERE / "node" / "package-lock.json",
                stamp=HERE / "node" / "node_modules" / "installed-package-lock.json",
                is_newest=alias == max(versions),
                is_oldest=alias == min(versions),
            )
        )
    return found


SDKS = [*python_sdks(), *npm_sdks()]
