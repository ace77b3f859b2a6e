"""The house rules that a reader of the code relies on, read from the code itself (design, section 1)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from django.conf import settings

PACKAGES = ["assistants", "streaming", "runs", "kumos_site"]
"""From the ground up: a package imports itself and the ones before it."""

ASYNC_IN_ASSISTANTS = {
    "assistants/bell.py",  # rings Channels, whose layers are asynchronous
    "assistants/layer.py",
    "assistants/headers.py",  # a middleware for both worlds: /v1 is served natively asynchronous
}
NO_NAME_FOR_A_MODULE = {"utils", "util", "helpers", "helper", "common", "services", "managers", "misc", "base", "core"}
TOUCH_THE_ENVIRONMENT = [
    "kumos_site/asgi.py",  # tells Django which settings there are, and reads none
    "kumos_site/settings.py",
]
LINES_AT_MOST = 500


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse((settings.BASE_DIR / path).read_text(), path)


def modules_of(package: str) -> list[str]:
    folder: Path = settings.BASE_DIR / package
    return sorted(str(path.relative_to(settings.BASE_DIR)) for path in folder.rglob("*.py"))


OUR_MODULES = [path for package in PACKAGES for path in modules_of(package)]


def imported_names(path: str, tree: ast.AST) -> Iterator[str]:
    """Absolute dotted names of everything the module imports, at its top or inside a function."""
    package = Path(path).parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            yield ".".join([*above, *filter(None, [node.module])])


def against_the_direction(path: str, tree: ast.AST) -> list[str]:
    package = path.partition("/")[0]
    above = set(PACKAGES[PACKAGES.index(package) + 1 :])
    return [name for name in imported_names(path, tree) if name.partition(".")[0] in above]


def async_lines(tree: ast.AST) -> list[int]:
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    return [node.lineno for node in ast.walk(tree) if isinstance(node, kinds)]


def environment_lines(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "putenv"})
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and {"environ", "getenv"} & {n.name for n in node.names}
        )
    ]


def test_imports_go_one_way() -> None:
    found = {path: against_the_direction(path, tree_of(path)) for path in OUR_MODULES}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("assistants/ids.py", "import runs.models", ["runs.models"]),
        ("assistants/views/file.py", "def f():\n    from streaming import journal", ["streaming"]),
        ("assistants/views/file.py", "from ...runs.models import Run", ["runs.models"]),
        ("streaming/views.py", "from kumos_site.settings import PORT", ["kumos_site.settings"]),
        ("streaming/views.py", "from assistants.models import Thread\nfrom . import journal", []),
        ("runs/tools/__init__.py", "from ..models import Run\nimport streaming.journal", []),
    ],
)
def test_the_reading_of_imports(path: str, source: str, found: list[str]) -> None:
    assert against_the_direction(path, ast.parse(source)) == found


def test_resources_are_synchronous() -> None:
    assert {path for path in modules_of("assistants") if async_lines(tree_of(path))} == ASYNC_IN_ASSISTANTS


def test_a_module_is_a_noun_of_the_field() -> None:
    names = {path: {part.removesuffix(".py") for part in Path(path).parts} for path in OUR_MODULES}
    assert [path for path, parts in names.items() if parts & NO_NAME_FOR_A_MODULE] == []


def test_a_module_can_be_read_in_one_sitting() -> None:
    lengths = {path: len((settings.BASE_DIR / path).read_text().splitlines()) for path in OUR_MODULES}
    assert {path: lines for path, lines in lengths.items() if lines > LINES_AT_MOST} == {}


def test_a_module_says_first_what_it_is() -> None:
    described = [path for path in OUR_MODULES if Path(path).name != "__init__.py" and "/migrations/" not in path]
    assert [path for path in described if not ast.get_docstring(tree_of(path))] == []


def test_only_the_settings_read_the_environment() -> None:
    assert [path for path in OUR_MODULES if environment_lines(tree_of(path))] == TOUCH_THE_ENVIRONMENT


@pytest.mark.parametrize(
    "source", ["import os\nos.environ['PORT']", "from os import environ", "import os\nos.getenv('PORT')"]
)
def test_the_reading_of_environment_access(source: str) -> None:
    assert environment_lines(ast.parse(source))
