"""The folder that the thaw recipe's commands are typed in, and typing them in this process."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch

from tests.compat.thaw.commands import FOLDER
from tests.conftest import ROOT

Here = Callable[..., tuple[int, str]]  # a command, its arguments and its folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pretrained weights of a backbone."""
    folder = tmp_path_factory.mktemp("thaw")
    torch.manual_seed(0)
    torch.save(
        timm.create_model("test_vit", pretrained=False).state_dict(), folder / "test_vit.pth"
    )
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process, which is faster; gives its exit code and what it said."""

    def run(name: str, *arguments: object, cwd: Path = ROOT) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        monkeypatch.chdir(cwd)
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(FOLDER / name), run_name="__main__")
        return int(end.value.code or 0), "".join(capsys.readouterr())

    return run
