"""Floors: an import runs only downwards. import-linter reads the contracts in pyproject.toml; here they are run."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from propmgr.config import PROJECT

PACKAGE = PROJECT / "propmgr"


def lint(project: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=project, capture_output=True, text=True, timeout=120, check=False
    )


def test_imports_run_downwards():
    done = lint(PROJECT)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("kernel/errors.py", "import propmgr.audit.models"),
        ("audit/commands.py", "import propmgr.identity.models"),
        ("places/rules.py", "import propmgr.messages.rules"),
        ("messages/rules.py", "import propmgr.messages.models"),
        ("attic/__init__.py", "X = 1"),
    ],
)
def test_red_control_an_import_upwards_and_an_unknown_room_are_found(tmp_path, room, line):
    copy = tmp_path / "house"
    shutil.copytree(PACKAGE, copy / "propmgr", ignore=shutil.ignore_patterns("__pycache__", "data"))
    shutil.copy(PROJECT / "pyproject.toml", copy)
    target = copy / "propmgr" / room
    target.parent.mkdir(exist_ok=True)
    target.write_text((target.read_text() if target.exists() else "") + f"\n{line}\n")
    done = lint(copy)
    assert (
        (done.returncode != 0 and "BROKEN" in done.stdout + done.stderr) or "Missing layer" in done.stdout + done.stderr
    )


def imports_inside_functions(source: str) -> list[int]:
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [n.lineno for f in functions for n in ast.walk(f) if isinstance(n, ast.Import | ast.ImportFrom)]


def test_every_import_stands_at_the_top_of_its_file():
    assert imports_inside_functions("def f():\n    import os\n") == [2], "red control"
    hidden = {
        str(p.relative_to(PROJECT)): found
        for p in PACKAGE.rglob("*.py")
        if (found := imports_inside_functions(p.read_text()))
    }
    assert hidden == {}


def test_a_slices_page_imports_nothing():
    # The embedded server is one room with a front door; its page hands out what is behind it.
    doors = {PACKAGE / "database/embedded/__init__.py"}
    for page in set(PACKAGE.rglob("__init__.py")) - doors:
        tree = ast.parse(page.read_text())
        assert not [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], page
        assert ast.get_docstring(tree), f"{page} says what its room is"
