"""Predictions as files that other programs open: label images and ImageJ's ROIs."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from segue.base.extras import import_extra
from segue.errors import DataError
from segue.structures.detections import Detections
from segue.structures.outlines import rings_of

if TYPE_CHECKING:
    import roifile

MOST_LABELS = np.iinfo(np.uint16).max
FURTHEST = np.iinfo(np.int16).max  # ImageJ keeps corners of polygons in 16 bits
# Segments of ImageJ's composite regions (java.awt.geom.PathIterator): a ring is a move, lines, and
# an end.
MOVE, LINE, CLOSE = 0.0, 1.0, 4.0


def label_image(detections: Detections) -> np.ndarray:
    """uint16 (H, W): 0 where nothing is, else an object's number, from 1 in the order of
    `detections`.

    A pixel can have one number only, so smaller objects lie on top of larger ones: a tube that
    crosses a wider one is seen as a whole, and as little as possible is hidden. COCO files and ROIs
    keep overlaps.

    Raises:
        DataError: if there are more objects than numbers.
    """
    if len(detections) > MOST_LABELS:
        raise DataError(
            "label image",
            f"{len(detections)} objects",
            f"at most {MOST_LABELS}, which 16 bits can number",
        )
    labels = np.zeros(detections.size, dtype=np.uint16)
    regions = [detections.region(i) for i in range(len(detections))]
    for i in sorted(range(len(detections)), key=lambda i: -regions[i].area):
        x0, y0, x1, y1 = regions[i].window
        labels[y0:y1, x0:x1][regions[i].bits] = i + 1
    return labels


def write_labels(path: Path, detections: Detections) -> None:
    """Write the label image as a compressed TIFF.

    Raises:
        DataError: if there are more objects than 16 bits can number.
    """
    content = io.BytesIO()
    tifffile.imwrite(content, label_image(detections), compression="zlib", photometric="minisblack")
    _write(path, content.getvalue())


def rois(detections: Detections) -> list[roifile.ImagejRoi]:
    """An ImageJ ROI for each object, named by its number and class, such as 0007-tube; objects with
    an empty mask have none. Models without masks give rectangles, here as in label images.

    One ring is a traced polygon. Several rings, of separate pieces or around holes, are one
    composite ROI. ImageJ fills both by the rule that `outlines` traces by, so that a ROI has
    exactly the mask's pixels.

    Raises:
        PlanError: if roifile is not installed.
        DataError: if the image is too large for ImageJ's coordinates.
    """
    roifile = import_extra("roifile", "regions")
    if max(detections.size) > FURTHEST:
        raise DataError(
            "regions",
            f"an image of {max(detections.size)} px",
            f"at most {FURTHEST} px, for ImageJ",
        )
    regions = []
    for i, name in enumerate(detections.names):
        region = detections.region(i)
        rings = rings_of(region.bits, region.x, region.y)
        if not rings:
            continue
        roi = roifile.ImagejRoi.frompoints(rings[0].astype(np.int32), name=f"{i + 1:04d}-{name}")
        roi.roitype = roifile.ROI_TYPE.TRACED
        if len(rings) > 1:
            # a composite is stored as a rectangle with a path of floats in place of corners
            roi.roitype = roifile.ROI_TYPE.RECT
            roi.integer_coordinates, roi.n_coordinates = None, 0
            roi.multi_coordinates = _path(rings)
            roi.shape_roi_size = len(roi.multi_coordinates)
        corners = np.concatenate(rings).astype(int)
        (roi.left, roi.top), (roi.right, roi.bottom) = (
            corners.min(0).tolist(),
            corners.max(0).tolist(),
        )
        regions.append(roi)
    return regions


def write_rois(path: Path, detections: Detections) -> None:
    """Write a zip file of ROIs, as ImageJ's ROI manager saves and opens them.

    Raises:
        PlanError: if roifile is not installed.
        DataError: if the image is too large for ImageJ's coordinates.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for roi in rois(detections):
            archive.writestr(roi.name.replace("/", "_").replace("\\", "_") + ".roi", roi.tobytes())
    _write(path, content.getvalue())


def _path(rings: list[np.ndarray]) -> np.ndarray:
    """Rings (V, 2) as one of ImageJ's paths, flat float32: a segment's kind, then its x, y."""
    segments: list[np.ndarray | list[float]] = []
    for ring in rings:
        kinds = np.full((len(ring), 1), LINE)
        kinds[0] = MOVE
        segments += [np.hstack([kinds, ring]).ravel(), [CLOSE]]
    return np.concatenate(segments).astype(np.float32)


def _write(path: Path, content: bytes) -> None:
    """Write in one go, so that a file of this name is always complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".writing")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)
