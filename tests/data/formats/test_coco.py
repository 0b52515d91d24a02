"""Reading COCO files: every way masks are written, both layouts, and every defect named."""

from __future__ import annotations

import json
from pathlib import Path

import hotcoco.mask as coco_mask
import numpy as np
import pytest
from PIL import Image

from segue.data import formats
from segue.data.formats import _coco_masks, coco
from segue.data.records import Split
from segue.structures.masks import Polygon, Rle, coco_rle

HEIGHT, WIDTH = 40, 60
SQUARE = [[5, 5, 25, 5, 25, 20, 5, 20]]


def annotation(**changes) -> dict:
    entry = {
        "id": 1,
        "image_id": 1,
        "category_id": 2,
        "bbox": [5, 5, 20, 15],
        "segmentation": SQUARE,
        "iscrowd": 0,
    }
    return {**entry, **changes}


def content(*annotations: dict, **changes) -> dict:
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "annotations": list(annotations),
        "categories": [{"id": 7, "name": "tube"}, {"id": 2, "name": "cell"}],
    }
    return {**whole, **changes}


def write(folder: Path, what: dict | str, image: str = "a.png") -> Path:
    (folder / image).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(folder / image)
    path = folder / "_annotations.coco.json"
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


def read(folder: Path, what: dict | str, image: str = "a.png") -> Split:
    path = write(folder, what, image)
    return coco.read(formats.SplitSource(path, (folder,)), "train")


def only_mask(split: Split):
    assert not [p for p in split.problems if p.severity == "error"], split.problems
    return split.records[0].annotations[0].mask


def runs(mask: np.ndarray) -> list[int]:
    """Uncompressed column-major run lengths, beginning with zeros."""
    flat = mask.ravel(order="F").astype(int)
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = [0, *changes.tolist(), len(flat)]
    lengths = np.diff(edges).tolist()
    return lengths if flat[0] == 0 else [0, *lengths]


RING = np.zeros((HEIGHT, WIDTH), bool)
RING[5:30, 10:50] = True
RING[12:20, 20:40] = False  # a hole


def test_a_polygon_keeps_its_points(tmp_path):
    mask = only_mask(read(tmp_path, content(annotation())))
    assert isinstance(mask, Polygon) and mask.rings[0].tolist() == [
        [5, 5],
        [25, 5],
        [25, 20],
        [5, 20],
    ]


def test_a_polygon_of_several_parts_is_one_object(tmp_path):
    mask = only_mask(
        read(tmp_path, content(annotation(segmentation=[*SQUARE, [30, 5, 40, 5, 40, 15]])))
    )
    assert isinstance(mask, Polygon) and len(mask.rings) == 2


