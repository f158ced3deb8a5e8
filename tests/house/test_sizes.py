"""Sizes and names: 400 lines a file, 60 a function, a docstring at each head, no file without a room."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from propmgr.config import PROJECT

HOUSE = sorted((PROJECT / "propmgr").rglob("*.py"))
#: Names that say nothing of what is in them.
ROOMLESS = {"util", "utils", "helper", "helpers", "common", "misc", "base_service", "manager", "managers"}
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK|NotImplementedError)\b")


def long_functions(source: str) -> list[str]:
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [n.name for n in nodes if (n.end_lineno or 0) - n.lineno + 1 > 60]


def test_the_measures_measure():
    assert long_functions("def f():\n" + "    x = 1\n" * 60) == ["f"]
    assert long_functions("def f():\n" + "    x = 1\n" * 59) == []
    assert UNFINISHED.search("# TODO later")
    assert len(HOUSE) > 30


@pytest.mark.parametrize("path", HOUSE, ids=lambda p: str(p.relative_to(PROJECT)))
def test_a_file_can_be_read(path: Path):
    source = path.read_text()
    assert source.count("\n") <= 400, "a file that outgrows 400 lines becomes a folder of the same name"
    assert long_functions(source) == []
    assert path.stem not in ROOMLESS, "a function without a room shows that a room is missing"
    assert ast.get_docstring(ast.parse(source)), "a file opens with what it decides and what it never does"
    assert not UNFINISHED.search(source)


@pytest.mark.parametrize("path", sorted((PROJECT / "propmgr").glob("*/commands.py")), ids=lambda p: p.parent.name)
def test_commands_take_the_act_first_or_say_for_whom(path: Path):
    """A writing function's first argument is the act; the worker's own bookkeeping in `work` is the exception."""
    if path.parent.name == "work":
        return
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            first = node.args.args[0].arg if node.args.args else None
            assert first == "act" or node.name == "next_tenant_id", f"{path.parent.name}.{node.name}"


def public_names(source: str) -> tuple[list[str], set[str]]:
    """(public functions, classes and methods without a docstring, those with one)."""
    tree = ast.parse(source)
    nodes = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    nodes += [m for n in nodes if isinstance(n, ast.ClassDef) for m in n.body if isinstance(m, ast.FunctionDef)]
    public = [n for n in nodes if not n.name.startswith("_")]
    return [n.name for n in public if not ast.get_docstring(n)], {n.name for n in public if ast.get_docstring(n)}


#: Methods whose meaning a library's base class gives.
INHERITED = {"process_bind_param", "process_result_value", "get_translations", "stream"}


def test_public_names_say_what_they_give():
    assert public_names("def f():\n    return 1\n") == (["f"], set())
    seen = {path.relative_to(PROJECT): public_names(path.read_text()) for path in HOUSE}
    # A method that a Protocol of ours documents is not explained again by each gateway.
    documented = INHERITED.union(*(names for _, names in seen.values()))
    missing = {
        str(path): names for path, (bare, _) in seen.items() if (names := [n for n in bare if n not in documented])
    }
    assert missing == {}


def columns_without_a_line(source: str) -> list[str]:
    """Mapped columns over which no `#:` line stands."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            mapped = isinstance(node.annotation, ast.Subscript) and getattr(node.annotation.value, "id", "") == "Mapped"
            if mapped and not lines[node.lineno - 2].strip().startswith("#:"):
                found.append(node.target.id)
    return found


def test_every_column_says_what_it_holds():
    assert columns_without_a_line("class A:\n    x: Mapped[int] = 1\n") == ["x"]
    paths = [*(PROJECT / "propmgr").glob("*/models.py"), PROJECT / "propmgr/database/base.py"]
    missing = {str(p.relative_to(PROJECT)): m for p in paths if (m := columns_without_a_line(p.read_text()))}
    assert missing == {}
