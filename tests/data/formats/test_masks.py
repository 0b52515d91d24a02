"""Pictures of masks: every number an object, to the pixel, from whatever people have; anything else
is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from segue.data import formats
from segue.data.dataset import Data, manifest, read_dataset, read_splits
from segue.data.records import Split
from segue.data.writing.folders import read_folder
from segue.errors import DataError
from segue.structures.channels import RGB
from tests.data.formats.test_exchange import HEIGHT, WIDTH, bits

# Numbers with gaps, two objects that touch, one that touches the edge.
LABELS = np.zeros((HEIGHT, WIDTH), np.uint16)
LABELS[5:20, 5:30], LABELS[20:30, 5:30], LABELS[40:60, 60:80] = 2, 7, 300


def image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(
        np.random.default_rng(seed).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
    ).save(path)
    return path


def mask(path: Path, values: np.ndarray = LABELS) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        tifffile.imwrite(path, values, photometric="minisblack")
    elif path.suffix == ".npy":
        np.save(path, values)
    else:
        Image.fromarray(values).save(path)
    return path


def only(root: Path) -> Split:
    (split,) = read_splits(Data(root=root)).values()
    return split


def rasters(split: Split, number: int = 0) -> list[tuple[str, bytes]]:
    return [(a.class_name, bits(a.mask).tobytes()) for a in split.records[number].annotations]


def expected(values: np.ndarray, name: str = "object") -> list[tuple[str, bytes]]:
    return [(name, (values == number).tobytes()) for number in np.unique(values[values > 0])]


@pytest.mark.parametrize("suffix", [".tif", ".png", ".npy"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_every_number_is_an_object_to_the_pixel(tmp_path, suffix, kind):
    values = np.where(LABELS == 300, 9, LABELS).astype(kind)
    if suffix == ".png" and kind in (np.int32, np.float32):
        pytest.skip("PNG has no such values")
    image(tmp_path / "images" / "a.jpg")
    mask(tmp_path / "masks" / f"a{suffix}", values)
    assert formats.detect(tmp_path).__name__.endswith(".masks")
    split = only(tmp_path)
    assert (
        split.problems == []
        and rasters(split) == expected(values)
        and split.categories == {"object": 1}
    )
    assert split.records[0].annotations[2].box_xyxy == (60, 40, 80, 60)


def test_palettes_grey_in_three_channels_and_one_bit_are_numbers(tmp_path):
    small = (LABELS % 251).astype(np.uint8)
    palette = Image.fromarray(small)
    palette.putpalette([255 - value // 3 for value in range(768)])
    pictures = {
        "a": palette,
        "b": Image.fromarray(np.dstack([small] * 3)),
        "c": Image.fromarray(LABELS == 7),
    }
    for name, one in pictures.items():
        image(tmp_path / "images" / f"{name}.png")
        (tmp_path / "masks").mkdir(exist_ok=True)
        one.save(tmp_path / "masks" / f"{name}.png")
    split = only(tmp_path)
    assert split.problems == [] and palette.mode == "P" and pictures["c"].mode == "1"
    assert rasters(split, 0) == rasters(split, 1) == expected(small)
    assert rasters(split, 2) == [("object", (LABELS == 7).tobytes())]


def test_a_last_channel_of_npy_that_differs_is_no_transparency(tmp_path):
    image(tmp_path / "images" / "a.png")
    mask(tmp_path / "masks" / "a.npy", np.dstack([LABELS, np.roll(LABELS, 9)]))
    (problem,) = only(tmp_path).problems
    assert "a mask of 2 different channels" in problem.found


def test_classes_are_folders_and_pages_are_objects_that_overlap(tmp_path):
    image(tmp_path / "images" / "a.png")
    pages = np.stack([LABELS, np.roll(LABELS, -3, axis=1)])
    mask(tmp_path / "masks" / "cell" / "a.tif", pages)
    mask(tmp_path / "masks" / "rod" / "a.png", (LABELS == 2).astype(np.uint8))
    split = only(tmp_path)
    assert rasters(split) == [
        *expected(pages[0], "cell"),
        *expected(pages[1], "cell"),
        *expected(LABELS == 2, "rod"),
    ]
    assert split.categories == {"cell": 1, "rod": 2} and split.problems == []


def test_a_folder_of_images_is_no_class(tmp_path):
    for folder in ("s1", "s2"):
        image(tmp_path / "images" / folder / "a.png")
        mask(tmp_path / "masks" / folder / "a.tif")
    split = only(tmp_path)
    assert len(split.records) == 2 and set(split.categories) == {"object"} and split.problems == []


LAYOUTS = ["images/{0}/{1}.png masks/{0}/{1}_masks.tif", "{0}/images/{1}.png {0}/masks/{1}.png"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_divided_folders_are_read(tmp_path, layout):
    for part, count in (("train", 3), ("val", 2), ("test", 1)):
        for number in range(count):
            where, labels = layout.format(part, f"{part}{number}").split()
            image(tmp_path / where)
            mask(tmp_path / labels)
    data = read_dataset(Data(root=tmp_path))
    assert {p: c["images"] for p, c in data.counts().items()} == {"train": 3, "valid": 2, "test": 1}
    assert data.classes == ("object",)


def test_one_part_is_divided_by_the_plan_and_masks_are_part_of_what_the_data_are(tmp_path):
    for number in range(8):
        image(tmp_path / "images" / f"field{number}.png", number)
        mask(tmp_path / "masks" / f"field{number}.tif")
    plan = {"root": tmp_path, "split": {"valid": 0.25}}
    data = read_dataset(Data.model_validate(plan))
    assert {part: c["images"] for part, c in data.counts().items()} == {"train": 6, "valid": 2}
    before = manifest(data.splits, data.classes, RGB)
    mask(tmp_path / "masks" / "field3.tif", np.roll(LABELS, 1, axis=0))
    assert (
        read_dataset(Data.model_validate(plan)).manifest != data.manifest
        and before == data.manifest
    )


def test_a_picture_for_each_object_is_read_in_both_layouts(tmp_path):
    for root, where, place in (
        ("one", "images/a.png", "masks/a/{}.png"),
        ("dsb", "id/images/a.png", "id/masks/{}.png"),
    ):
        image(tmp_path / root / where)
        for number in (2, 7, 300):
            mask(
                tmp_path / root / place.format(f"{number:03d}"),
                ((number == LABELS) * 255).astype(np.uint8),
            )
        assert rasters(only(tmp_path / root)) == expected(LABELS)


def test_folders_called_like_images_hold_their_objects_also_where_all_names_are_numbers(tmp_path):
    for number in (1, 2):
        image(tmp_path / "images" / f"{number}.png")
        for value, one in enumerate((2, 7, 300), 1):
            mask(
                tmp_path / "masks" / str(number) / f"{value}.png",
                ((one == LABELS) * 255).astype(np.uint8),
            )
    split = only(tmp_path)  # no image is called 3, so that the folders are no classes
    assert rasters(split, 0) == rasters(split, 1) == expected(LABELS) and split.problems == []
    for number in (1, 2):
        (tmp_path / "masks" / str(number) / "3.png").unlink()
    (problem,) = (problem for problem in only(tmp_path).problems if problem.severity == "error")
    assert "both called like images (first: 1/1.png): classes or images?" in problem.found
    mask(tmp_path / "masks" / "rod" / "2.tif")  # which only a class can be
    assert [[name for name, _ in rasters(only(tmp_path), n)] for n in (0, 1)] == [
        ["1", "2"],
        ["1", "2", *["rod"] * 3],
    ]


def test_a_mask_with_the_whole_name_of_an_image_is_that_of_its_folder(tmp_path):
    for number, folder in enumerate(("s1", "s2")):
        for name in ("a.png", "b.png"):
            image(tmp_path / "images" / folder / name)
            mask(
                tmp_path / "masks" / folder / f"{name}.labels.tif", np.roll(LABELS, -number, axis=1)
            )
    split = only(tmp_path)
    wanted = [expected(np.roll(LABELS, -n, axis=1)) for n in (0, 0, 1, 1)]
    assert [rasters(split, n) for n in range(4)] == wanted and split.problems == []


def test_other_files_beside_an_image_do_not_hide_a_folder_for_each_image(tmp_path):
    for name in ("one", "two"):
        image(tmp_path / name / "images" / "a.png")
        mask(tmp_path / name / "masks" / "1.png", ((LABELS == 7) * 255).astype(np.uint8))
    (tmp_path / "one" / "images" / "Aaa.db").write_bytes(b"")
    split = only(tmp_path)
    assert [rasters(split, n) for n in (0, 1)] == [
        expected(LABELS == 7)
    ] * 2 and split.problems == []


def test_an_empty_mask_says_that_nothing_is_there_and_no_mask_says_nothing(tmp_path):
    for name in "abcd":
        image(tmp_path / "images" / f"{name}.png")
    mask(tmp_path / "masks" / "a.tif")
    mask(tmp_path / "masks" / "b.tif", LABELS * 0)
    split = only(tmp_path)
    assert [(r.image.name, len(r.annotations)) for r in split.records] == [
        ("a.png", 3),
        ("b.png", 0),
    ]
    assert list(map(str, split.problems)) == [
        f"note: {tmp_path / 'masks'}: 2 images without a mask (first: c.png)"
    ]


def test_specks_are_no_pieces_and_one_value_for_all_objects_is_refused(tmp_path):
    image(tmp_path / "images" / "a.png")
    speck = LABELS.copy()
    speck[35, 35] = 300
    mask(tmp_path / "masks" / "a.tif", speck)
    assert only(tmp_path).problems == []
    mask(tmp_path / "masks" / "a.tif", (LABELS > 0) * np.uint8(255))
    with pytest.raises(
        DataError,
        match="2.0 pieces of each number: one value for all objects.*a number for each object",
    ):
        read_folder(tmp_path)


def test_real_masks_are_those_of_their_coco_form(sample_data):
    root = sample_data("nuclei-28")
    names = [path.name for path in (root / "source-mask-pngs").iterdir()]
    known = {
        r.image.stem: r for split in read_splits(Data(root=root)).values() for r in split.records
    }
    split = only(root / "source-mask-pngs")
    assert len(split.records) == len(names) == 2 and split.problems == []
    for record in split.records:
        theirs = known[record.image.parent.parent.name]
        assert sorted(a.mask.counts for a in record.annotations) == sorted(
            a.mask.counts for a in theirs.annotations
        )
