"""`segue data convert`: what is written in a format comes back from it, and what has no place there
is said.
"""

from __future__ import annotations

import json
from pathlib import Path

import hotcoco.mask as coco_mask
import numpy as np
import pytest
import tifffile
import yaml
from PIL import Image

from segue.cli.app import main
from segue.data.dataset import Data, read_splits
from segue.data.records import Record, Split
from segue.data.synthetic import render_dataset
from segue.structures.masks import coco_rle


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """Cells, rods and tubes that overlap, in three parts; some images are empty."""
    folder = tmp_path_factory.mktemp("parts")
    return render_dataset(folder, {"train": 8, "valid": 3, "test": 3}, side=96, seed=5)


def converted(root: Path, kind: str, out: Path) -> tuple[dict[str, Split], dict[str, Split]]:
    """The data set before and after, none of whose problems are more than notes."""
    assert main(["data", "convert", str(root), "--to", kind, "--out", str(out)]) == 0
    before, after = read_splits(Data(root=root)), read_splits(Data(root=out))
    assert list(after) == list(before)
    assert {p.severity for split in after.values() for p in split.problems} <= {"note"}
    return before, after


def pairs(before: dict[str, Split], after: dict[str, Split]) -> list[tuple[Record, Record]]:
    """Every image of a data set with itself in the other."""
    found = []
    for part, split in before.items():
        others = {record.image.stem: record for record in after[part].records}
        assert len(others) == len(split.records)
        found += [(record, others[record.image.stem]) for record in split.records]
    return found


def bits(record: Record) -> list[np.ndarray]:
    rles = [coco_rle(a.mask, record.height, record.width) for a in record.annotations]
    return [coco_mask.decode(rle).astype(bool) for rle in rles]


@pytest.mark.parametrize(("kind", "off"), [("voc", 0.5), ("yolo", 1e-3)])
def test_boxes_come_back_within_rounding_in_their_order(parts, tmp_path, capsys, kind, off):
    seen = 0
    for record, again in pairs(*converted(parts, kind, tmp_path / kind)):
        assert [a.class_name for a in again.annotations] == [
            a.class_name for a in record.annotations
        ]
        for one, other in zip(record.annotations, again.annotations, strict=True):
            assert (
                np.abs(np.subtract(one.box_xyxy, other.box_xyxy)).max() <= off
                and other.mask is None
            )
            seen += 1
    assert (
        seen > 30
        and f"{seen} masks are left out, their boxes stay: {kind} has boxes only"
        in capsys.readouterr().out
    )


def test_masks_come_back_to_the_pixel_also_where_they_overlap(parts, tmp_path, capsys):
    before, after = converted(parts, "masks", tmp_path / "masks")
    for record, again in pairs(before, after):
        one, other = (
            sorted(
                (a.class_name, raster.tobytes())
                for a, raster in zip(r.annotations, bits(r), strict=True)
            )
            for r in (record, again)
        )
        assert one == other
    several = int(capsys.readouterr().out.splitlines()[1].split(" masks have several pages")[0])
    pages = [
        tifffile.imread(path).ndim == 3 for path in (tmp_path / "masks").glob("*/masks/*/*.tif")
    ]
    assert several == sum(pages) > 0


def test_outlines_for_yolo_cover_what_masks_cover(parts, tmp_path):
    overlaps = []
    for record, again in pairs(*converted(parts, "yolo-seg", tmp_path / "yolo")):
        assert [a.class_name for a in again.annotations] == [
            a.class_name for a in record.annotations
        ]
        overlaps += [
            (a & b).sum() / (a | b).sum() for a, b in zip(bits(record), bits(again), strict=True)
        ]
    assert min(overlaps) >= 0.95 and np.mean(overlaps) > 0.99
    described = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    assert described["names"] == ["cell", "rod", "tube"] and described["val"] == "valid/images"


def odd(folder: Path) -> Path:
    """A ring, an object in two pieces, a crowd; run lengths."""
    folder.mkdir()
    y, x = np.mgrid[:60, :80]
    ring = (np.hypot(x - 20, y - 30) < 15) & (np.hypot(x - 20, y - 30) > 6)
    pieces = (abs(x - 50) < 5) & ((y < 20) | (y > 40))
    crowd = (x > 65) & (y > 40)
    annotations = []
    for number, (one, iscrowd) in enumerate(((ring, 0), (pieces, 0), (crowd, 1)), 1):
        rle = coco_mask.encode(np.asfortranarray(one.astype(np.uint8)))
        text = {"size": rle["size"], "counts": rle["counts"].decode()}
        entry = {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "segmentation": text,
            "iscrowd": iscrowd,
        }
        annotations.append(entry)
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "object"}],
    }
    (folder / "_annotations.coco.json").write_text(json.dumps(content))
    Image.fromarray(np.zeros((60, 80), np.uint8)).save(folder / "a.png")
    return folder


