"""segue label import: nothing is measured on what was trained on, and what was there is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from segue.data.records import Annotation, Record
from segue.data.writing.merge import read
from segue.structures.masks import coco_rle
from tests.conftest import write_plan
from tests.labelling.corrections import (
    NEW,
    add_labelme,
    content,
    files,
    holds_the_square,
    imported,
    stem_of,
    trained,
)
from tests.labelling.scoring import levels
from tests.optional import present


def test_a_corrected_image_comes_back_to_the_pixel_and_the_second_stage_can_start(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = trained(work)[:2]
    add_labelme(work, stem_of(one))
    shapes = json.loads((work / "pick" / "labelme" / f"{stem_of(two)}.json").read_text())
    shapes["shapes"][0]["points"] = NEW  # one polygon drawn again
    (work / "pick" / "labelme" / f"{stem_of(two)}.json").write_text(json.dumps(shapes))
    assert imported(work, "pick/labelme") == 0
    said = capsys.readouterr()
    path = work / "labels" / "annotations" / "manual_train_annotations.json"
    assert said.out.strip() == str(path) and files(work, "manual_train") == {one, two}
    entries = content(work, "manual_train")["annotations"]
    # by hand, and right
    assert all("source" not in entry and "quality" not in entry for entry in entries)
    split = read(work / "labels")["manual_train"]
    for record in split.records:
        squares = [a for a in record.annotations if a.box_xyxy == (20, 30, 60, 70)]
        assert len(squares) == 1 and int(np.round(_area(squares[0], record))) == 1600
    assert main(["check", str(plan(work, said.err))]) == 0
    assert "ready" in capsys.readouterr().out


def _area(annotation: Annotation, record: Record) -> float:
    import hotcoco.mask as coco_mask

    return float(coco_mask.area(coco_rle(present(annotation.mask), record.height, record.width)))


def plan(work: Any, output: str):
    """The plan with the files that the last line tells to use."""
    command = next(
        line for line in output.splitlines() if line.startswith("next: segue run plan.yaml")
    )
    told = dict(re.findall(r"stages\.manual\.data\.(\S+?)=(\S+)", command))
    parts = {
        part: {k: told[f"{part}.{k}"] for k in ("annotations", "images")}
        for part in ("train", "valid")
    }
    common = {"images_per_step": 2, "workers": 0}
    return write_plan(
        work / "plan.yaml",
        {
            "name": "toy",
            "device": "cpu",
            "data": {**parts, "channels": [{"name": "grey", "scale": "percentile"}]},
            "model": {
                "family": "rfdetr",
                "size": "pico",
                "resolution": 64,
                "queries": 30,
                "groups": 2,
            },
            "stages": [{**common, "name": "manual", "task": "boxes", "epochs": 1}],
        },
    )


def test_a_file_is_extended_and_the_one_before_is_kept(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = trained(work)[:2]
    add_labelme(work, stem_of(one))
    assert imported(work, "pick/labelme") == 0
    first = content(work, "manual_train")
    assert imported(work, "pick/labelme") == 0  # the same again changes nothing
    folder = work / "labels" / "annotations"
    assert content(work, "manual_train") == first and not list(folder.glob("*.bak*"))
    (work / "pick" / "labelme" / f"{stem_of(one)}.json").unlink()
    add_labelme(work, stem_of(two))
    assert imported(work, "pick/labelme") == 0
    assert (
        files(work, "manual_train") == {one, two}
        and "1 images kept, 1 new" in capsys.readouterr().err
    )
    assert holds_the_square(work, one) and holds_the_square(work, two)
    assert json.loads((folder / "manual_train_annotations.json.bak").read_text()) == first


def test_a_field_that_is_held_back_stays_held_back(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    held = min(files(work, "algorithmic_valid"))
    add_labelme(work, stem_of(held))
    assert imported(work, "pick/labelme") == 0
    assert files(work, "manual_valid") == {held} and files(work, "manual_train") == set()
    assert "nothing to train on by hand yet" in capsys.readouterr().err


def test_what_is_held_back_by_hand_leaves_the_algorithms_training_part_with_its_twins(
    work: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    add_labelme(work, *map(stem_of, trained(work)))
    before = files(work, "algorithmic_train") | files(work, "algorithmic_valid")
    assert imported(work, "pick/labelme", "--held", "0.4") == 0
    held, train = files(work, "manual_valid"), files(work, "manual_train")
    assert held and train and not held & train
    assert not files(work, "algorithmic_train") & held and held <= files(work, "algorithmic_valid")
    assert files(work, "algorithmic_train") | files(work, "algorithmic_valid") == before
    for part in ("algorithmic_train", "manual_train", "algorithmic_valid", "manual_valid"):
        assert {"b_green.tif", "b_red.tif"} & files(work, part) in (
            set(),
            {"b_green.tif", "b_red.tif"},
        )
    said = capsys.readouterr().err
    assert (
        "stage 1 has to be trained again" in said
        and "(before: algorithmic_train_annotations.json.bak)" in said
    )


def test_the_last_line_says_only_what_the_recipe_does_not_and_why_nothing_is_held_back(
    work: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    add_labelme(work, *map(stem_of, trained(work)))
    command = ["label", "import", "pick/labelme", "--into", "labels"]

    def last(*more: str) -> str:
        assert main([*command, *more]) == 0
        return capsys.readouterr().err.splitlines()[-1]

    by_algorithm = (
        "stages.manual.data.valid.annotations=labels/annotations/algorithmic_valid_annotations.json"
    )
    assert last() == (
        f"next: segue run plan.yaml {by_algorithm}  (validates on the algorithm's labels;"
        " --held 0.2 holds some by hand back)"
    )
    told = last("--held", "0.4")
    assert (
        "--held 0.4 holds nothing back: these fields are in manual training already; label "
        "images of others" in told
    )
    (work / "labels" / "annotations" / "manual_train_annotations.json").unlink()  # as it says
    assert last("--held", "0.4") == "next: segue run plan.yaml" and files(work, "manual_valid")


def test_an_image_of_ones_own_is_given_a_place(
    work: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    field, _ = render_field(np.random.default_rng(9), 160, "blobs", 12)
    tifffile.imwrite(tmp_path / "mine.tif", levels(field)[..., 0])
    shape = {"label": "nucleus", "points": NEW, "shape_type": "polygon"}
    mine = {"shapes": [shape], "imagePath": "mine.tif", "imageHeight": 160, "imageWidth": 160}
    (tmp_path / "mine.json").write_text(json.dumps(mine))
    arguments = ["label", "import", str(tmp_path / "mine.json"), "--into", str(work / "labels")]
    assert main(arguments) == 0
    assert (work / "labels" / "images" / "mine.tif").samefile(tmp_path / "mine.tif")
    assert holds_the_square(work, "mine.tif")
    (tmp_path / "mine.tif").unlink()
    tifffile.imwrite(tmp_path / "mine.tif", levels(field)[..., 0] // 2)
    capsys.readouterr()
    assert main(arguments) == 2 and "another image than" in capsys.readouterr().err
