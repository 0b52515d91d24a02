"""Every benchmark starts: its imports are there, and its help says how to run it."""

from __future__ import annotations

import runpy
import sys
from typing import Any

import pytest

from tests.conftest import ROOT

FILES = sorted((ROOT / "benchmarks").glob("*.py"))
COMMANDS = [path for path in FILES if '__name__ == "__main__"' in path.read_text()]
# what other benchmarks import
HELPERS = {"rendered_fields.py", "steps.py"}


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_benchmark_tells_how_it_is_run(
    path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(str(path.parent))  # as python benchmarks/NAME.py has it
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    assert f"python benchmarks/{path.name}" in capsys.readouterr().out


def test_every_file_is_a_command_or_known_as_a_helper() -> None:
    commands = {path.name for path in COMMANDS}
    assert len(commands) >= 8
    helpers = {path.name for path in FILES} - commands
    assert helpers >= HELPERS and not any(name not in _imported() for name in helpers)


def _imported() -> set[str]:
    """Files that another benchmark or a test imports by name."""
    text = "\n".join(path.read_text() for path in FILES)
    return {
        path.name
        for path in FILES
        if f"from {path.stem} import" in text or f"import {path.stem}\n" in text
    }
