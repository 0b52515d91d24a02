"""The original commands on grey images with 12 bits, and the file of weights that they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch

import segue
from benchmarks.rendered_fields import render_field
from segue.cli.app import main
from tests.compat.noisy_then_manual.commands import OUT, stage, typed, write_configs
from tests.labelling.scoring import levels

LINE = "train_two_stage.py --stage 1 --dataset labels --opts SOLVER.MAX_ITER 2"
KEYS = "SEGUE.CHANNEL.SCALE 4095 SEGUE.NOISE.MISSED 0.5 SEGUE.NOISE.BOUNDARY 1"
FILE = f"{OUT[1]}/model_final.pth"


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three grey fields with 12 of 16 bits, labelled by `segue label auto`, next to the
    configurations.
    """
    folder = tmp_path_factory.mktemp("grey")
    (folder / "images").mkdir()
    for number in range(3):
        field, _ = render_field(np.random.default_rng(number), 128, "blobs", 8)
        tifffile.imwrite(
            folder / "images" / f"field{number}.tif", levels((field / field.max()).clip(0))[..., 0]
        )
    out = ("--out", str(folder / "labels"), "--keep-doubtful")
    assert (
        main(["label", "auto", str(folder / "images"), "--kind", "blobs", "--class", "cell", *out])
        == 0
    )
    write_configs(folder)
    return folder


@pytest.fixture
def here(grey: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Types a line there; gives its exit code and what it said."""
    return lambda line: typed(line, grey, monkeypatch, capsys)


@pytest.fixture
def trained(grey: Path, here: Any) -> Path:
    """The selected checkpoint of a stage whose plan names its scale."""
    selected = stage(grey, 1) / "selected"
    if not selected.exists():
        code, said = here(f"{LINE} {KEYS}")
        assert code == 0 and "SEGUE" not in said
    return selected


def test_labels_of_label_auto_train_as_they_are_and_the_scale_goes_with_the_file(
    grey: Path, trained: Path, here: Any
) -> None:
    models = [segue.load(path, device="cpu") for path in (trained, grey / FILE)]
    assert [[c.scale for c in model.chain.spec.channels] for model in models] == [[4095.0] * 3] * 2
    pixels = [model.pixels(grey / "images" / "field0.tif") for model in models]
    assert torch.equal(*pixels) and 0.9 < pixels[0].max() <= 1
    evaluation = (
        "train_net.py --config-file stage1_config.yaml --eval-only DATASETS.ROOT labels "
        "MODEL.WEIGHTS"
    )
    code, said = here(f"{evaluation} {FILE}")
    figures = json.loads((trained.parent / "metrics.json").read_text())["valid"]
    assert code == 0 and f"segm: AP {100 * figures['mask_ap']:.2f}, " in said


def test_12_bits_without_a_scale_train_with_a_word(trained: Path, here: Any) -> None:
    code, said = here(LINE)
    assert code == 0
    (word,) = [line for line in said.splitlines() if "SEGUE" in line]
    assert (
        "note: wide values without a scale, 2 times" in word and "set SEGUE.CHANNEL.SCALE" in word
    )
    assert word.endswith("values up to 4095 (12 bits) in 16 bits; scale: 4095)")


def test_predict_takes_the_file_a_stage_leaves_as_it_takes_its_folder(
    grey: Path, trained: Path, tmp_path: Path
) -> None:
    written = []
    for source in (trained, grey / "file" / "of_my_own.pth"):
        if not source.exists():
            source.parent.mkdir()
            source.hardlink_to(grey / FILE)
        out = tmp_path / source.name
        more = ("--out", str(out), "--threshold", "0", "--write", "coco", "--device", "cpu")
        assert main(["predict", str(source), str(grey / "images"), *more]) == 0
        written.append(json.loads((out / "predictions.coco.json").read_text()))
    assert written[0] == written[1] and written[0]["annotations"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            None,
            "a file of weights alone, without the model they are of; expected a folder with "
            "card.json",
        ),
        ({"family": "os.path"}, "a file of weights alone, without the model they are of"),
        (
            {"size": "swin"},
            "describes no model that can be built (size swin: unknown; expected swin-",
        ),
        ({"options": {"queries": "many"}}, "describes no model that can be built"),
        ({"size": "swin-tiny"}, "values for a model of 47,357,820"),
    ],
)
def test_a_file_that_predict_cannot_use_is_told_in_words(
    grey: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any] | None,
    words: str,
) -> None:
    content = torch.load(grey / FILE)
    content["segue"] = changes and content["segue"] | changes
    torch.save(content, tmp_path / "weights.pth")
    assert (
        main(["predict", str(tmp_path / "weights.pth"), str(grey / "images"), "--device", "cpu"])
        == 2
    )
    said = capsys.readouterr().err
    assert f"{tmp_path}/weights.pth: " in said.splitlines()[0] and words in said


def test_a_file_without_a_model_beside_a_checkpoint_names_its_folder(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": {"a": torch.zeros(1)}}, trained.parent / "weights.pt")
    assert main(["predict", str(trained.parent / "weights.pt"), str(trained.parent)]) == 2
    assert capsys.readouterr().err.endswith(
        f"without the model they are of; expected the folder {trained}\n"
    )
