"""`segue inspect FILE`: segue's own files by their cards, others by their tensors, and nothing in
them is executed.
"""

from __future__ import annotations

import json
import os

import pytest
import timm
import torch

from segue.cli.app import main
from segue.models.weights import mask2former as mask2former_files
from segue.models.weights.card import Card
from segue.training import single_file
from tests.models.pico import build


def inspected(path, capsys, *more: str) -> str:
    assert main(["inspect", str(path), *more]) == 0
    return capsys.readouterr().out


def test_a_file_with_a_card_is_shown_as_a_folder_is(tmp_path, capsys):
    chain = build("rfdetr", masks=False)
    single_file.write(
        tmp_path / "all.pth",
        Card(spec=chain.spec, stage="detector", task="boxes"),
        chain.state_dict(),
    )
    text = inspected(tmp_path / "all.pth", capsys)
    assert (
        "model      rfdetr pico" in text
        and "classes    cell, rod, tube" in text
        and "stage      detector" in text
    )
    assert json.loads(inspected(tmp_path / "all.pth", capsys, "--json"))["spec"]["size"] == "pico"


def test_files_of_other_programs_are_told_by_the_model_they_fit(tmp_path, capsys):
    masks = build("mask2former")
    torch.save(
        mask2former_files.file_of(masks.state_dict(), masks.spec, 5, {}),
        tmp_path / "model_final.pth",
    )
    text = inspected(tmp_path / "model_final.pth", capsys)
    assert "fits       mask2former pico: " in text and "classes    cell, rod, tube" in text
    assert "keys       model, iteration, segue, category_ids" in text
    torch.save(timm.create_model("resnet50").state_dict(), tmp_path / "backbone.pth")
    text = inspected(tmp_path / "backbone.pth", capsys)
    assert "fits       detr resnet50: " in text and "weights: " in text and "layer4" in text


def test_a_file_of_no_known_model_is_still_listed(tmp_path, capsys):
    torch.save(
        {"state_dict": {"module.a.weight": torch.zeros(3, 4), "module.b": torch.zeros(5)}},
        tmp_path / "x.pt",
    )
    text = inspected(tmp_path / "x.pt", capsys)
    assert (
        "2 tensors, 17 parameters of float32" in text and "fits       no model of segue's" in text
    )
    assert json.loads(inspected(tmp_path / "x.pt", capsys, "--json")) == {
        "tensors": {"a.weight": [3, 4], "b": [5]},
        "fits": None,
    }


def test_tensors_of_segue_without_their_card_are_told(tmp_path, capsys):
    torch.save(
        {"model": {"backbone.a": torch.zeros(3), "decoder.b": torch.zeros(5)}}, tmp_path / "x.pth"
    )
    assert "as a file; named like the parts of detr: use its checkpoint's folder" in inspected(
        tmp_path / "x.pth", capsys
    )


class Code:
    def __reduce__(self):
        return os.mkdir, ("marker",)


@pytest.mark.parametrize("name", ["x.pth", "x.pt", "x.ckpt", "x.pkl"])
def test_code_in_a_file_is_refused_and_never_run(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"a": torch.zeros(2), "b": Code()}}, name)
    assert main(["inspect", name]) == 2
    inspected = capsys.readouterr().err
    assert inspected.count("\n") == 1 and "Weights only" not in inspected
    assert (
        name == "x.pkl"
        or "holds code or unknown objects (posix.mkdir); expected tensors and plain values"
        in inspected
    )
    assert not (tmp_path / "marker").exists()
