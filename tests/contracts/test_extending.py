"""The walks of docs/extending.md work as they stand: their code trains, and reads."""

from __future__ import annotations

import csv
import re
import sys
from pathlib import Path

import pytest

from segue import models
from segue.data import formats
from segue.data.dataset import Data, read_dataset
from segue.models.family import DEFAULTS
from segue.training.journal import read_rows
from tests.conftest import ROOT, segue, toy_plan, write_plan

WALK = re.compile(r"^## Add a (?:family|format) in (\d+) lines\n(.*?)(?=^## |\Z)", re.M | re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.M | re.S)


def walks() -> dict[str, tuple[int, str]]:
    """How many lines each walk promises, and its code, by the module's name."""
    modules = {}
    for lines, text in WALK.findall((ROOT / "docs" / "extending.md").read_text()):
        blocks = BLOCK.findall(text)
        name = re.match(r"# (\w+)\.py\n", blocks[0])
        assert name is not None
        modules[name[1]] = (int(lines), "\n\n".join(blocks))
    return modules


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose package `mine` holds what the walks write."""
    (tmp_path / "mine").mkdir()
    for name, (_, code) in walks().items():
        (tmp_path / "mine" / f"{name}.py").write_text(code)
        monkeypatch.delitem(sys.modules, f"mine.{name}", raising=False)
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_walks_are_as_short_as_they_say() -> None:
    lengths = {}
    for name, (promised, code) in walks().items():
        lengths[name] = len([line for line in code.splitlines() if line.strip()])
        assert lengths[name] <= promised, name
        assert all(len(line) <= 100 for line in code.splitlines())
    assert lengths.keys() == {"cells", "boxes_csv"}


def test_the_family_of_the_walk_trains_freezes_and_predicts(mine: Path, rendered: Path) -> None:
    epochs = {"epochs": 4, "optimizer": {"lr": 3e-3, "clip": 1.0}}
    plan = toy_plan(rendered, mine / "runs", detector=epochs)
    plan["model"] = {"family": "mine.cells", "size": "pico", "resolution": 64}
    second = {**plan["stages"][0], "name": "head", "freeze": "backbone", "epochs": 1}
    plan["stages"] = [plan["stages"][0], second]
    path = write_plan(mine / "plan.yaml", plan)
    for verb in ("check", "run"):
        done = segue(verb, path, cwd=mine)
        assert done.returncode == 0, done.stderr
    run = mine / "runs" / "toy-1"
    losses = [float(row["loss"]) for row in read_rows(run / "1-detector" / "steps.csv")]
    assert losses[-1] < 0.8 * losses[0]
    done = segue(
        "predict",
        run,
        rendered / "test",
        "--out",
        mine / "found",
        cwd=mine,
        SEGUE_MODULES="mine.cells",
    )
    assert done.returncode == 0, done.stderr


def test_the_family_of_the_walk_has_the_defaults_of_all_it_leaves_out(mine: Path) -> None:
    family = models.get("mine.cells")
    given = [name for name, default in DEFAULTS.items() if getattr(family, name) is default]
    assert len(given) == len(DEFAULTS) == 9


def test_the_format_of_the_walk_reads_the_same_objects_as_coco(mine: Path, rendered: Path) -> None:
    with (mine / "boxes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["split", "image", "class", "x0", "y0", "x1", "y1"])
        for name, split in read_dataset(Data(root=rendered)).splits.items():
            for record in split.records:
                for a in record.annotations:
                    table.writerow([name, f"{name}/{record.image.name}", a.class_name, *a.box_xyxy])
        table.writerow(["train", "nowhere.png", "cell", 1, 2, 3, 4])
        table.writerow(["train", "nowhere.png", "cell", 1, 2, "x", 4])
    (mine / "images").symlink_to(rendered)
    format = formats.get("mine.boxes_csv")
    assert format.detect(mine) and not format.detect(rendered)
    expected = read_dataset(Data(root=rendered)).splits
    sources = format.splits(mine)
    assert sources.keys() == expected.keys() and len(sources) == 3
    for name, source in sources.items():
        split = format.read(source, name)
        filled = [record for record in expected[name].records if record.annotations]
        assert [r.image.name for r in split.records] == [r.image.name for r in filled]
        assert split.class_counts() == expected[name].class_counts()
        assert len(split.problems) == (2 if name == "train" else 0)
