"""A small synthetic data set for instance segmentation: microscopy-like cells, rods and tubes with
exact, overlapping masks.

For the demo and the tests: real enough to learn from, made in seconds, the same on every machine
for a seed. An object's polygon is the ground truth and the image is rendered from it, so a crossing
belongs to both tubes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy import ndimage

from segue.structures.masks import raster_polygon

CLASSES = ("cell", "rod", "tube")
EMPTY_SHARE = 0.06
BLURRED_BY = 0.7


def render_dataset(
    root: Path,
    images: dict[str, int],
    side: int = 192,
    seed: int = 0,
    objects: tuple[int, int] = (3, 10),
) -> Path:
    """Write PNG files of side x side pixels for each split, with COCO polygons; returns root.

    images: how many for each split. objects: fewest and most in an image; EMPTY_SHARE of the images
    have none.
    """
    for split, count in images.items():
        folder = root / split
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([seed, sorted(("test", "train", "valid", split)).index(split)])
        entries: dict[str, list[Any]] = {"images": [], "annotations": [], "categories": []}
        entries["categories"] = [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)]
        for number in range(count):
            objects_wanted = 0
            if rng.random() >= EMPTY_SHARE:
                objects_wanted = int(rng.integers(objects[0], objects[1] + 1))
            pixels, shapes = render_image(rng, side, objects_wanted)
            name = f"{split}_{number:04d}.png"
            Image.fromarray(pixels).save(folder / name, compress_level=1)
            entries["images"].append(
                {"id": number, "file_name": name, "height": side, "width": side}
            )
            for kind, polygon in shapes:
                entries["annotations"].append(_annotation(entries, number, kind, polygon))
        (folder / "_annotations.coco.json").write_text(json.dumps(entries))
    return root


def _annotation(
    entries: dict[str, list[Any]], image: int, kind: str, polygon: np.ndarray
) -> dict[str, Any]:
    low, high = polygon.min(0), polygon.max(0)
    return {
        "id": len(entries["annotations"]) + 1,
        "image_id": image,
        "category_id": CLASSES.index(kind) + 1,
        "bbox": [round(float(v), 2) for v in (*low, *(high - low))],
        "segmentation": [[round(float(v), 2) for v in polygon.ravel()]],
        "iscrowd": 0,
    }


def render_image(
    rng: np.random.Generator, side: int, objects: int
) -> tuple[np.ndarray, list[tuple[str, np.ndarray]]]:
    """An image, uint8 (side, side, 3), and its objects as (class, polygon (V, 2) in pixels, inside
    the image).

    objects: how many to try for; fewer where they would cover each other.
    """
    uneven = Image.fromarray(rng.normal(0.15, 0.03, (5, 5)).astype(np.float32))
    light = np.asarray(uneven.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)
    canvas = np.repeat(light[..., None], 3, axis=2)
    shapes: list[tuple[str, np.ndarray]] = []
    boxes: list[tuple[np.ndarray, np.ndarray]] = []
    for _ in range(objects * 4):  # some are refused below
        if len(shapes) == objects:
            break
        kind = CLASSES[int(rng.integers(3))]
        polygon = np.clip(_SHAPES[kind](rng, side), 0, side)
        low, high = polygon.min(0), polygon.max(0)
        covered = max((_share_covered(low, high, other) for other in boxes), default=0.0)
        if (high - low).min() < 0.02 * side or (covered > 0.45 and kind != "tube"):
            continue
        boxes.append((low, high))
        shapes.append((kind, polygon))
        _draw(canvas, polygon, kind, rng)
    canvas = ndimage.gaussian_filter(canvas, (BLURRED_BY, BLURRED_BY, 0))
    noise = rng.normal(0, 0.025, (side, side, 1)) + rng.normal(0, 0.01, (side, side, 3))
    return (np.clip(canvas + noise, 0, 1) * 255).astype(np.uint8), shapes


def _share_covered(
    low: np.ndarray, high: np.ndarray, other: tuple[np.ndarray, np.ndarray]
) -> float:
    """The share of a box's area, 0..1, that another box covers; boxes as lower and upper corner."""
    overlap = np.clip(np.minimum(high, other[1]) - np.maximum(low, other[0]), 0, None).prod()
    return float(overlap / max((high - low).prod(), 1e-9))


