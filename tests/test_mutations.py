"""The tests bite: without each pillar of tests/mutations.py the named test fails, in a copy of the project.

Some fail by waiting for what does not come, so the copy's tests have less patience; that it is enough for them while
nothing is broken is tried first.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, Edit, Mutation
from tests.process import ROOT

LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", ".uv", "data", "node_modules", "__pycache__", ".*_cache")
BOUND_SECONDS = 300
PATIENCE = Edit("tests/loops.py", "PATIENCE_SECONDS = 60.0", "PATIENCE_SECONDS = 15.0")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the tests pass. A mutation is undone before the next one comes."""
    copy = tmp_path_factory.mktemp("mutations") / "project"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    apply(copy, PATIENCE)
    done = run_tests(copy, tmp_path_factory.mktemp("unbroken"), *{mutation.test for mutation in MUTATIONS})
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    return copy


@pytest.mark.parametrize(
    "mutation",
    [
        pytest.param(mutation, id=mutation.name, marks=[pytest.mark.slow] if mutation.waits else [])
        for mutation in MUTATIONS
    ],
)
def test_without_it_a_test_fails(project: Path, tmp_path: Path, mutation: Mutation) -> None:
    originals = {edit.file: (project / edit.file).read_text() for edit in mutation.edits}
    try:
        for edit in mutation.edits:
            apply(project, edit)
        done = run_tests(project, tmp_path, mutation.test)
    finally:
        for file, text in originals.items():
            (project / file).write_text(text)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert f"FAILED {mutation.test}" in done.stdout


def apply(project: Path, edit: Edit) -> None:
    text = (project / edit.file).read_text()
    assert text.count(edit.before) == 1, f"{edit.file} says {edit.before!r} no more: mend tests/mutations.py"
    (project / edit.file).write_text(text.replace(edit.before, edit.after))


def run_tests(project: Path, data: Path, *tests: str) -> subprocess.CompletedProcess[str]:
    """Tests in a process of their own, on SQLite, whatever this process uses."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "DATABASE_", "REDIS_"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=project,
        env={**kept, "KUMOS_DATA_DIR": str(data), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
    )
