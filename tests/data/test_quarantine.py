"""Quarantine lists: problems are named by kind and ids, and lists of version 1 still count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segue.cli.commands.data.change import convert_data
from segue.data import quarantine
from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.records import Split
from segue.data.synthetic import render_dataset
from segue.data.writing.folders import copy
from segue.errors import DataError


def spoil_coco(folder: Path) -> None:
    path = folder / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][3]["bbox"] = [1, 2, float("nan"), 4]
    content["annotations"][5]["segmentation"] = [[1, 2, 3]]
    content["annotations"].append(dict(content["annotations"][6]))
    content["images"][1]["file_name"] = "gone.png"
    path.write_text(json.dumps(content))
    image = folder / "train" / "train_0003.png"
    image.write_bytes(image.read_bytes()[:400])


def spoil_yolo(folder: Path) -> None:
    path = folder / "train" / "labels" / "train_0001.txt"
    path.write_text(path.read_text() + "\n99 0.5 0.5 0.1 0.1\n0 0.5 0.1\n")
    (folder / "train" / "images" / "train_0002.png").unlink()


def spoil_labelme(folder: Path) -> None:
    path = folder / "train" / "train_0001.json"
    content = json.loads(path.read_text())
    content["shapes"][0]["shape_type"] = "star"
    path.write_text(json.dumps(content))
    (folder / "train" / "train_0002.png").unlink()


SPOILED: dict[str, Callable[[Path], None]] = {
    "coco": spoil_coco,
    "yolo": spoil_yolo,
    "labelme": spoil_labelme,
}


def spoiled(kind: Any) -> Path:
    """A data set with problems below the working directory, named by its relative path."""
    folder = render_dataset(Path("coco"), {"train": 5, "valid": 3, "test": 2}, side=96, seed=5)
    if kind != "coco":
        folder = Path(kind)
        convert_data(Path("coco"), folder, kind, copy)
    SPOILED[kind](folder)
    return folder


@pytest.fixture(params=SPOILED)
def data(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return spoiled(request.param)


def refused(splits: dict[str, Split]) -> list[str]:
    return [
        str(problem)
        for split in splits.values()
        for problem in split.problems
        if problem.severity == "error"
    ]


def written(path: Path, data: Path) -> Path:
    path.write_text(json.dumps(quarantine.listed(audit(read_splits(Data(root=data))))))
    return path


def test_a_list_of_version_2_counts_whatever_the_words_are(data: Path) -> None:
    path = written(Path("list.json"), data)
    content = json.loads(path.read_text())
    assert content["version"] == 2
    for entry in (*content["images"], *content["objects"]):
        entry["found"] = entry["where"] = "in other words"
    path.write_text(json.dumps(content))
    assert refused(quarantine.applied(read_splits(Data(root=data)), path)) == []


def test_another_problem_of_the_same_image_is_still_refused(data: Path) -> None:
    path = written(Path("list.json"), data)
    content = json.loads(path.read_text())
    problems = len(refused(read_splits(Data(root=data))))
    dropped = content["objects"].pop(0)
    path.write_text(json.dumps(content))
    left = refused(quarantine.applied(read_splits(Data(root=data)), path))
    assert problems > len(left) == 1 and dropped["found"] in left[0]


def test_objects_without_an_id_are_named_one_by_one(tmp_path: Path) -> None:
    folder = render_dataset(tmp_path / "coco", {"train": 4, "valid": 2}, side=96, seed=5)
    path = folder / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    for number in (3, 4):
        del content["annotations"][number]["id"]
        content["annotations"][number]["bbox"] = [1, 2, float("nan"), 4]
        content["annotations"][number]["image_id"] = content["annotations"][3]["image_id"]
    path.write_text(json.dumps(content))
    listed = written(tmp_path / "list.json", folder)
    content = json.loads(listed.read_text())
    assert len(content["objects"]) == 2
    del content["objects"][0]
    listed.write_text(json.dumps(content))
    assert len(refused(quarantine.applied(read_splits(Data(root=folder)), listed))) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"version": 3, "images": [], "objects": []},
        {"version": "2", "images": [], "objects": []},
        {"version": 2, "images": [], "objects": [{"kind": "other", "path": "", "annotation": 1}]},
        {"version": 2, "images": {}, "objects": []},
        [],
    ],
)
def test_a_list_of_another_form_is_refused(
    content: dict[str, Any] | list[Any], tmp_path: Path
) -> None:
    path = tmp_path / "list.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"quarantine\.json that segue data audit wrote"):
        quarantine.applied({}, path)
