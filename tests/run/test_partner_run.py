"""A camera pair from the folder to the figures: YOLO labels, thermal images with the photographs,
one plan.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from segue.cli.app import main
from segue.cli.commands import evaluate as command
from segue.errors import PlanError
from segue.inference.loading import load
from segue.models.parts.layers import Normalise
from segue.plan import recipes
from segue.plan.reading import from_values
from tests.conftest import toy_plan, write_plan
from tests.toy import run

FILE = "selected/weights.safetensors"
SIDE, IMAGES = 64, 12
CHANNELS = ["r", "g", "b", {"name": "thermal", "folder": "thermal"}]


def paint(root: Path) -> Path:
    """Squares that are dark in the photograph and warm in 16 bits of the thermal image; every
    fourth has none.
    """
    random = np.random.default_rng(0)
    for folder in ("images", "thermal", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(IMAGES):
        photo = random.integers(90, 110, (SIDE, SIDE, 3)).astype(np.uint8)
        thermal = random.integers(9000, 9200, (SIDE, SIDE)).astype(np.uint16)
        if number % 4:
            x, y = random.integers(0, SIDE - 24, 2)
            photo[y : y + 24, x : x + 24] -= 20
            thermal[y : y + 24, x : x + 24] += 5000
            shares = " ".join(f"{value / SIDE:.6f}" for value in (x + 12, y + 12, 24, 24))
            (root / "labels" / f"scene{number // 2}-{number}.txt").write_text(f"0 {shares}\n")
        Image.fromarray(photo).save(root / "images" / f"scene{number // 2}-{number}.png")
        Image.fromarray(thermal).save(root / "thermal" / f"scene{number // 2}-{number}.png")
    (root / "data.yaml").write_text("names: [square]\n")
    return root


def plan_of(data: Path, runs: Path, **augment) -> dict:
    plan = toy_plan(data, runs, detector={"epochs": 1, "augment": augment})
    del plan["stages"][1]
    split = {"valid": 0.25, "test": 0.25, "group": "(scene[0-9]+)"}
    return {**plan, "data": {"root": str(data), "channels": CHANNELS, "split": split}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of the data, the plan and its run."""
    folder = tmp_path_factory.mktemp("pairs")
    plan = plan_of(paint(folder / "data"), folder / "runs", drop={"thermal": 0.3, "r+g+b": 0.3})
    write_plan(folder / "plan.yaml", plan)
    run(plan)
    return folder


def test_the_recipe_trains_rgb_alone_and_adds_the_other_stream_to_it(finished, tmp_path):
    content = yaml.safe_load(recipes.text("rgbx-sweep"))
    own = plan_of(finished / "data", tmp_path)
    content |= {"runs": str(tmp_path), "device": "cpu", "data": own["data"]}
    del content["model"]["weights"]
    content["model"] |= {"size": "pico", "resolution": 64}
    content["stages"] = [{**stage, "epochs": 1, "workers": 0} for stage in content["stages"]]
    del content["stages"][0]["fresh"]  # of pretrained weights
    content["stages"][0]["data"] |= {"root": own["data"]["root"], "split": own["data"]["split"]}
    folder = run(content)
    parts = [
        {name.split(".")[0] for name in load_file(folder / stage / FILE)}
        for stage in ("1-rgb", "2-add-x")
    ]
    assert parts == [{"rgb", "neck", "head"}, {"rgb", "x", "fusion", "neck", "head"}]


def test_a_plan_trains_on_divided_pairs_and_measures_all_its_parts(finished):
    (folder,) = (finished / "runs").glob("toy-*/1-detector")
    card = json.loads((folder / "selected" / "card.json").read_text())
    assert [channel["folder"] for channel in card["spec"]["channels"]] == [
        None,
        None,
        None,
        "thermal",
    ]
    assert [card["data"][part]["images"] for part in ("train", "valid", "test")] == [6, 4, 2]
    assert {"valid", "test"} <= json.loads((folder / "metrics.json").read_text()).keys()
    before = (folder / "selected" / "card.json").stat().st_mtime_ns
    run(plan_of(finished / "data", finished / "runs", drop={"thermal": 0.3, "r+g+b": 0.3}))
    # the same data: nothing to do
    assert (folder / "selected" / "card.json").stat().st_mtime_ns == before


