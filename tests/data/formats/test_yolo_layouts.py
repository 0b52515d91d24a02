"""Where a YOLO data set keeps its splits, and the commands that read and write them."""

from __future__ import annotations

import json

import pytest

from segue.cli.app import main
from segue.data import formats
from segue.data.dataset import Data, read_dataset, read_splits
from segue.errors import DataError
from tests.data.formats.test_yolo import BOX, LAYOUTS, write


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_divided_layout_is_read(tmp_path, layout):
    images, labels, words, said = LAYOUTS[layout]
    for number, word in enumerate(words, 1):
        names = {f"{word}{n}.png": BOX for n in range(number)}
        write(tmp_path, names, images.format(word), labels.format(word))
    if said is not None:
        more = (
            ""
            if "val:" in said
            else "".join(
                f"\n{key}: {said.splitlines()[-1].removeprefix('train: ').replace('one', word)}"
                for key, word in (("val", "two"), ("test", "three"))
            )
        )
        (tmp_path / "data.yaml").write_text(f"{said}{more}\nnames: [cat, dog]\n")
    assert formats.detect(tmp_path).__name__.endswith(".yolo")
    data = read_dataset(Data(root=tmp_path))
    assert {name: len(split.records) for name, split in data.splits.items()} == {
        "train": 1,
        "valid": 2,
        "test": 3,
    }
    assert data.classes == (("class 1",) if said is None else ("dog",)) and data.ids == (1,)


def test_a_part_that_data_yaml_names_but_that_is_not_there_is_refused(tmp_path):
    write(tmp_path, {"a.png": BOX}, "images/train", "labels/train")
    for said in ("/elsewhere/val", "../../val", "lists/val.txt"):
        (tmp_path / "data.yaml").write_text(f"train: images/train\nval: {said}\nnames: [cat, dog]")
        with pytest.raises(
            DataError, match=f"valid is {said} in its data.yaml; expected a folder of images inside"
        ):
            read_splits(Data(root=tmp_path))


def test_one_folder_for_two_parts_is_one_part_and_both_ways_to_divide_it_are_told(tmp_path):
    write(tmp_path, {"a.png": BOX})
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat, dog]")
    with pytest.raises(
        DataError, match=r"no valid part .*segue data split .*, or split: {valid: 0.15} under data:"
    ):
        read_dataset(Data(root=tmp_path))


def test_pictures_in_folders_without_labels_are_something_else(tmp_path):
    write(tmp_path, {"a.png": BOX})
    write(tmp_path / "images", {"a.png": None}, "thermal", "nowhere")
    (split,) = read_splits(Data(root=tmp_path)).values()
    assert [r.image for r in split.records] == [
        tmp_path / "images" / "a.png"
    ] and split.problems == []


def test_segue_data_reads_converts_splits_and_merges_it(tmp_path, capsys):
    write(tmp_path / "in", {f"field{n}.npy": BOX if n % 3 else None for n in range(9)})
    assert main(["data", "info", str(tmp_path / "in"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["parts"]["all"]
    assert (figures["images"], figures["objects"], figures["empty_images"]) == (9, 6, 3)
    assert (
        main(
            [
                "data",
                "convert",
                str(tmp_path / "in"),
                "--to",
                "coco",
                "--out",
                str(tmp_path / "coco"),
            ]
        )
        == 0
    )
    assert main(["data", "split", str(tmp_path / "in"), "--out", str(tmp_path / "parts")]) == 0
    assert (
        main(
            [
                "data",
                "merge",
                str(tmp_path / "in"),
                str(tmp_path / "coco"),
                "--out",
                str(tmp_path / "two"),
            ]
        )
        == 0
    )
    merged = read_splits(Data(root=tmp_path / "two"))["all"]
    assert len(merged.records) == 9 and merged.class_counts() == {"class 1": 6}
    parts = read_splits(Data(root=tmp_path / "parts"))
    assert sum(len(part.records) for part in parts.values()) == 9 and set(parts) == {
        "train",
        "valid",
        "test",
    }


def test_the_real_five_channel_sample_is_read_whole(sample_data):
    (split,) = read_splits(Data(root=sample_data("npy5-synth-24"))).values()
    assert (
        split.problems == []
        and len(split.records) == 24
        and split.categories == {"person": 0, "vehicle": 1, "animal": 2}
    )
    assert sum(split.class_counts().values()) > 24
