"""A checkpoint for label pick; a data set of label auto and what label pick took of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from tests.labelling.one_eyed import saved
from tests.labelling.scoring import levels

TRAINED = ("a.tif", "b_green.tif", "b_red.tif", "plate/d.tif")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("one-eyed") / "selected")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory):
    """A data set of label auto of four images to train on and one held back, and what was picked of
    it.
    """
    folder = tmp_path_factory.mktemp("import")
    (folder / "images" / "plate").mkdir(parents=True)
    for number, name in enumerate((*TRAINED, "e.tif")):
        field, _ = render_field(np.random.default_rng(number), 160, "blobs", 12)
        tifffile.imwrite(folder / "images" / name, levels(field)[..., 0])
    arguments = [
        "--kind",
        "blobs",
        "--class",
        "nucleus",
        "--keep-doubtful",
        "--out",
        str(folder / "labels"),
    ]
    assert main(["label", "auto", str(folder / "images"), *arguments, "--valid", "0.2"]) == 0
    more = ["--labels", str(folder / "labels"), "--group", "(.+)", "--out", str(folder / "pick")]
    assert main(["label", "pick", str(folder / "images"), "--count", "5", *more]) == 0
    return folder


@pytest.fixture
def work(made: Any, tmp_path: Path):
    """A copy of it."""
    shutil.copytree(made, tmp_path / "work")
    listed = tmp_path / "work" / "pick" / "pick.json"
    listed.write_text(listed.read_text().replace(str(made), str(tmp_path / "work")))
    return tmp_path / "work"
