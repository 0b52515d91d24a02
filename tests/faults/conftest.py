"""A data set that is small even for a toy, and runs on it that nothing disturbed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from segue.data.synthetic import render_dataset
from tests.faults import struck
from tests.toy import detector_only, run


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 training and 3 validation images of 96 px."""
    return render_dataset(tmp_path_factory.mktemp("few"), {"train": 8, "valid": 3}, side=96, seed=3)


@pytest.fixture(scope="session")
def whole(rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The stage of `detector_only` as nothing disturbs it."""
    return run(detector_only(rendered, tmp_path_factory.mktemp("whole"))) / "1-detector"


@pytest.fixture(scope="session")
def undisturbed(
    few: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], tuple[Path, dict[str, list[int]]]]:
    """By the parts of a step: a run of `struck.three_stages`, and how much happened in each call of
    each place.
    """
    known: dict[int, tuple[Path, dict[str, list[int]]]] = {}

    def run(parts: int) -> tuple[Path, dict[str, list[int]]]:
        if parts not in known:
            folder = tmp_path_factory.mktemp(f"undisturbed-{parts}")
            plan, path = struck.three_stages(few, folder, parts)
            code, said = struck.run(plan, counts=folder / "counts.json")
            assert code == 0, said
            known[parts] = path, json.loads((folder / "counts.json").read_text())
        return known[parts]

    return run