def _cell(rng: np.random.Generator, side: int) -> np.ndarray:
    """A wobbly disc."""
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    radius = rng.uniform(0.055, 0.1) * side
    wobble = np.zeros_like(angle)
    for waves in (2, 3, 4):
        wobble += rng.uniform(0, 0.06) * np.cos(waves * angle + rng.uniform(0, 6.3))
    around = np.stack([np.cos(angle), np.sin(angle)], 1) * (radius * (1 + wobble))[:, None]
    return rng.uniform(0.06, 0.94, 2) * side + around


def _rod(rng: np.random.Generator, side: int) -> np.ndarray:
    """A short straight capsule."""
    length, width = rng.uniform(0.12, 0.2) * side, rng.uniform(0.035, 0.05) * side
    return _stroke(np.linspace([-length / 2, 0], [length / 2, 0], 6), width, rng, side)


def _tube(rng: np.random.Generator, side: int) -> np.ndarray:
    """A long curved stroke that may leave the image."""
    steps, length = 24, rng.uniform(0.28, 0.52) * side
    heading = np.cumsum(rng.normal(0, 0.08, steps) + rng.normal(0, 0.05))
    # never around in a circle, into itself
    heading *= min(1.0, 2.4 / max(float(np.ptp(heading)), 1e-6))
    centre = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * length / steps, 0)
    return _stroke(centre - centre.mean(0), rng.uniform(0.035, 0.055) * side, rng, side)


def _stroke(line: np.ndarray, width: float, rng: np.random.Generator, side: int) -> np.ndarray:
    """The outline of a line (P, 2) of a width with round ends, turned and put somewhere."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], 1)
    # around an end, from one side to the other
    half = np.linspace(np.pi / 2, -np.pi / 2, 7)[1:-1, None]
    end = line[-1] + width / 2 * (np.cos(half) * tangent[-1] + np.sin(half) * normal[-1])
    start = line[0] - width / 2 * (np.cos(half) * tangent[0] + np.sin(half) * normal[0])
    outline = np.concatenate(
        [line + normal * width / 2, end, (line - normal * width / 2)[::-1], start]
    )
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return outline @ rotation.T + rng.uniform(0.1, 0.9, 2) * side


_SHAPES: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "cell": _cell,
    "rod": _rod,
    "tube": _tube,
}


def _draw(canvas: np.ndarray, polygon: np.ndarray, kind: str, rng: np.random.Generator) -> None:
    """Add an object's light to the canvas (H, W, 3)."""
    side = len(canvas)
    x0, y0 = np.maximum(np.floor(polygon.min(0)).astype(int) - 1, 0)
    x1, y1 = np.minimum(np.ceil(polygon.max(0)).astype(int) + 1, side)
    inside = raster_polygon([polygon], (x0, y0, x1, y1))
    depth = np.asarray(ndimage.distance_transform_edt(inside))
    deepest = max(depth.max(), 1e-6)
    strength = rng.uniform(0.8, 1.2)
    if kind == "cell":  # bright rim, dim body, brighter nucleus
        light = (
            inside * 0.16
            + 0.3 * np.exp(-((depth - 1.5) ** 2) / 3) * inside
            + 0.22 * (depth > 0.55 * deepest)
        )
        tint = (0.75, 1.0, 0.85)
    elif kind == "rod":  # brightest along its middle
        light, tint = 0.55 * np.sqrt(depth / deepest), (1.0, 0.85, 0.6)
    else:  # striped along its length
        ys, xs = np.mgrid[y0:y1, x0:x1]
        stripes = 0.5 + 0.5 * np.cos((xs + ys) * 2 * np.pi / (0.03 * side))
        light, tint = inside * (0.22 + 0.1 * stripes) + 0.1 * depth / deepest, (0.7, 0.8, 1.0)
    canvas[y0:y1, x0:x1] += strength * light[..., None] * np.array(tint)
