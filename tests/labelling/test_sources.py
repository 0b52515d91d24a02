"""Where labels come from: by hand or by an algorithm, in files of that name or by object."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from segue.data.synthetic import render_dataset
from segue.errors import DataError
from segue.labelling.sources import doubts, flat, image_name, read_sources


def content(*files: str, doubt: str = "") -> dict:
    images = [
        {"id": n, "file_name": name, "height": 32, "width": 32, "doubt": doubt}
        for n, name in enumerate(files, 1)
    ]
    return {"images": images, "annotations": [], "categories": [{"id": 1, "name": "cell"}]}


@pytest.fixture
def root(tmp_path) -> Path:
    """Two images labelled by an algorithm, one of them also by hand."""
    folder = render_dataset(tmp_path / "x", {"train": 2}, side=32) / "train"
    (tmp_path / "images").mkdir()
    (tmp_path / "annotations").mkdir()
    names = sorted(path.name for path in folder.glob("*.png"))
    for name in names:
        (folder / name).rename(tmp_path / "images" / name)
    for name, files in (("manual_train", names[:1]), ("algorithmic_train", names)):
        path = tmp_path / "annotations" / f"{name}_annotations.json"
        path.write_text(json.dumps(content(*files, doubt="few edges" if len(files) > 1 else "")))
    return tmp_path


def test_the_names_of_files_say_where_labels_come_from(root):
    sources = read_sources(root)
    assert sorted(sources.splits) == ["algorithmic_train", "manual_train"]
    assert list(sources.manual()) == ["train_0000.png"]
    assert sorted(sources.algorithmic()) == ["train_0000.png", "train_0001.png"]
    assert sources.ids == {"cell": 1}


def test_doubts_are_of_images_that_an_algorithm_labelled(root):
    assert doubts(root) == {"train_0000.png": "few edges", "train_0001.png": "few edges"}


def test_objects_say_it_where_files_do_not(tmp_path):
    folder = render_dataset(tmp_path, {"train": 3, "valid": 1}, side=48)
    path = folder / "train" / "_annotations.coco.json"
    entries = json.loads(path.read_text())
    for entry in entries["annotations"]:
        entry["source"] = "algorithm"
    path.write_text(json.dumps(entries))
    sources = read_sources(folder)
    assert {name.split("/")[-1][:5] for name in sources.manual()} == {"valid"}
    assert len(sources.algorithmic()) == 3


def test_a_folder_there_is_not_is_refused_with_how_to_make_one(tmp_path):
    with pytest.raises(DataError, match="no such folder.*segue label auto"):
        read_sources(tmp_path / "none")


def test_names_are_below_images_or_the_root():
    root = Path("/d")
    assert image_name(root / "images" / "a" / "b.png", root) == "a/b.png"
    assert image_name(root / "train" / "b.png", root) == "train/b.png"
    assert image_name(Path("/other/b.png"), root) == "b.png" and flat("a/b.png") == "a_b.png"
