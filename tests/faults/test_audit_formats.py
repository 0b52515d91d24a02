"""The data doctor on data sets that are not COCO's: planted defects are named, what is good is
read, files stay.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from segue.cli.commands.data.change import convert_data
from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.problems import REFUSED, Problem
from segue.data.synthetic import render_dataset
from segue.data.writing.folders import copy
from tests.conftest import Promise
from tests.faults.corpus_formats import OTHERS
from tests.faults.test_audit import hashes

FORMATS = sorted({kind for _, kind, _ in OTHERS})


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rendered data set in every format that has planted defects."""
    folder = tmp_path_factory.mktemp("converted")
    clean = render_dataset(folder / "coco", {"train": 4, "valid": 2, "test": 1}, side=96, seed=5)
    for kind in FORMATS:
        convert_data(clean, folder / kind, kind, copy)
    return folder


def found_in(data: Path) -> list[Problem]:
    return audit(read_splits(Data(root=data)), pixels=False)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_converted_data_set_has_nothing_to_refuse_or_doubt(converted: Path, kind: Any) -> None:
    assert {finding.action for finding in found_in(converted / kind)} <= {"note", "fixed"}


@pytest.mark.parametrize(
    "number", range(len(OTHERS)), ids=lambda number: "{1} {0}".format(*OTHERS[number])
)
def test_a_planted_defect_is_named(
    number: int, converted: Path, tmp_path: Path, promise: Promise
) -> None:
    kind, format, plant = OTHERS[number]
    data = Path(shutil.copytree(converted / format, tmp_path / format))
    before = {finding.kind for finding in found_in(data)}
    plant(data)
    files = hashes(data)
    everything = found_in(data)
    found = [finding for finding in everything if finding.kind == kind]
    assert found and kind not in before, (
        f"{kind} is not new in {sorted({finding.kind for finding in everything})}"
    )
    assert all(finding.found and finding.place.file for finding in found)
    assert "other" not in {finding.kind for finding in everything} and hashes(data) == files
    others = {finding.kind for finding in everything if finding.action in REFUSED} - {kind}
    assert not others, f"also refused: {others}"
    promise("P10", 1, "bad inputs of other formats than COCO")
