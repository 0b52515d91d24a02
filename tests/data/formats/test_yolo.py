"""YOLO folders: every layout people have is read, and whatever is wrong is said with its file and
line.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.data.dataset import Data, manifest, read_splits
from segue.errors import DataError
from segue.structures.channels import RGB
from segue.structures.masks import Polygon

WIDTH, HEIGHT = 80, 40
BOX = "1 0.5 0.5 0.25 0.5"

NAMED = "names: [a, b]\nchannels: [r, g, b, thermal]\n"


def test_channels_that_the_data_call_otherwise_are_refused_or_noted(tmp_path):
    root = write(tmp_path, {"x.npy": BOX})
    (root / "data.yaml").write_text(NAMED)

    def read(*channels: object) -> list[str]:
        splits = read_splits(Data.model_validate({"root": root, "channels": channels}))
        return [problem.found for problem in splits["all"].problems]

    assert read(*"rgb", "thermal") == []
    assert read({"name": "thermal", "at": 3}, {"name": "r", "at": 0}) == []
    said = "its description calls the channels r, g, b, thermal; the plan has heat"
    assert read(*"rgb", "heat") == [said]
    with pytest.raises(
        DataError,
        match=r"thermal of .*: taken for number 0, from 0; .*; expected that order, or at: 3",
    ):
        read("thermal", *"rgb")
    (root / "data.yaml").write_text(NAMED.replace("[r, g, b, thermal]", "4"))
    assert read("thermal", *"rgb") == []


def write(
    root: Path, labels: dict[str, str | None], images: str = "images", label_folder: str = "labels"
) -> Path:
    """An image for each name, with the text of its label file where there is one."""
    for name, text in labels.items():
        path = root / images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".npy":
            np.save(path, np.full((HEIGHT, WIDTH, 5), 7, np.uint8))
        else:
            Image.new("RGB", (WIDTH, HEIGHT), (9, len(labels), 9)).save(path)
        label = (root / label_folder / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            label.write_text(text)
    return root


def problems(root: Path) -> list[str]:
    return [
        str(problem)
        for split in read_splits(Data(root=root)).values()
        for problem in split.problems
    ]


def test_boxes_and_outlines_are_read_in_pixels_and_images_without_objects_stay(tmp_path):
    text = f"{BOX}\n\n0 0.1 0.1 0.6 0.1 0.6 0.9\n"
    write(
        tmp_path,
        {
            "b.png": text,
            "a.npy": "0 0.5 0.5 1 1",
            "none.jpg": None,
            "empty.png": "",
            "s/c.png": BOX,
        },
    )
    (split,) = read_splits(Data(root=tmp_path)).values()
    assert (
        split.name == "all"
        and split.problems == []
        and split.categories == {"class 0": 0, "class 1": 1}
    )
    assert [r.image.name for r in split.records] == [
        "a.npy",
        "b.png",
        "empty.png",
        "none.jpg",
        "c.png",
    ]
    assert [len(r.annotations) for r in split.records] == [1, 2, 0, 0, 1]
    assert [(r.width, r.height, r.id) for r in split.records] == [
        (WIDTH, HEIGHT, n) for n in range(1, 6)
    ]
    box, outline = split.records[1].annotations
    assert (box.class_name, box.box_xyxy, box.mask) == ("class 1", (30, 10, 50, 30), None)
    assert isinstance(outline.mask, Polygon)
    assert np.allclose(outline.mask.rings[0], [[8, 4], [48, 4], [48, 36]])
    x0, y0, x1, y1 = outline.box_xyxy
    assert max(abs(x0 - 8), abs(y0 - 4), abs(x1 - 48), abs(y1 - 36)) <= 1


@pytest.mark.parametrize(
    ("name", "names", "called"),
    [
        ("data.yaml", "nc: 2\nnames: [cat, no]", {"cat": 0, "no": 1}),
        ("data.yaml", "names:\n  0: cat\n  1: dog\n  7: bird", {"cat": 0, "dog": 1, "bird": 7}),
        ("classes.txt", "cat\ndog\n", {"cat": 0, "dog": 1}),
        ("labels/classes.txt", "cat\ndog\n", {"cat": 0, "dog": 1}),
    ],
)
def test_classes_are_called_as_the_data_say(tmp_path, name, names, called):
    write(tmp_path, {"a.png": BOX})
    (tmp_path / name).write_text(names)
    (split,) = read_splits(Data(root=tmp_path)).values()
    assert (
        split.problems == []
        and split.categories == called
        and tmp_path / name in map(Path.absolute, split.files)
    )
    assert split.records[0].annotations[0].class_name == list(called)[1]


def test_a_description_of_other_data_further_up_says_nothing_about_these(tmp_path):
    root = write(tmp_path / "data", {"a.png": BOX})
    (tmp_path / "data.yaml").write_text("train: nowhere\nnames: [wrong, names]")
    (tmp_path / "classes.txt").write_text("wrong\nnames")
    (root / "data.yaml").write_text("nc: 2\ntrain: images")
    (split,) = read_splits(Data(root=root)).values()
    assert split.problems == [] and split.categories == {"class 0": 0, "class 1": 1}
    (root / "data.yaml").write_text("names: [cat, dog]")
    files = {"annotations": root / "labels", "images": root / "images"}
    (split,) = read_splits(Data.model_validate({"train": files, "format": "yolo"})).values()
    assert list(split.categories) == ["cat", "dog"] and len(split.records) == 1


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("2 0.5 0.5 0.1 0.1", "error: .*a.txt:1: class 2; expected one of the 2 classes, 0 to 1"),
        (
            f"{BOX}\n-1 0.5 0.5 0.1 0.1",
            "error: .*a.txt:2: class -1; expected a whole number from 0",
        ),
        ("0.5 0.5 0.5 0.1 0.1", "error: .*class 0.5; expected a whole number from 0"),
        ("cat 0.5 0.5 0.1 0.1", "error: .*'cat'; expected numbers"),
        ("nan 0.5 0.5 0.1 0.1", "error: .*class nan; expected a whole number"),
        (
            "0 40 20 20 20",
            "error: .*coordinates 40 20 20 20; expected shares of width and height, 0 to 1",
        ),
        ("0 0.5 0.5 -0.1 0.1", "error: .*coordinates 0.5 0.5 -0.1 0.1"),
        ("0 0.5 nan 0.1 0.1", "error: .*coordinates 0.5 nan 0.1 0.1"),
        (
            "0 0.5 0.5 0.1",
            "error: .*4 columns; expected class cx cy w h, or class and at least three points",
        ),
        ("0 0.5 0.5 0.1 0.1 0.9", "error: .*6 columns"),
        ("0 0.5 0.5 0 0.1", "dropped: .*a.txt:1: box .* has no area inside the image"),
        ("0 0.1 0.1 0.2 0.1 0.3 0.1", "error: .*a.txt:1: polygon of 3 points without area"),
        ("0 0.9 0.5 0.4 0.5", "fixed: .*a.txt:1: box .* reaches out of the image; clipped"),
        ("0 \u00e9 0.5 0.4 0.5", "error: .*expected numbers"),
    ],
)
def test_a_wrong_line_is_named_and_the_others_are_read(tmp_path, text, pattern):
    write(tmp_path, {"a.png": text, "b.png": BOX})
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    (problem,) = problems(tmp_path)
    assert re.match(pattern, problem), problem
    (split,) = read_splits(Data(root=tmp_path)).values()
    assert split.records[1].annotations[0].box_xyxy == (30, 10, 50, 30)


def test_files_that_do_not_fit_together_are_named(tmp_path):
    write(tmp_path, {"a.png": BOX, "b.png": BOX, "b.jpg": None})
    (tmp_path / "labels" / "gone.txt").write_text(BOX)
    (tmp_path / "images" / "broken.png").write_bytes(b"no picture")
    (tmp_path / "labels" / "a.txt").write_bytes(b"\xff\xfe")
    (tmp_path / "data.yaml").write_text("nc: 3\nnames: [a, b]")
    found = " | ".join(problems(tmp_path))
    for words in (
        "gone.txt: no image of this name; expected one in",
        "b.png: the same name as b.jpg; expected one image for a label",
        "broken.png: no readable image header",
        "a.txt: not readable",
        "data.yaml: nc: 3, but 2 names; expected as many",
    ):
        assert words in found
    for names in ("[a, a]", "{cat: 0}", "3", "[a, '']"):
        (tmp_path / "data.yaml").write_text(f"names: {names}")
        assert "a name for each class from 0, no two alike" in " ".join(problems(tmp_path))
    (tmp_path / "data.yaml").write_text("names: [")
    assert "data.yaml: not readable" in " ".join(problems(tmp_path))


def test_a_damaged_file_never_becomes_an_exception(tmp_path):
    write(tmp_path, {"a.png": BOX})
    (tmp_path / "data.yaml").write_text("names: [cat, dog]")
    random = np.random.default_rng(0)
    for _ in range(60):
        (tmp_path / "labels" / "a.txt").write_bytes(
            bytes(random.choice(list(b"0123456789.-e \n#naif\xff"), 40))
        )
        read_splits(Data(root=tmp_path))


LAYOUTS = {
    "images first": ("images/{}", "labels/{}", ("train", "val", "test"), None),
    "parts first": (
        "{}/images",
        "{}/labels",
        ("train", "valid", "test"),
        "train: ../train/images\nval: ../valid/images",
    ),
    "as data.yaml says": (
        "some/images/{}",
        "some/labels/{}",
        ("one", "two", "three"),
        "train: some/images/one",
    ),
    "with a path": ("images/{}", "labels/{}", ("one", "two", "three"), "path: images\ntrain: one"),
}


def test_which_image_a_label_belongs_to_is_part_of_what_the_data_are(tmp_path):
    write(tmp_path, {"a.png": BOX, "b.png": BOX, "c.png": None})

    def key() -> str:
        return manifest(read_splits(Data(root=tmp_path)), ("class 1",), RGB)

    before = key()
    assert key() == before
    os.rename(tmp_path / "labels" / "b.txt", tmp_path / "labels" / "c.txt")
    assert key() != before
