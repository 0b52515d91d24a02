"""Promises about the code itself: which way imports point, how long things are, what lies outside
ASCII.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

SOURCES = sorted(
    path
    for folder in ("segue", "scripts", "benchmarks", "docs", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
OURS = [path for path in SOURCES if not path.is_relative_to(ROOT / "tests")]
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 300, 60, 8


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [
        n
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its signature and docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    start = first.end_lineno if documented else first.lineno - 1
    return (node.end_lineno or 0) - (start or 0)


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    analysed = re.search(r"Analyzed (\d+) files", done.stdout)
    assert analysed and int(analysed[1]) == len(list((ROOT / "segue").rglob("*.py")))


def test_files_are_short() -> None:
    assert len(OURS) > 70
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: count for name, count in lengths.items() if count > LONGEST_FILE} == {}


def test_functions_are_short_and_take_few_parameters() -> None:
    seen = 0
    long: list[Any] = []
    wide: list[Any] = []
    for path in OURS:
        name = str(path.relative_to(ROOT))
        for node in functions(path):
            seen += 1
            if name.startswith("segue/cli"):  # commands have a parameter for each flag
                continue
            arguments = [
                a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
            ]
            if body_lines(node) > LONGEST_FUNCTION:
                long.append(f"{name}:{node.name} {body_lines(node)}")
            if len([a for a in arguments if a not in ("self", "cls")]) > MOST_PARAMETERS:
                wide.append(f"{name}:{node.name}")
    assert seen > 400
    assert long == [] and wide == []


def test_code_and_documents_are_ascii() -> None:
    texts = [
        *SOURCES,
        *ROOT.glob("*.md"),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "segue").rglob("*.yaml"),
    ]
    strange = {}
    for path in texts:
        found = {c for c in path.read_text(encoding="utf-8") if ord(c) > 127}
        if found:
            strange[str(path.relative_to(ROOT))] = found
    assert strange == {}


# Spelled in parts, so that this file may be looked at like every other.
UNWANTED = [
    "/".join(("pypi.org", "simple")),
    "/".join(("", "work", "main")),
    "-".join(("index", "url")),
]


@pytest.mark.parametrize("words", UNWANTED)
def test_nothing_names_a_registry_or_a_path_of_one_machine(words: Any) -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert not listed or len(listed) > 100
    for name in listed:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".yaml", ".txt") and path.exists():
            assert words not in path.read_text(encoding="utf-8"), name
