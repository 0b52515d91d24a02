"""Which classes data have, in which order, and what a stage may not be trained on."""

from __future__ import annotations

from pathlib import Path

import pytest

from segue.data.dataset import Data, class_ids, decide_classes, manifest, require_masks
from segue.data.records import Annotation, Record, Split
from segue.errors import DataError
from segue.structures.channels import RGB


def split(*names: str, ids: dict[str, int] | None = None, image: Path = Path("a.png")) -> Split:
    objects = tuple(Annotation((0, 0, 4, 4), name, id=n) for n, name in enumerate(names, 1))
    known = ids or {name: n for n, name in enumerate(dict.fromkeys(names), 1)}
    return Split("train", Path("a.json"), [Record(image, 8, 8, 1, objects)], known)


def test_ids_stay_where_splits_agree_and_are_new_where_they_do_not():
    assert class_ids([split("rod", ids={"rod": 7, "cell": 2}), split("cell", ids={"cell": 2})]) == {
        "rod": 7,
        "cell": 2,
    }
    assert class_ids([split("rod", ids={"rod": 1}), split("cell", ids={"cell": 1})]) == {
        "cell": 1,
        "rod": 2,
    }
    assert class_ids([split("rod", ids={"rod": 1}), split("rod", ids={"rod": 2})]) == {"rod": 1}


def test_classes_are_those_with_objects_in_order_of_id():
    train = split("rod", "cell", ids={"cell": 9, "rod": 4, "objects": 0})
    classes, notes = decide_classes({"train": train}, Data(root="x"))
    assert classes == ("rod", "cell") and notes == [
        "categories without objects are no classes: objects"
    ]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"classes": ("cell",)}, r"1 classes listed, but also annotated: 'rod' \(2 objects\)"),
        ({"classes": ("cell", "rod", "tube")}, "no category called tube"),
    ],
)
def test_classes_that_do_not_cover_the_objects_are_refused(settings, words):
    with pytest.raises(DataError, match=words):
        decide_classes({"train": split("rod", "rod", "cell")}, Data(root="x", **settings))


def test_classes_that_are_ignored_are_not_missed():
    settings = Data(root="x", classes=("cell",), ignore_classes=("rod",))
    assert decide_classes({"train": split("rod", "cell")}, settings) == (("cell",), [])


def test_no_object_at_all_and_no_mask_at_all_are_refused():
    with pytest.raises(DataError, match="not a single annotated object"):
        decide_classes({"train": split()}, Data(root="x"))
    with pytest.raises(DataError, match="none of 1 objects has a mask"):
        require_masks({"train": split("rod")}, ["train"])
    require_masks({"train": split()}, ["train"])


def test_the_manifest_is_of_bytes_and_classes_whatever_files_are_called(tmp_path):
    digests = []
    for name, content in (("a", b"x"), ("b", b"x"), ("c", b"y")):
        (tmp_path / name).write_bytes(content)
        data = {"train": split("rod", image=tmp_path / name)}
        digests.append(manifest(data, ("rod",), RGB))
    assert digests[0] == digests[1] != digests[2]
    assert manifest(data, ("rod", "cell"), RGB) != digests[2]
