"""Which files of a folder are COCO's, and what is said of those that cannot be read."""

from __future__ import annotations

import json

import pytest

from segue.data import formats
from segue.data.formats import coco
from segue.errors import DataError
from tests.data.formats.test_coco import (
    HEIGHT,
    WIDTH,
    annotation,
    content,
    read,
    two_sources,
    write,
)


def test_images_may_lie_beside_the_file_below_it_or_where_the_name_says(tmp_path):
    for number, (image, name) in enumerate(
        {"a.png": "a.png", "images/a.png": "a.png", "x/a.png": "x/a.png"}.items()
    ):
        folder = tmp_path / str(number)
        images = [{"id": 1, "file_name": name, "height": HEIGHT, "width": WIDTH}]
        split = read(folder, content(annotation(), images=images), image)
        assert split.records[0].image == folder / image


def test_cocos_own_folder_is_read_by_its_instances(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in (
        "captions_train2017",
        "instances_train2017",
        "person_keypoints_train2017",
        "latest",
    ):
        (tmp_path / "annotations" / f"{name}.json").write_text("{}")
    found = coco.splits(tmp_path)
    assert {name: source.annotations.stem for name, source in found.items()} == {
        "train": "instances_train2017"
    }


def test_an_image_that_two_folders_have_is_not_guessed(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.png").write_bytes(b"x")
    (tmp_path / "a" / "one.png").write_bytes(b"x")
    finder = coco.ImageFinder((tmp_path,))
    assert (
        finder.find("same.png") is None and finder.find("a/same.png") == tmp_path / "a" / "same.png"
    )
    assert finder.find("one.png") == tmp_path / "a" / "one.png"


def test_both_layouts_are_found(tmp_path):
    for part in ("train", "valid", "test"):
        write(tmp_path / "roboflow" / part, content(annotation()))
    assert list(coco.splits(tmp_path / "roboflow")) == ["train", "valid", "test"]
    (tmp_path / "plain" / "images").mkdir(parents=True)
    (tmp_path / "plain" / "annotations").mkdir()
    for name in ("instances_train2017.json", "instances_val2017.json"):
        (tmp_path / "plain" / "annotations" / name).write_text(json.dumps(content()))
    found = coco.splits(tmp_path / "plain")
    assert (
        list(found) == ["train", "valid"]
        and found["valid"].annotations.name == "instances_val2017.json"
    )
    assert not coco.detect(tmp_path)


def test_real_data_sets_are_read_without_errors(sample_data):
    for name in (
        "nuts-18",
        "nuclei-28",
        "bottles-39",
        "bccd-44",
        "coco-permissive-24",
        "pothole-20",
    ):
        root = sample_data(name)
        parts = {part: coco.read(source, part) for part, source in coco.splits(root).items()}
        assert set(parts) == {"train", "valid", "test"}
        assert not [p for split in parts.values() for p in split.problems if p.severity == "error"]
        assert all(
            record.annotations is not None for split in parts.values() for record in split.records
        )


def test_invalid_files_of_others_are_refused(sample_data):
    for path in sorted((sample_data("dirty") / "invalid-coco").glob("coco_false_*.json")):
        split = coco.read(formats.SplitSource(path, (path.parent,)), "train")
        assert any(p.severity == "error" for p in split.problems), path.name


def test_two_files_for_one_part_are_refused_by_name_with_what_to_write(tmp_path):
    words = (
        "several files for train: algorithmic_train_annotations.json, "
        "manual_train_annotations.json.*data: {train: "
    )
    assert coco.detect(two_sources(tmp_path))
    with pytest.raises(DataError, match=words):
        coco.splits(tmp_path)
    assert list(coco.files(tmp_path)) == ["algorithmic_train", "manual_test", "manual_train"]


def test_cocos_own_folder_is_its_instances(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in (
        "captions_train2017",
        "instances_train2017",
        "person_keypoints_train2017",
        "instances_val2017",
    ):
        (tmp_path / "annotations" / f"{name}.json").write_text("{}")
    found = {name: source.annotations.stem for name, source in coco.splits(tmp_path).items()}
    assert found == {"train": "instances_train2017", "valid": "instances_val2017"}


@pytest.mark.parametrize(
    "where", ["labels.json", "annotations/instances_default.json", "annotations.json"]
)
def test_one_file_without_a_part_in_its_name_is_the_whole(tmp_path, where):
    write(tmp_path, content(annotation()))
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / "_annotations.coco.json").rename(tmp_path / where)
    for root in (tmp_path, tmp_path / where):
        ((name, source),) = coco.splits(root).items()
        assert name == "all" and coco.read(source, name).class_counts() == {"cell": 1}, root
