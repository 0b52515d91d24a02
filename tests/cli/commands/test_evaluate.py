"""Folders with several annotation files for one part: each is listed, and the one to measure on is
named.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from segue import models
from segue.cli.app import main
from segue.training import checkpoint


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """A model of random weights that knows cells and rods."""
    folder = tmp_path_factory.mktemp("one-file") / "model"
    family = models.get("rfdetr")
    options, _ = family.resolve_options(
        family.Options(resolution=64, queries=30), models.size_of(family, "pico"), 0, "cpu"
    )
    spec = models.ModelSpec(
        family="rfdetr", size="pico", classes=("cell", "rod"), options=options.model_dump()
    )
    checkpoint.write(
        folder, family.build(spec, masks=False).state_dict(), checkpoint.Card(spec=spec)
    )
    return folder


@pytest.fixture
def labels(rendered, tmp_path) -> Path:
    """As `segue label import` leaves it: labels of a program and of people for the same parts."""
    root = tmp_path / "labels"
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    for part in ("train", "valid"):
        for source in ("algorithmic", "manual"):
            shutil.copy(
                rendered / part / "_annotations.coco.json",
                root / "annotations" / f"{source}_{part}_annotations.json",
            )
        for image in (rendered / part).glob("*.png"):
            shutil.copy(image, root / "images")
    return root


def test_check_and_info_tell_every_file(labels, capsys):
    assert main(["check", str(labels)]) == 0 and main(["data", "info", str(labels)]) == 0
    said = capsys.readouterr().out
    for name in ("algorithmic_train", "algorithmic_valid", "manual_train", "manual_valid"):
        assert said.count(f"{name}: ") >= 2
    image = next((labels / "images").glob("valid*"))
    image.write_bytes(image.read_bytes()[:80])
    assert main(["check", str(labels)]) == 2 and "ERROR" in capsys.readouterr().out


def test_evaluate_names_the_file_to_give_and_measures_on_it(model, labels, capsys):
    assert main(["evaluate", str(model), str(labels)]) == 2
    error = capsys.readouterr().err.strip()
    file = labels / "annotations" / "manual_valid_annotations.json"
    assert error.endswith(f"next: segue evaluate {model} {file}") and error.count("\n") == 0
    assert main(["evaluate", str(model), str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 5


def test_classes_that_the_model_does_not_know_are_refused_with_what_to_do(model, labels, capsys):
    file = labels / "annotations" / "manual_valid_annotations.json"
    content = json.loads(file.read_text())
    for entry in content["categories"]:
        entry["name"] = f"nucleus {entry['id']}"
    file.write_text(json.dumps(content))
    assert main(["evaluate", str(model), str(file)]) == 2
    error = capsys.readouterr().err
    assert (
        "expected some of cell, rod, the model's; next: " in error and "under categories" in error
    )
