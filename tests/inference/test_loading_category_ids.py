"""A file that is handed on predicts with the category ids of the data it was trained on, not with
label numbers.
"""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from segue.cli.commands.predict import predict_to_folder
from segue.compat.noisy_then_manual import files
from segue.compat.thaw import train
from segue.inference.loading import load
from segue.models.weights.card import Card
from segue.training import checkpoint, single_file
from tests.models.pico import build

IDS = {"cell": 3, "rod": 70, "tube": 12}
FAMILIES = {"model_final.pth": "mask2former", "last.ckpt": "detr", "best_model.pth": "rgbx_rcnn"}
# How the commands of scripts/ write a checkpoint as one file, by its name.
WRITERS = {
    "model_final.pth": files.write,
    "last.ckpt": train.write_ckpt,
    "best_model.pth": lambda folder, path: single_file.write(path, *checkpoint.read(folder)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_predictions_of_a_file_have_the_ids_of_its_training_data(tmp_path, name):
    chain = build(FAMILIES[name], masks=FAMILIES[name] == "mask2former")
    folder, path = tmp_path / "selected", tmp_path / name
    checkpoint.write(
        folder, chain.state_dict(), Card(spec=chain.spec, complete=True, data={"classes": IDS})
    )
    WRITERS[name](folder, path)
    assert load(path, "cpu").card.data["classes"] == IDS
    Image.new("RGB", (40, 30), (90, 120, 40)).save(tmp_path / "image.png")
    written = predict_to_folder(path, tmp_path / "image.png", tmp_path / "out", 0.0, "cpu")
    coco_file = json.loads(written.read_text())
    assert {entry["name"]: entry["id"] for entry in coco_file["categories"]} == IDS
    assert {entry["category_id"] for entry in coco_file["annotations"]} <= set(IDS.values())
    assert coco_file["annotations"] or name == "best_model.pth"


@pytest.mark.parametrize("ids", [None, "cell", {"cell": "3"}, {3: 3}, {"cell": -1}])
def test_older_files_and_odd_ids_give_label_numbers(tmp_path, ids):
    chain = build("mask2former")
    checkpoint.write(
        tmp_path / "selected", chain.state_dict(), Card(spec=chain.spec, complete=True)
    )
    WRITERS["model_final.pth"](tmp_path / "selected", tmp_path / "model_final.pth")
    content = torch.load(tmp_path / "model_final.pth")
    assert content.pop("category_ids") == {}
    torch.save(
        content if ids is None else {**content, "category_ids": ids}, tmp_path / "model_final.pth"
    )
    predictor = load(tmp_path / "model_final.pth", "cpu")
    assert predictor.class_names == ("cell", "rod", "tube") and not predictor.card.data
