"""What other programs are given: label images, ImageJ regions, and everything that `segue predict`
writes.
"""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import hotcoco.mask as coco_mask
import numpy as np
import pytest
import roifile
import tifffile
import torch
from PIL import Image

from segue import models
from segue.cli.app import main
from segue.errors import DataError
from segue.evaluation.overlay import draw_detections
from segue.inference.measure import as_csv, columns, measurements
from segue.inference.outputs import label_image, rois, write_rois
from segue.structures.detections import Detections
from segue.structures.regions import Region
from segue.training import checkpoint as checkpoints
from tests.inference.painted import Exact, picture
from tests.structures.test_outlines import filled


@pytest.fixture(scope="module")
def painted() -> Detections:
    return Exact().predict_ready(picture(500, 400, seed=3)[0], 0.5)


def with_masks(masks: list[np.ndarray], names: tuple[str, ...] = ("tube",)) -> Detections:
    regions = tuple(Region.of(mask) for mask in masks)
    boxes = torch.tensor([region.window for region in regions], dtype=torch.float32)
    labels = torch.zeros(len(masks), dtype=torch.int64)
    return Detections(
        boxes, torch.full((len(masks),), 0.9), labels, names, masks[0].shape, regions=regions
    )


def test_labels_number_the_objects_and_smaller_ones_lie_on_top():
    large, small = np.zeros((50, 60), dtype=bool), np.zeros((50, 60), dtype=bool)
    large[10:40, 5:55], small[20:25, 0:30] = True, True
    for masks, on_top in (([small, large], 1), ([large, small], 2)):
        labels = label_image(with_masks(masks))
        assert labels.dtype == np.uint16 and sorted(np.unique(labels)) == [0, 1, 2]
        assert (labels[20:25, 0:30] == on_top).all() and (labels == 3 - on_top).sum() == 1500 - 125


def test_more_objects_than_16_bits_can_number_are_refused():
    one = Region.of(np.ones((1, 1), dtype=bool))
    count = 65_536
    detections = Detections(
        torch.zeros(count, 4),
        torch.ones(count),
        torch.zeros(count, dtype=torch.int64),
        ("a",),
        (9, 9),
        regions=(one,) * count,
    )
    with pytest.raises(DataError, match="65536 objects; expected at most 65535"):
        label_image(detections)
    assert label_image(detections[:65_535])[0, 0] > 0


def rings_in(roi: roifile.ImagejRoi) -> list[np.ndarray]:
    return [np.asarray(ring, dtype=float) for ring in roi.coordinates(multi=True)]


def test_regions_read_back_are_the_masks(painted, tmp_path):
    write_rois(tmp_path / "RoiSet.zip", painted)
    read = roifile.roiread(tmp_path / "RoiSet.zip")
    assert len(read) == len(painted) > 10
    for i, roi in enumerate(read):
        assert roi.name == f"{i + 1:04d}-tube"
        bits = filled(rings_in(roi), 400, 500)
        own = painted.masks[i].numpy()
        assert (bits & own).sum() / (bits | own).sum() >= 0.95
        assert (roi.left, roi.top, roi.right, roi.bottom) == painted.regions[i].window


def test_holes_and_pieces_are_in_one_composite_region():
    bits = np.zeros((60, 80), dtype=bool)
    bits[5:40, 5:50], bits[15:25, 15:25], bits[50:55, 60:75] = True, False, True
    (roi,) = rois(with_masks([bits, np.zeros_like(bits)]))  # an empty mask has no region
    again = roifile.ImagejRoi.frombytes(roi.tobytes())
    assert again.composite and len(rings_in(again)) == 3
    assert np.array_equal(filled(rings_in(again), 60, 80), bits)


def test_a_model_without_masks_gives_its_boxes(painted):
    boxes_alone = replace(painted, regions=None)
    assert [(roi.left, roi.top, roi.right, roi.bottom) for roi in rois(boxes_alone)] == [
        r.window for r in painted.regions
    ]
    assert label_image(boxes_alone)[0, 30] > 0


def test_class_names_cannot_leave_the_archive(tmp_path):
    write_rois(tmp_path / "RoiSet.zip", with_masks([np.ones((9, 9), dtype=bool)], ("../../a/b",)))
    (roi,) = roifile.roiread(tmp_path / "RoiSet.zip")
    assert roi.name == "0001-../../a/b" and not (tmp_path.parent / "a").exists()


def test_overlays_of_regions_are_those_of_masks(painted):
    logits = replace(painted, regions=None, mask_logits=painted.masks.float() * 2 - 1)
    grey = Image.new("RGB", (500, 400), (50, 50, 50))
    drawn = np.asarray(draw_detections(grey, painted))
    assert np.array_equal(drawn, np.asarray(draw_detections(grey, logits)))
    assert (drawn != 50).any(-1)[painted.masks.any(0).numpy()].all()


