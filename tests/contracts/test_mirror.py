"""Tests mirror the rooms of the package: what holds of segue/data/formats/voc.py is tested in
tests/data/formats/test_voc.py.
"""

from __future__ import annotations

import ast
from pathlib import Path

from tests.conftest import ROOT

PACKAGE, TESTS = ROOT / "segue", ROOT / "tests"
# Modules without a test file of their name -> where they are tested, and why there.
ELSEWHERE: dict[str, str] = {}


def has_logic(path: Path) -> bool:
    """Whether a module defines functions or methods: others are data, types and doors."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    return any(isinstance(node, functions) for node in ast.walk(ast.parse(path.read_text())))


def modules() -> list[str]:
    """Modules to be mirrored, by their paths in the package.

    Names with an underscore are details of the modules next to them, which test them; `__init__`
    holds what a folder shows.
    """
    return [
        path.relative_to(PACKAGE).as_posix()
        for path in sorted(PACKAGE.rglob("*.py"))
        if not path.name.startswith("_") and has_logic(path)
    ]


def test_files_of(module: str) -> list[Path]:
    """Test files of a module: test_<module>.py, and test_<module>_<subject>.py where it has many."""
    place = (TESTS / module).parent
    return [*place.glob(f"test_{Path(module).stem}.py"), *place.glob(f"test_{Path(module).stem}_*.py")]


def place_of(reason: str) -> Path:
    """The file or folder that an entry of the allow-list names first."""
    return TESTS / reason.split(":")[0]


def test_every_module_has_a_test_file_of_its_name():
    assert len(modules()) > 150
    assert [module for module in modules() if not test_files_of(module) and module not in ELSEWHERE] == []


def test_the_allow_list_is_short_true_and_needed():
    assert len(ELSEWHERE) <= 40
    for module, reason in ELSEWHERE.items():
        assert module in modules() and not test_files_of(module), f"{module}: needs no entry"
        assert place_of(reason).exists(), f"{module}: tests/{reason}: no such file"


def test_no_test_file_lies_outside_a_room():
    assert sorted(path.name for path in TESTS.glob("test_*.py")) == []
