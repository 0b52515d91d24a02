"""scripts/noisy-then-manual/utils/batch_myotube_processing.py: the original's flags and files,
without its leak.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.rendered_fields import render_field
from segue.data.images import image_io
from tests.conftest import ROOT

SCRIPT = ROOT / "scripts" / "noisy-then-manual" / "utils" / "batch_myotube_processing.py"
FIELDS = 4


def typed(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    cwd: Path,
    *arguments: object,
) -> tuple[int, str]:
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(sys, "argv", [SCRIPT.name, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out + captured.err


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fields in green (16 bit) and a darker grey, in a folder of a folder."""
    root = tmp_path_factory.mktemp("fields")
    (root / "raw" / "plate").mkdir(parents=True)
    for number in range(FIELDS):
        field, _ = render_field(np.random.default_rng(number), 400, "tubes", 8)
        green = (field * 4095).astype(np.uint16)
        Image.fromarray(green).save(root / "raw" / "plate" / f"field{number}_green.png")
        Image.fromarray(green // 2).save(root / "raw" / "plate" / f"field{number}_grey.png")
    return root


def test_it_leaves_what_the_original_left_and_keeps_twins_together(
    fields: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, output = typed(
        monkeypatch,
        capsys,
        fields,
        "--input_dir",
        "raw",
        "--output_dir",
        "out",
        "--resolution",
        300,
    )
    assert code == 0, output
    everything, train, test = (
        json.loads((fields / "out" / "annotations" / f"{name}.json").read_text())
        for name in ("annotations", "algorithmic_train_annotations", "algorithmic_test_annotations")
    )
    names = {image["file_name"] for image in everything["images"]}
    assert names == {
        f"plate_field{i}_{c}_processed.png" for i in range(FIELDS) for c in ("green", "grey")
    }
    assert {path.name for path in (fields / "out" / "images").iterdir()} == names
    parts = [
        {image["original_file"].split("_")[0] for image in part["images"]} for part in (train, test)
    ]
    assert parts[0] and parts[1] and not parts[0] & parts[1]
    assert everything["categories"] == [{"id": 1, "name": "myotube", "supercategory": "cell"}]
    for image in everything["images"]:
        own = [entry for entry in everything["annotations"] if entry["image_id"] == image["id"]]
        assert (
            image["myotube_count"] == len(own) > 3 and max(image["height"], image["width"]) == 300
        )
        assert image["channel_type"] in image["file_name"]
    assert (
        f"annotations.json: {2 * FIELDS} images, {len(everything['annotations'])} myotubes"
        in output
    )
    assert (
        image_io.read(fields / "out" / "images" / "plate_field0_green_processed.png").int().max()
        > 255
    )


def test_grey_gets_the_masks_of_its_green_twin(
    fields: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        typed(monkeypatch, capsys, fields, "-i", "raw", "-o", "twins", "-r", 300, "-s", 400)[0] == 0
    )
    content = json.loads((fields / "twins" / "annotations" / "annotations.json").read_text())
    masks = {
        image["file_name"]: [
            e["segmentation"]["counts"]
            for e in content["annotations"]
            if e["image_id"] == image["id"]
        ]
        for image in content["images"]
    }
    for number in range(FIELDS):
        green, grey = (
            masks[f"plate_field{number}_{colour}_processed.png"] for colour in ("green", "grey")
        )
        assert green == grey and len(green) > 3


def test_what_cannot_be_labelled_is_one_line_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "raw").mkdir()
    code, output = typed(monkeypatch, capsys, tmp_path, "-i", "raw")
    assert code == 2 and "no images" in output
    noise = np.random.default_rng(0).integers(0, 255, (200, 200), dtype=np.uint8)
    for number in range(2):
        Image.fromarray(noise).save(tmp_path / "raw" / f"field{number}.png")
    code, output = typed(monkeypatch, capsys, tmp_path, "-i", "raw")
    assert (
        code == 2
        and "doubt about every image" in output
        and not (tmp_path / "myotube_batch_output").exists()
    )