def test_a_long_name_is_cut_and_its_score_stays():
    one, black = np.zeros((40, 900), dtype=bool), Image.new("RGB", (900, 40))
    one[20:30, 5:20] = True
    short, long, longer = (with_masks([one], ("i" * count,)) for count in (60, 80, 90))
    poor = replace(long, scores=long.scores - 0.5)
    drawn = [
        np.asarray(draw_detections(black, detections)) for detections in (short, long, longer, poor)
    ]
    assert np.array_equal(drawn[0], drawn[1]) and np.array_equal(drawn[1], drawn[2])
    assert not np.array_equal(drawn[1], drawn[3])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A real model of random weights: what it finds is nonsense, and enough of it."""
    folder = tmp_path_factory.mktemp("use") / "model"
    family = models.get("rfdetr")
    options, _ = family.resolve_options(
        family.Options(resolution=64, queries=30), models.size_of(family, "pico"), 0, "cpu"
    )
    spec = models.ModelSpec(
        family="rfdetr", size="pico", classes=("cell", "rod"), options=options.model_dump()
    )
    torch.manual_seed(0)
    checkpoints.write(
        folder, family.build(spec, masks=True).state_dict(), checkpoints.Card(spec=spec)
    )
    return folder


@pytest.fixture(scope="module")
def predicted(checkpoint, rendered) -> Path:
    """Everything that can be written, for three images in 2 x 2 tiles."""
    out = checkpoint.parent / "out"
    words = [
        "--threshold",
        "0.01",
        "--grid",
        "2x2",
        "--scale",
        "0.5",
        "--write",
        "overlays,coco,labels,rois,measurements",
    ]
    words += ["--refine", "holes=50", "area=5", "unit=um", "merge=0.7"]
    assert (
        main(["predict", str(checkpoint), str(rendered / "test"), "--out", str(out), *words]) == 0
    )
    return out


def test_all_outputs_of_predict_tell_of_the_same_objects(predicted, rendered):
    coco = json.loads((predicted / "predictions.coco.json").read_text())
    rows = list(csv.DictReader((predicted / "measurements.csv").read_text().splitlines()))
    assert len(coco["images"]) == 3 and len(coco["annotations"]) == len(rows) > 0
    for image in coco["images"]:
        base, size = predicted / Path(image["file_name"]).stem, (image["height"], image["width"])
        entries = [entry for entry in coco["annotations"] if entry["image_id"] == image["id"]]
        own = [row for row in rows if row["image"] == image["file_name"]]
        labels = tifffile.imread(f"{base}.labels.tif")
        regions = roifile.roiread(f"{base}.RoiSet.zip") if entries else []
        with Image.open(f"{base}.png") as overlay:
            assert overlay.size == labels.shape[::-1] == size[::-1]
        assert [int(row["id"]) for row in own] == list(range(1, len(entries) + 1))
        assert [roi.name for roi in regions] == [
            f"{int(row['id']):04d}-{row['class']}" for row in own
        ]
        for entry, row in zip(entries, own, strict=True):
            mask = coco_mask.decode(
                {"size": size, "counts": entry["segmentation"]["counts"]}
            ).astype(bool)
            assert mask.sum() == int(row["area"]) >= 20 and float(row["area_um2"]) == mask.sum() / 4
            assert mask[labels == int(row["id"])].all()


def test_the_steps_are_recorded_beside_and_in_the_coco_file(predicted):
    record = json.loads((predicted / "postprocess.json").read_text())
    assert record["settings"] == {"holes": 50, "area": 5, "merge": 0.7, "unit": "um"}
    assert list(record["steps"]) == ["holes", "area", "merge"] and len(record["images"]) == 3
    left = record["steps"]["merge"]["given"] - record["steps"]["merge"]["removed"]
    coco = json.loads((predicted / "predictions.coco.json").read_text())
    assert len(coco["annotations"]) == left
    assert coco["info"]["postprocess"] == {"settings": record["settings"], "steps": record["steps"]}


def test_a_file_of_16_bits_that_says_its_scale_is_measured_in_um_and_in_its_own_levels(
    checkpoint, tmp_path
):
    light = np.random.default_rng(0).integers(1000, 4000, (90, 130), dtype=np.uint16)
    path = tmp_path / "images" / "field 1.tif"
    path.parent.mkdir()
    tifffile.imwrite(path, light, imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um"})
    words = [
        "--threshold",
        "0.01",
        "--write",
        "measurements,labels",
        "--refine",
        "area=1",
        "unit=um",
    ]
    assert (
        main(["predict", str(checkpoint), str(path), "--out", str(tmp_path / "out"), *words]) == 0
    )
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "field 1.labels.tif", "measurements.csv", "postprocess.json",
    ]  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "measurements.csv").read_text().splitlines()))
    assert rows and all(float(row["area_um2"]) == int(row["area"]) / 16 >= 1 for row in rows)
    assert (
        min(float(row["r_min"]) for row in rows) >= 1000
        and max(float(row["r_max"]) for row in rows) > 3900
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--grid", "2,2"], "--grid: '2,2'; expected rows x columns"),
        (["--tile", "big"], "--tile: 'big'; expected pixels, or auto (for this model 64)"),
        (
            ["--write", "overlays,masks"],
            "--write: 'masks'; expected some of overlays,coco,labels,rois,measurements",
        ),
        (["--scale", "-1"], "--scale: -1; expected micrometres per pixel"),
        (["--refine", "aera=50"], "--refine: no step 'aera'; expected area"),
        (["--refine", "area=50", "unit=um"], "scale is not known; expected --scale UM_PER_PX"),
    ],
)
def test_slips_in_the_options_are_one_line(checkpoint, rendered, tmp_path, words, message, capsys):
    code = main(
        [
            "predict",
            str(checkpoint),
            "--threshold",
            "0.01",
            str(rendered / "test"),
            "--out",
            str(tmp_path / "out"),
            *words,
        ]
    )
    assert code == 2 and message in capsys.readouterr().err


def test_a_table_without_objects_has_the_header_of_one_with_objects(painted):
    pixels = torch.zeros(2, *painted.size)
    for scale in (None, 0.5):
        rows = [
            {"image": "a.png", **row} for row in measurements(painted, pixels, ("r", "g"), scale)
        ]
        header = as_csv([], columns(("r", "g"), scale))
        assert (
            header.count("\n") == 1
            and as_csv(rows).startswith(header)
            and ("area_um2" in header) == bool(scale)
        )
