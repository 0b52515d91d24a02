"""Pascal VOC: boxes to the pixel in both ways they are counted, every layout, and masks where there
are any.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segue.data import formats
from segue.data.dataset import Data, read_dataset, read_splits
from segue.data.records import Split
from tests.data.formats.test_exchange import bits

HEIGHT, WIDTH = 60, 80  # as test_exchange has them
SQUARE = (11, 6, 30, 25)


def thing(box: tuple = SQUARE, name: str = "cat", more: str = "") -> str:
    corners = "".join(
        f"<{key}>{value}</{key}>"
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{more}<bndbox>{corners}</bndbox></object>"


def write(
    path: Path, *things: str, name: str = "", by: str = "Unknown", picture: Path | None = None
) -> Path:
    """An annotation file, and its image next to it or at `picture`."""
    picture = picture or path.with_suffix(".jpg")
    for folder in (path.parent, picture.parent):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(picture)
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    head = f"<filename>{name or picture.name}</filename>"
    head += f"<source><database>{by}</database></source>{size}"
    path.write_text(f"<annotation>{head}{''.join(things)}</annotation>")
    return path


def published(root: Path, names: dict[str, str]) -> Path:
    """Two squares in each image; names: of the images, with the list each is on."""
    for name, part in names.items():
        path, picture = root / "Annotations" / f"{name}.xml", root / "JPEGImages" / f"{name}.jpg"
        write(
            path, thing(), thing((41, 6, 60, 25), "dog"), by="The VOC2007 Database", picture=picture
        )
        listed = root / "ImageSets" / "Main" / f"{part}.txt"
        listed.parent.mkdir(parents=True, exist_ok=True)
        listed.write_text((listed.read_text() if listed.exists() else "") + f"{name}\n")
    return root


def only(root: Path) -> Split:
    (split,) = read_splits(Data(root=root)).values()
    return split


@pytest.mark.parametrize(
    ("by", "x0", "y0"),
    [("The VOC2012 Database", 10, 5), ("Unknown", 11, 6), ("roboflow.com", 11, 6), ("", 11, 6)],
)
def test_boxes_are_counted_from_1_where_a_file_says_that_it_is_of_voc(tmp_path, by, x0, y0):
    write(tmp_path / "a.xml", thing(), by=by)
    split = only(tmp_path)
    assert split.problems == [] and split.records[0].annotations[0].box_xyxy == (x0, y0, 30, 25)


def test_a_box_of_voc_that_is_one_pixel_is_one_pixel(tmp_path):
    write(
        tmp_path / "a.xml",
        thing((1, 1, 1, 1)),
        thing((WIDTH, HEIGHT, WIDTH, HEIGHT)),
        by="The VOC2007 Database",
    )
    boxes = [a.box_xyxy for a in only(tmp_path).records[0].annotations]
    assert boxes == [(0, 0, 1, 1), (WIDTH - 1, HEIGHT - 1, WIDTH, HEIGHT)]


def test_the_published_layout_is_divided_by_its_lists(tmp_path):
    published(tmp_path, {"a": "train", "b": "train", "c": "val", "d": "test"})
    (tmp_path / "ImageSets" / "Main" / "cat_train.txt").write_text("a 1\nb -1\n")
    assert formats.detect(tmp_path).__name__.endswith(".voc")
    data = read_dataset(Data(root=tmp_path))
    assert {p: [r.image.name for r in s.records] for p, s in data.splits.items()} == {
        "train": ["a.jpg", "b.jpg"],
        "valid": ["c.jpg"],
        "test": ["d.jpg"],
    }
    assert data.classes == ("cat", "dog") and data.splits["train"].class_counts() == {
        "cat": 2,
        "dog": 2,
    }
    cats = tmp_path / "ImageSets" / "Main" / "cat_train.txt"
    split = read_splits(Data.model_validate({"train": {"annotations": cats}}))["train"]
    assert [r.image.name for r in split.records] == ["a.jpg"] and cats in split.files


def test_objects_have_the_masks_of_their_number_and_the_seam_is_nobodys(tmp_path):
    published(tmp_path, {"a": "train", "b": "val"})
    picture = np.zeros((HEIGHT, WIDTH), np.uint8)
    picture[5:25, 10:30], picture[5:25, 40:60], picture[4, 10:30] = 1, 2, 255
    image = Image.fromarray(picture)
    image.putpalette(
        [value for number in range(256) for value in (number, 255 - number, number % 7)]
    )
    (tmp_path / "SegmentationObject").mkdir()
    image.save(tmp_path / "SegmentationObject" / "a.png")
    split = read_splits(Data(root=tmp_path))["train"]
    cat, dog = split.records[0].annotations
    assert split.problems == [] and image.mode == "P"
    assert (bits(cat.mask) == (picture == 1)).all() and (bits(dog.mask) == (picture == 2)).all()
    assert cat.box_xyxy == (10, 5, 30, 25) and dog.class_name == "dog"
    many = tmp_path / "Annotations" / "a.xml"
    many.write_text(many.read_text().replace("</annotation>", thing() * 253 + "</annotation>"))
    assert read_splits(Data(root=tmp_path))["train"].records[0].annotations[254].mask is None


@pytest.mark.parametrize(
    "layout", ["{0}/{1}.xml {0}/{1}.jpg", "{0}/annotations/{1}.xml {0}/images/{1}.jpg"]
)
def test_divided_folders_are_read(tmp_path, layout):
    for part in ("train", "valid", "test"):
        path, picture = layout.format(part, "a").split()
        write(tmp_path / path, thing(), picture=tmp_path / picture)
    splits = read_splits(Data(root=tmp_path))
    assert {part: len(split.records) for part, split in splits.items()} == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    assert all(split.problems == [] for split in splits.values())


def test_a_folder_or_a_file_is_one_part_which_the_plan_divides(tmp_path):
    for name in "abcdefgh":
        write(
            tmp_path / "annotations" / f"{name}.xml",
            thing(),
            picture=tmp_path / "images" / f"{name}.jpg",
        )
    data = read_dataset(Data.model_validate({"root": tmp_path, "split": {"valid": 0.25}}))
    assert data.counts() == {
        "train": {"images": 6, "objects": 6},
        "valid": {"images": 2, "objects": 2},
    }
    assert len(only(tmp_path / "annotations" / "a.xml").records) == 1


def test_the_image_beside_a_file_is_surer_than_the_name_written_in_it(tmp_path):
    write(tmp_path / "a.xml", thing(), name="b.jpg")
    write(tmp_path / "b.xml", thing(), name="IMG_1")
    write(tmp_path / "other.xml", thing(), picture=tmp_path / "c.jpg")
    split = only(tmp_path)
    assert [record.image.name for record in split.records] == [
        "a.jpg",
        "b.jpg",
        "c.jpg",
    ] and split.problems == []


def test_of_two_images_of_one_stem_the_file_says_which(tmp_path):
    write(tmp_path / "a.xml", thing(), name="a.tif")
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.tif")
    split = only(tmp_path)
    assert [record.image.name for record in split.records] == ["a.tif"] and split.problems == []
    write(tmp_path / "a.xml", thing(), name="IMG_1")
    split = only(tmp_path)
    assert (
        split.records == []
        and "a second image of this name: a.jpg, a.tif" in split.problems[0].found
    )


def test_difficult_objects_are_ignored_and_counted(tmp_path):
    easy = thing((40, 6, 60, 25), more="<truncated>1</truncated><difficult>0</difficult>")
    write(tmp_path / "a.xml", thing(more="<difficult>1</difficult>"), easy)
    split = only(tmp_path)
    assert [a.crowd for a in split.records[0].annotations] == [
        True,
        False,
    ] and split.class_counts() == {"cat": 1}
    assert [str(problem) for problem in split.problems] == [
        f"note: {tmp_path}: 1 objects are difficult"
    ]


def test_parts_of_a_person_are_no_objects(tmp_path):
    body = thing((1, 1, 9, 9)).split("</name>")[1].removesuffix("</object>")
    head = f"<part><name>head</name>{body}</part>"
    write(tmp_path / "a.xml", thing(more=head))
    assert [a.box_xyxy for a in only(tmp_path).records[0].annotations] == [(11, 6, 30, 25)]


def test_no_change_of_a_byte_ends_in_a_traceback(tmp_path):
    path = write(
        tmp_path / "a.xml", thing(), thing((41, 6, 60, 25), "dog", "<difficult>1</difficult>")
    )
    content, random = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        changed = bytearray(content)
        for place in random.integers(len(content), size=3):
            changed[place] = int(random.choice(list(b"<>/&;0-9eE.\x00\xff a")))
        path.write_bytes(changed)
        formats.get("voc").read(formats.SplitSource(tmp_path, (tmp_path,)), "all")


def test_real_files_are_read_as_their_coco_form_says(sample_data, tmp_path):
    """Of 44 pictures; their COCO file was made from these very files."""
    root = sample_data("bccd-44")
    shutil.copytree(root / "source-voc" / "Annotations", tmp_path / "Annotations")
    for path in root.glob("*/*.jpg"):
        (tmp_path / "JPEGImages").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "JPEGImages")

    def boxes(splits: dict[str, Split]) -> dict[str, list]:
        records = [record for split in splits.values() for record in split.records]
        return {r.image.name: [(a.class_name, *a.box_xyxy) for a in r.annotations] for r in records}

    found = boxes(read_splits(Data(root=tmp_path)))
    assert found == boxes(read_splits(Data(root=root))) and len(found) == 44
