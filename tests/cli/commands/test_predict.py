"""`segue predict` on folders as people have them: a damaged file among good ones, nothing found,
other levels.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segue.cli.app import main
from tests.inference import painted


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Three pictures with one red square each, for a model that finds what is red, with a score of
    0.9.
    """
    monkeypatch.setattr("segue.cli.commands.predict.load", lambda *_: painted.model(64))
    pixels = np.zeros((64, 64, 3), dtype=np.uint8)
    pixels[20:40, 10:30, 0] = 255
    (tmp_path / "images").mkdir()
    for name in "abc":
        Image.fromarray(pixels).save(tmp_path / "images" / f"{name}.png")
    return tmp_path / "images"


def predict(folder: Path, *words: str) -> tuple[int, dict | None]:
    """The exit code, and the COCO file if there is one."""
    out = folder.parent / "out"
    code = main(["predict", "model", str(folder), "--out", str(out), *words])
    path = out / "predictions.coco.json"
    return code, json.loads(path.read_text()) if path.is_file() else None


def test_a_damaged_image_is_skipped_and_named_at_the_end(folder, capsys):
    (folder / "b.png").write_bytes((folder / "b.png").read_bytes()[:60])
    code, coco = predict(folder)
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and [image["file_name"] for image in coco["images"]] == ["a.png", "c.png"]
    assert [entry["image_id"] for entry in coco["annotations"]] == [1, 2]
    assert (folder.parent / "out" / "c.png").is_file() and not (
        folder.parent / "out" / "b.png"
    ).exists()
    assert "2 objects in 2 images" in lines[0] and lines[1].startswith(
        f"{folder / 'b.png'}: cannot be decoded"
    )
    assert (
        lines[2].startswith(f"segue: error: {folder}: 1 of 3 images cannot be read, listed above")
        and len(lines) == 3
    )


def test_a_folder_of_damaged_images_writes_no_results(folder, capsys):
    for path in folder.iterdir():
        path.write_bytes(b"no picture")
    code, coco = predict(folder)
    assert code == 2 and coco is None and "3 of 3 images cannot be read" in capsys.readouterr().err


def test_files_of_an_earlier_call_are_said(folder, capsys):
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "measurements.csv").write_text("image,area\n")
    os.utime(folder.parent / "out" / "measurements.csv", (1, 1))
    assert predict(folder)[0] == 0
    assert "1 files of an earlier predict stay in" in capsys.readouterr().err


def test_where_nothing_is_found_the_highest_score_says_what_to_do(folder, capsys):
    assert predict(folder, "--threshold", "0.95")[0] == 0
    words = (
        "nothing above 0.95 in 3 images; the highest score is 0.9: train longer, or --threshold 0.6"
    )
    assert words in capsys.readouterr().err


def test_values_far_from_what_the_model_was_trained_with_are_said_once(folder, capsys):
    assert predict(folder)[0] == 0 and "the largest value" not in capsys.readouterr().err
    for path in folder.iterdir():
        path.unlink()
    for name in "de":
        tifffile.imwrite(folder / f"{name}.tif", np.full((64, 64), 4095, dtype=np.uint16))
    assert predict(folder)[0] == 0
    words = (
        "channel r: the largest value is 4095; the model expects values up to 65535 (segue inspect"
    )
    assert capsys.readouterr().err.count(words) == 1