@pytest.mark.parametrize("kind", ["masks", "yolo-seg", "voc", "yolo", "labelme"])
def test_holes_and_pieces_stay_and_crowds_are_said(tmp_path, capsys, kind):
    ((record, again),) = pairs(*converted(odd(tmp_path / "in"), kind, tmp_path / "out"))
    assert ("1 crowd regions are left out" in capsys.readouterr().out) == (kind != "voc")
    assert [a.crowd for a in again.annotations] == (
        [False, False, True] if kind == "voc" else [False, False]
    )
    if kind in ("masks", "yolo-seg"):
        for one, other in zip(bits(record), bits(again), strict=False):
            assert (one & other).sum() / (one | other).sum() >= (1.0 if kind == "masks" else 0.95)
    if kind == "masks":
        # one class called object needs no folder
        assert (tmp_path / "out" / "masks" / "a.tif").is_file()


def test_objects_without_masks_are_refused_where_there_is_nothing_else(tmp_path, capsys):
    path = odd(tmp_path / "in") / "_annotations.coco.json"
    content = json.loads(path.read_text())
    content["annotations"][0] |= {"bbox": [5, 15, 30, 30], "segmentation": []}
    path.write_text(json.dumps(content))
    for kind in ("masks", "yolo-seg"):
        assert (
            main(
                ["data", "convert", str(path.parent), "--to", kind, "--out", str(tmp_path / "out")]
            )
            == 2
        )
        said = capsys.readouterr().err
        assert (
            "1 of 2 objects have no mask (first: one of a.png)" in said
            and "next: --to coco" in said
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["masks", "yolo-seg"])
def test_masks_without_a_pixel_are_left_out_and_counted(tmp_path, capsys, kind):
    path = odd(tmp_path / "in") / "_annotations.coco.json"
    content = json.loads(path.read_text())
    sliver = [[10, 10.2, 30, 10.2, 30, 10.3]]
    for number, mask in enumerate(
        ({"size": [60, 80], "counts": [4800]}, sliver, [*sliver, *sliver]), 4
    ):
        entry = {
            "id": number,
            "image_id": 1,
            "category_id": 1,
            "bbox": [10, 10, 20, 1],
            "segmentation": mask,
        }
        content["annotations"].append(entry)
    path.write_text(json.dumps(content))
    ((_, again),) = pairs(*converted(path.parent, kind, tmp_path / "out"))
    said = capsys.readouterr().out
    # the crowd is counted, and said
    assert len(again.annotations) == 2 and "all 1 images, 3 objects" in said
    assert f"3 objects are left out: their masks have no pixel, and {kind} has nothing else" in said


def test_thin_boxes_at_the_far_edges_stay_in_voc(tmp_path):
    path = odd(tmp_path / "in") / "_annotations.coco.json"
    content = json.loads(path.read_text())
    boxes = [[79.6, 10, 0.4, 20], [10, 59.6, 20, 0.4]]
    for entry, box in zip(content["annotations"], boxes, strict=False):
        entry |= {"bbox": box, "segmentation": []}
    path.write_text(json.dumps(content))
    ((_, again),) = pairs(*converted(path.parent, "voc", tmp_path / "out"))
    assert [a.box_xyxy for a in again.annotations[:2]] == [(79, 10, 80, 30), (10, 59, 30, 60)]


def test_a_class_that_no_folder_can_be_called_is_refused(tmp_path, capsys):
    path = odd(tmp_path / "in") / "_annotations.coco.json"
    for name in ("../up", "a/b", ".hidden"):
        content = json.loads(path.read_text())
        content["categories"][0]["name"] = name
        path.write_text(json.dumps(content))
        assert (
            main(
                [
                    "data",
                    "convert",
                    str(path.parent),
                    "--to",
                    "masks",
                    "--out",
                    str(tmp_path / "out"),
                ]
            )
            == 2
        )
        assert f"class {name}: a name that no folder can have" in capsys.readouterr().err
    path.write_text(path.read_text().replace('".hidden"', '"a"'))
    assert (
        main(["data", "convert", str(path.parent), "--to", "masks", "--out", str(tmp_path / "out")])
        == 2
    )
    assert "class a: called like an image" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"in"}
