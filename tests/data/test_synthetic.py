"""Rendered data: the same for a seed, with exact polygons inside the image."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from segue.data.synthetic import CLASSES, render_dataset, render_image
from segue.structures.masks import raster_polygon


def test_a_seed_gives_the_same_bytes_and_splits_differ(tmp_path):
    for name in ("a", "b"):
        render_dataset(tmp_path / name, {"train": 2, "valid": 2}, side=48, seed=4)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 6
    assert all(
        (tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files
    )
    pictures = [
        np.asarray(Image.open(tmp_path / "a" / file)).tobytes()
        for file in files
        if file.suffix == ".png"
    ]
    assert len(set(pictures)) == 4


def test_objects_are_those_of_the_classes_and_lie_inside(tmp_path):
    render_dataset(tmp_path, {"train": 6}, side=64, seed=1)
    content = json.loads((tmp_path / "train" / "_annotations.coco.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == list(CLASSES)
    assert len(content["annotations"]) > 10
    for entry in content["annotations"]:
        points = np.array(entry["segmentation"][0]).reshape(-1, 2)
        assert points.min() >= 0 and points.max() <= 64
        assert np.allclose(
            entry["bbox"], [*points.min(0), *(points.max(0) - points.min(0))], atol=0.02
        )


def test_objects_can_be_seen_in_the_image():
    pixels, shapes = render_image(np.random.default_rng(0), 96, 6)
    assert pixels.shape == (96, 96, 3) and pixels.dtype == np.uint8 and shapes
    covered = np.zeros((96, 96), bool)
    for _, ring in shapes:
        covered |= raster_polygon([ring], (0, 0, 96, 96)).astype(bool)
    grey = pixels.astype(float).mean(-1)
    assert abs(grey[covered].mean() - grey[~covered].mean()) > 10
