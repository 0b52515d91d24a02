"""What the tests of this recipe's configurations share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from segue.compat.noisy_then_manual.config import read as read_config
from segue.compat.noisy_then_manual.plan import plan_of
from tests.compat.noisy_then_manual.commands import FOLDER, files_of


@pytest.fixture
def place(rendered: Path, tmp_path: Path) -> Path:
    """The configurations as they are shipped, next to a whole data set in the text's layout."""
    algorithmic = {
        "algorithmic_train": ("train", slice(6)),
        "algorithmic_test": ("valid", slice(2)),
    }
    manual = {"manual_train": ("test", slice(3)), "manual_test": ("valid", slice(2, 5))}
    files_of(tmp_path / "myotube_dataset", rendered, {**algorithmic, **manual})
    for number in (1, 2):
        shutil.copy(FOLDER / f"stage{number}_config.yaml", tmp_path)
    return tmp_path


@pytest.fixture
def plan(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The plan that a file with KEY VALUE pairs means, and the warnings."""
    monkeypatch.chdir(place)

    def read(name: str, *pairs: tuple[str, object]):
        config = read_config(Path(name), [(key, str(value)) for key, value in pairs])
        return plan_of(config, None, name), capsys.readouterr().err

    return read
