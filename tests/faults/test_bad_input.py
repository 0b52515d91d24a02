"""Bad input is one line that names it, exit code 2, and nothing trained; what was finished before
stays.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from segue.cli.app import main
from tests.conftest import Promise, toy_plan


@pytest.fixture
def data(rendered: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(rendered, tmp_path / "data"))


def change(data: Path, edit: Callable[[dict[str, Any]], None], part: str = "train") -> None:
    path = data / part / "_annotations.coco.json"
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


def no_masks(content: dict[str, Any]) -> None:
    for entry in content["annotations"]:
        entry["segmentation"] = []


def one_class_less(content: dict[str, Any]) -> None:
    content["categories"] = content["categories"][:-1]


def box_of_nan(content: dict[str, Any]) -> None:
    content["annotations"][3]["bbox"][2] = float("nan")


def unknown_image(content: dict[str, Any]) -> None:
    content["annotations"][3]["image_id"] = 999


def attempt(
    plan: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[str]]:
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    code = main(["run", str(tmp_path / "plan.yaml"), "--quiet"])
    return code, capsys.readouterr().err.strip().splitlines()


CASES = {
    "no masks for a mask stage": (
        no_masks,
        "objects has a mask (first: annotation 1 of train_0000.png)",
    ),
    "fewer classes than ids": (one_class_less, "expected one of [1, 2]"),
    "a NaN box": (box_of_nan, "annotation 4"),
    "an unknown image": (unknown_image, "annotation 4"),
}


def test_all_defects_are_covered() -> None:
    assert len(CASES) + len(FILES) + len(PLANS) == 12


@pytest.mark.parametrize("name", CASES)
def test_defects_of_annotations(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], promise: Promise
) -> None:
    edit, words = CASES[name]
    change(data, edit)
    code, lines = attempt(toy_plan(data, tmp_path / "runs"), tmp_path, capsys)
    assert code == 2 and len(lines) == 1 and words in lines[0], lines
    assert not (tmp_path / "runs").exists()
    promise("P10", 1, "runs with a defect in the data")


def remove(image: Path) -> None:
    image.unlink()


def cut(image: Path) -> None:
    image.write_bytes(image.read_bytes()[:200])


def no_image(image: Path) -> None:
    image.write_text("<html>not found</html>")


FILES = {"missing": remove, "cut short": cut, "another file": no_image}


@pytest.mark.parametrize("name", FILES)
def test_defects_of_images(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], promise: Promise
) -> None:
    FILES[name](data / "train" / "train_0002.png")
    code, lines = attempt(toy_plan(data, tmp_path / "runs"), tmp_path, capsys)
    assert code == 2 and len(lines) == 1 and "train_0002.png" in lines[0], lines
    assert not (tmp_path / "runs").exists()
    promise("P10", 1, "runs with a defect in the data")


PLANS = {
    "unknown key": (
        ("stages", 0),
        {"epoch": 3},
        "plan.yaml:20:3: stages.0.epoch: unknown key 'epoch'; did you mean",
    ),
    "unknown size": (("model",), {"size": "smal"}, "small?"),
    "unknown part": (("stages", 1), {"freeze": "decodr"}, "did you mean 'decoder'?"),
    "nothing to learn": (("stages", 1), {"freeze": "mask_head"}, "trains the mask head alone"),
    "too few queries": (
        ("model",),
        {"queries": 2},
        "2 for an image with 10 objects; expected at least 10",
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_defects_of_plans(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], promise: Promise
) -> None:
    place, changes, words = PLANS[name]
    plan = toy_plan(data, tmp_path / "runs")
    here: Any = plan
    for step in place:
        here = here[step]
    here.update(changes)
    code, lines = attempt(plan, tmp_path, capsys)
    assert code == 2 and any(words in line for line in lines) and len(lines) == 1, lines
    assert not list(tmp_path.glob("runs/*/*/steps.csv"))
    promise("P10", 1, "runs with a defect in the plan")


def test_a_checkpoint_of_another_size_is_refused_and_the_finished_stage_stays(
    rendered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = toy_plan(rendered, tmp_path / "runs", detector={"epochs": 1})
    plan["stages"] = plan["stages"][:1]
    assert attempt(plan, tmp_path, capsys) == (0, [])
    selected = tmp_path / "runs" / "toy-1" / "1-detector" / "selected"
    before = (selected / "card.json").read_bytes()
    second = toy_plan(rendered, tmp_path / "other")
    second["model"] = {"size": "nano", "weights": str(selected)}
    code, lines = attempt(second, tmp_path, capsys)
    assert (
        code == 2 and len(lines) == 1 and "a rfdetr pico model; expected rfdetr nano" in lines[0]
    ), lines
    assert not list((tmp_path / "other").glob("*/*/steps.csv"))
    assert (selected / "card.json").read_bytes() == before


def test_files_of_the_users_are_never_changed(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], promise: Promise
) -> None:
    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(data.rglob("*")) if path.is_file()}

    change(data, box_of_nan)
    before = contents()
    assert attempt(toy_plan(data, tmp_path / "runs"), tmp_path, capsys)[0] == 2
    assert main(["check", str(data)]) == 2
    capsys.readouterr()
    assert contents() == before
    promise("P10", 2, "commands on bad data whose files were hashed")