@pytest.mark.parametrize("compressed", [True, False])
def test_run_lengths_keep_holes_compressed_or_not(tmp_path, compressed):
    counts = (
        coco_mask.encode(np.asfortranarray(RING.astype(np.uint8)))["counts"].decode()
        if compressed
        else runs(RING)
    )
    mask = only_mask(
        read(
            tmp_path, content(annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": counts}))
        )
    )
    assert isinstance(mask, Rle)
    assert np.array_equal(coco_mask.decode(coco_rle(mask, HEIGHT, WIDTH)).astype(bool), RING)


def test_our_reader_of_compressed_runs_agrees_with_the_codec():
    rng = np.random.default_rng(0)
    for _ in range(30):
        mask = rng.random((HEIGHT, WIDTH)) < rng.choice([0.02, 0.5, 0.98])
        counts = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
        assert list(_coco_masks._runs(counts)) == runs(mask)


def test_crowds_are_marked(tmp_path):
    rle = {"size": [HEIGHT, WIDTH], "counts": runs(RING)}
    split = read(tmp_path, content(annotation(iscrowd=1, segmentation=rle), annotation(id=2)))
    assert [a.crowd for a in split.records[0].annotations] == [True, False]
    assert split.class_counts() == {"cell": 1} and split.most_objects() == 1


def test_an_object_without_a_mask_and_one_without_a_box(tmp_path):
    boxless = annotation(id=2)
    del boxless["bbox"]
    split = read(tmp_path, content(annotation(segmentation=[]), boxless))
    first, second = split.records[0].annotations
    assert first.mask is None
    assert second.box_xyxy == (5.0, 5.0, 25.0, 20.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    {
        "nan box": (annotation(bbox=[float("nan"), 5, 20, 15]), "NaN"),
        "infinite box": (annotation(bbox=[5, 5, float("inf"), 15]), "NaN or infinity"),
        "box of three": (annotation(bbox=[5, 5, 20]), "4 numbers"),
        "box of words": (annotation(bbox=["a", 5, 20, 15]), "4 numbers"),
        "unknown category": (annotation(category_id=99), "category id 99 unknown"),
        "category of a list": (annotation(category_id=[2]), "unknown"),
        "unknown image": (annotation(image_id=5), "image_id 5 is not in images"),
        "nan vertex": (annotation(segmentation=[[5, 5, float("nan"), 5, 25, 20]]), "NaN"),
        "huge vertex": (annotation(segmentation=[[5, 5, 1e8, 5, 25, 20]]), "1e+08"),
        "odd polygon": (annotation(segmentation=[[5, 5, 25, 5, 25, 20, 5]]), "x, y pairs"),
        "text segmentation": (annotation(segmentation="square"), "type str"),
        "rle of another size": (
            annotation(segmentation={"size": [9, 9], "counts": [81]}),
            "size [9, 9]",
        ),
        "rle bomb": (annotation(segmentation={"size": [60000, 60000], "counts": [1]}), "size"),
        "rle too short": (
            annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": [5, 5]}),
            "cover 10 pixels",
        ),
        "negative run": (
            annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": [-5, 2405]}),
            "cover",
        ),
        "garbage rle": (
            annotation(segmentation={"size": [HEIGHT, WIDTH], "counts": "~~~~"}),
            "character",
        ),
        "nothing drawn": (
            annotation(bbox=None, segmentation=None),
            "neither bbox nor segmentation",
        ),
    }.items(),
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_bad_object_is_named_and_the_good_ones_are_kept(tmp_path, changes, words):
    bad, words = words
    split = read(tmp_path, content(annotation(id=4), {**bad, "id": 17}, annotation(id=5)))
    problems = [p for p in split.problems if p.severity == "error"]
    assert len(problems) == 1
    assert (
        "annotation 17" in problems[0].where
        and words in f"{problems[0].found} {problems[0].expected}"
    )
    assert [a.id for a in split.records[0].annotations] == [4, 5]


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("{broken", "not readable as JSON"),
        ("[]", "no list images, annotations, categories"),
        ({"images": [], "categories": []}, "no list annotations"),
        (
            content(categories=[{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]),
            "the id of both 'a' and 'b'",
        ),
        (
            content(categories=[{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]),
            "a second category called 'a'",
        ),
        (
            content(images=[{"id": 1, "file_name": "gone.png", "height": 4, "width": 4}]),
            "no file gone.png",
        ),
        (
            content(images=[{"id": 1, "file_name": "../../a.png", "height": 4, "width": 4}]),
            "no file",
        ),
        (content(images=[{"id": 1, "file_name": "a.png", "height": 0, "width": 4}]), "height 0"),
        (content(images=[{"id": 1, "file_name": None, "height": 4, "width": 4}]), "file_name None"),
    ],
)
def test_a_bad_file_is_named(tmp_path, what, words):
    split = read(tmp_path / "in", what)
    assert any(words in p.found for p in split.problems if p.severity == "error"), split.problems


def test_small_defects_are_fixed_and_said(tmp_path):
    outside = annotation(id=3, bbox=[50, 30, 30, 30])
    gone = annotation(id=4, bbox=[100, 100, 5, 5])
    thin = annotation(id=5, segmentation=[[5, 5, 25, 5], *SQUARE])
    split = read(tmp_path, content(outside, gone, thin))
    assert [a.id for a in split.records[0].annotations] == [3, 5]
    assert split.records[0].annotations[0].box_xyxy == (50, 30, 60, 40)
    assert sorted(p.severity for p in split.problems) == ["dropped", "dropped", "fixed"]


def two_sources(root: Path) -> Path:
    (root / "images").mkdir()
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(root / "images" / "a.png")
    (root / "annotations").mkdir()
    for name in ("algorithmic_train", "manual_train", "manual_test"):
        (root / "annotations" / f"{name}_annotations.json").write_text(
            json.dumps(content(annotation()))
        )
    return root