def test_evaluate_shows_the_network_what_it_says_and_compares(finished, monkeypatch, capsys):
    predictor, seen = load(next((finished / "runs").glob("toy-*")), "cpu"), []
    first = next(module for module in predictor.chain.modules() if isinstance(module, Normalise))
    first.register_forward_hook(lambda module, given, result: seen.append(result))
    monkeypatch.setattr(command, "load", lambda checkpoint: predictor)
    words = [
        "--without",
        "thermal",
        "r+g+b",
        "--shift",
        "thermal=0,0",
        "--shift",
        "thermal=5,-3",
        "--json",
    ]
    assert main(["evaluate", "run", str(finished / "plan.yaml"), *words]) == 0
    outcome = json.loads(capsys.readouterr().out)
    plain, without, alone, still, moved = seen
    assert (
        not without[:, 3].any() and torch.equal(without[:, :3], plain[:, :3]) and plain[:, 3].any()
    )
    assert not alone[:, :3].any() and torch.equal(alone[:, 3], plain[:, 3])
    assert torch.equal(still, plain) and torch.equal(moved[:, 3, :-3, 5:], plain[:, 3, 3:, :-5])
    assert torch.equal(moved[:, :3], plain[:, :3])
    names = ["without thermal", "without r+g+b", "shift thermal=0,0", "shift thermal=5,-3"]
    assert list(outcome["disturbed"]) == names and outcome["images"] == len(plain) == 4
    for name in names:
        (found,) = outcome["disturbed"][name]
        assert (
            found["first"] == outcome["box_ap"]
            and found["low"] <= found["high"]
            and found["kind"] == "box"
        )
    assert outcome["disturbed"]["shift thermal=0,0"][0]["verdict"] == "unchanged"
    assert (
        main(["evaluate", "run", str(finished / "plan.yaml"), *words[:-1], "--split", "test"]) == 0
    )
    assert "without thermal: box_ap 0." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--without", "termal"], "no channel 'termal'; expected some of r, g, b, thermal"),
        (["--without", "r+g+b+thermal"], "no channel is left"),
        (
            ["--shift", "thermal=3"],
            "--shift thermal=3: not understood; expected NAME=X,Y in whole pixels",
        ),
    ],
)
def test_evaluate_refuses_channels_it_does_not_know(finished, capsys, words, message):
    folder = next((finished / "runs").glob("toy-*"))
    assert main(["evaluate", str(folder), str(finished / "data"), *words]) == 2
    assert message in capsys.readouterr().err


def test_predict_finds_the_partner_as_training_did_or_says_what_is_missing(
    finished, tmp_path, capsys
):
    folder = next((finished / "runs").glob("toy-*"))
    arguments = ["--threshold", "0", "--write", "coco"]
    assert (
        main(
            [
                "predict",
                str(folder),
                str(finished / "data"),
                "--out",
                str(tmp_path / "all"),
                *arguments,
            ]
        )
        == 0
    )
    content = json.loads((tmp_path / "all" / "predictions.coco.json").read_text())
    assert [entry["file_name"] for entry in content["images"]] == sorted(
        f"images/{path.name}" for path in (finished / "data" / "images").iterdir()
    )
    image = finished / "data" / "images" / "scene0-1.png"
    assert main(["predict", str(folder), str(image), "--out", str(tmp_path / "one")]) == 0
    shown = np.asarray(Image.open(tmp_path / "one" / "scene0-1.png"))
    assert shown.shape == (SIDE, SIDE, 3)
    (tmp_path / "alone.png").write_bytes(image.read_bytes())
    assert (
        main(["predict", str(folder), str(tmp_path / "alone.png"), "--out", str(tmp_path / "none")])
        == 2
    )
    assert "no partner" in (said := capsys.readouterr().err) and "thermal/alone.*" in said


def test_dropping_what_is_not_there_or_everything_is_refused(tmp_path):
    for drop, said in (
        (
            {"termal": 0.2},
            "stage detector: augment.drop: no channel 'termal'; some of r, g, b, thermal, joined "
            "by +",
        ),
        (
            {"r+g+b+thermal": 0.2},
            "stage detector: augment.drop: r.g.b.thermal would leave no channel",
        ),
        (
            {"thermal": 1.2},
            "stages.0.augment.drop.thermal: Input should be less than or equal to 1",
        ),
    ):
        with pytest.raises(PlanError, match=said):
            from_values(plan_of(tmp_path, tmp_path, drop=drop), "plan.yaml")
