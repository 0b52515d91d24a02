"""Quarantine lists of version 1, which segue 0.1.0 wrote, still leave out what they did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from segue.data import quarantine
from segue.data.dataset import Data, read_dataset, read_splits
from tests.data.test_quarantine import SPOILED, refused, spoiled, written

V1 = Path(__file__).parent / "quarantine_v1"


@pytest.fixture(params=SPOILED)
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set with problems, by the relative path with which its version-1 list was written."""
    monkeypatch.chdir(tmp_path)
    return spoiled(request.param)


def test_a_list_of_version_1_leaves_out_what_it_did(data: Path) -> None:
    """The lists are as segue 0.1.0 wrote them for the same data sets."""
    old = V1 / f"{data.name}.json"
    assert "version" not in json.loads(old.read_text())
    assert len(refused(read_splits(Data(root=data)))) >= 2
    kept = read_dataset(Data(root=data, quarantine=old))
    new = read_dataset(Data(root=data, quarantine=written(Path("new.json"), data)))
    assert refused(kept.splits) == [] and kept.counts() == new.counts()


def test_a_list_of_version_1_counts_whatever_the_words_are_now(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words of all problems change, as with a release: kind and place are enough."""
    splits = read_splits(Data(root=data))
    for split in splits.values():
        split.problems = [replace(problem, found="in other words") for problem in split.problems]
    assert refused(splits)
    assert refused(quarantine.applied(splits, V1 / f"{data.name}.json")) == []
