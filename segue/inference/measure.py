"""Measurements of an object: size, shape, and the light in it.

Lengths are in pixels of the image, and in um too where the pixel size is known. Positions are
continuous: 0, 0 is the image's corner, and the first pixel's centre is at 0.5. `skeletons` says
what a length along the skeleton is.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segue.base.extras import import_extra
from segue.inference.skeletons import skeleton
from segue.structures.detections import Detections
from segue.structures.regions import Region

Row = dict[str, float | int | str]
# Measures that the pixel size turns into um, and the power of it that does.
PHYSICAL = {
    "area": 2,
    "perimeter": 1,
    "length": 1,
    "skeleton_length": 1,
    "width_mean": 1,
    "width_max": 1,
}


def measurements(
    detections: Detections, pixels: Tensor, channels: Sequence[str], um_per_px: float | None
) -> list[Row]:
    """One row for each object; the first has id 1, as in label images and names of ROIs.

    pixels (C, H, W): the image as its file has it, so that intensities are the file's values.
    channels: their C names. um_per_px: the pixel size; without it there are no columns in um.

    Raises:
        PlanError: if scikit-image is not installed.
    """
    values = pixels.numpy()
    rows = []
    for i in range(len(detections)):
        region = detections.region(i)
        x0, y0, x1, y1 = region.window
        row: Row = {"id": i + 1, "class": detections.names[i], "score": float(detections.scores[i])}
        row |= shape(region.bits, x0, y0)
        row |= dict(
            zip(
                ("box_x0", "box_y0", "box_x1", "box_y1"),
                detections.boxes_xyxy[i].tolist(),
                strict=True,
            )
        )
        for name, light in zip(channels, values[:, y0:y1, x0:x1][:, region.bits], strict=True):
            row |= _intensity(name, light)
        if um_per_px is not None:
            row |= {f"{name}_um{'2' * (power == 2)}": float(row[name]) * um_per_px**power
                    for name, power in PHYSICAL.items()}  # fmt: skip
        rows.append(row)
    return rows


def shape(bits: np.ndarray, x: int = 0, y: int = 0) -> dict[str, float | int]:
    """Measures of a bool raster (h, w) whose corner is at x, y; 0 or NaN if it is empty.

    Lengths in pixels, area in square pixels. perimeter: scikit-image's estimate, of outer and inner
    outlines, right to about 5 %. length: along the skeleton, all branches, and from its ends
    straight on to the outline; for a tube, from tip to tip. orientation: of the longest axis, in
    degrees, from 0 up to 180, from the x axis, counter-clockwise as seen on the screen. aspect: the
    ratio of the axes, at least 1.

    Raises:
        PlanError: if scikit-image is not installed.
    """
    line = skeleton(bits)
    rows, columns = np.nonzero(bits)
    orientation, aspect = axes(bits)
    return {
        "area": len(rows),
        "perimeter": float(
            import_extra("skimage.measure", "measurements").perimeter(np.pad(bits, 1))
        ),
        "length": line.length + line.to_ends,
        "skeleton_length": line.length,
        "width_mean": line.width_mean,
        "width_max": line.width_max,
        "branch_points": line.branch_points,
        "end_points": line.end_points,
        "centroid_x": float(columns.mean()) + x + 0.5 if len(columns) else math.nan,
        "centroid_y": float(rows.mean()) + y + 0.5 if len(rows) else math.nan,
        "orientation": orientation,
        "aspect": aspect,
    }


def axes(bits: np.ndarray) -> tuple[float, float]:
    """Of the ellipse with the second moments of a bool raster (h, w): its orientation in degrees,
    0 up to 180, and the ratio of its axes, at least 1; NaN if the raster is empty.
    """
    rows, columns = np.nonzero(bits)
    if not len(rows):
        return math.nan, math.nan
    # A pixel is a square, not a point, and the second moment of a unit interval is 1 / 12. Without
    # it, a line one pixel wide would have no second axis.
    spread = np.cov(np.stack([columns, rows]), bias=True) + np.eye(2) / 12
    low, high = np.linalg.eigvalsh(spread)
    angle = math.degrees(math.atan2(-2 * spread[0, 1], spread[0, 0] - spread[1, 1])) / 2
    return angle % 180, float(np.sqrt(high / low))


def columns(channels: Sequence[str], um_per_px: float | None) -> list[str]:
    """The names of the columns that `measurements` gives, after the image's, also where there is no
    object.
    """
    # Measure an object of one pixel: a list of names would have to be kept in step with `shape`.
    box_xyxy, label = torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.zeros(1, dtype=torch.int64)
    region = Region.of(np.ones((1, 1), dtype=bool))
    pixel = Detections(box_xyxy, torch.ones(1), label, ("any",), (1, 1), regions=(region,))
    return ["image", *measurements(pixel, torch.zeros(len(channels), 1, 1), channels, um_per_px)[0]]


def as_csv(rows: Sequence[Row], first: Sequence[str] = ()) -> str:
    """All rows as CSV under one header, which begins with the names of `first`; a cell that a row
    does not have stays empty.
    """
    names = list(dict.fromkeys([*first, *(name for row in rows for name in row)]))
    text = io.StringIO()
    table = csv.DictWriter(text, names, lineterminator="\n")
    table.writeheader()
    table.writerows({name: _shown(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _shown(value: float | int | str) -> float | int | str:
    return value if not isinstance(value, float) else "" if math.isnan(value) else round(value, 4)


def _intensity(name: str, light: np.ndarray) -> dict[str, float]:
    total = float(light.sum(dtype=np.float64))
    low, high = (light.min(), light.max()) if light.size else (math.nan, math.nan)
    mean = total / light.size if light.size else math.nan
    return {
        f"{name}_mean": mean,
        f"{name}_min": float(low),
        f"{name}_max": float(high),
        f"{name}_integrated": total,
    }
