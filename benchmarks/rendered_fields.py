"""Fields of view, drawn: thin crossing tubes, touching nuclei, or dim cells around nuclei, in
uneven light; with truth.

Masks are amodal: where tubes cross, the crossing belongs to both. For tests and benchmarks of
labelling, and to train on; the same on every machine for a seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from scipy import ndimage

from segue.base.files import write_json
from segue.data.records import Annotation, Record
from segue.data.writing.coco import coco
from segue.structures.masks import encoded
from segue.structures.strokes import around, raster, resampled

Kind = Literal["tubes", "blobs", "cells"]
BLUR = 0.8  # pixels
NOISE = 0.03
TUBE_WIDTHS = (0.005, 0.0125)  # of the image's side: 4 to 10 px at 800
TUBE_LENGTHS = (0.2, 0.7)
# share of an object, by earlier ones
MOST_COVERED: dict[Kind, float] = {"tubes": 0.5, "blobs": 0.02, "cells": 0.15}


@dataclass(frozen=True, slots=True)
class Drawn:
    """One object: its pixels, bool (h, w), with the corner at x, y."""

    x: int
    y: int
    mask: np.ndarray


def render_field(
    rng: np.random.Generator, side: int, kind: Kind, objects: int
) -> tuple[np.ndarray, list[Drawn]]:
    """One field: float32 (side, side) in 0..1, objects bright, and its objects."""
    light = np.zeros((side, side))
    draw = _DRAW[kind]
    truth: list[Drawn] = []
    taken = np.zeros((side, side), dtype=bool)
    for _ in range(objects * 20):
        if len(truth) == objects:
            break
        pixels, values = draw(rng, side)
        if len(pixels) < 20:
            continue
        here = taken[pixels[:, 1], pixels[:, 0]]
        if here.mean() > MOST_COVERED[kind]:
            continue
        taken[pixels[:, 1], pixels[:, 0]] = True
        light[pixels[:, 1], pixels[:, 0]] += values
        truth.append(Drawn(*raster(pixels)))
    if kind == "tubes":
        _add_specks(rng, light)
    shade = _smooth_field(rng, side, 0.65, 1.25)
    field = ndimage.gaussian_filter(light * shade + _smooth_field(rng, side, 0.05, 0.2), BLUR)
    field = field + rng.normal(0, 1, field.shape) * NOISE * np.sqrt(0.3 + field)
    return np.clip(field, 0, 1).astype(np.float32), truth


def render_fields(
    root: Path,
    images: dict[str, int],
    kind: Kind,
    side: int = 400,
    seed: int = 0,
    objects: tuple[int, int] = (15, 40),
    bits: int = 8,
) -> Path:
    """Write `images[part]` PNG files for each part with COCO run lengths; returns root.

    bits: 8, or up to 16, which are stored in 16; what the file's values reach is 2**bits - 1.
    """
    for part, count in images.items():
        rng = np.random.default_rng([seed, sorted(("test", "train", "valid", part)).index(part)])
        records = []
        for number in range(count):
            field, truth = render_field(
                rng, side, kind, int(rng.integers(objects[0], objects[1] + 1))
            )
            path = root / part / f"{part}_{number:04d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.rint(field * (2**bits - 1)).astype(np.uint8 if bits == 8 else np.uint16)
            Image.fromarray(values).save(path, compress_level=1)
            annotations = tuple(_annotation(drawn, kind[:-1], side) for drawn in truth)
            records.append(Record(path, side, side, number + 1, annotations))
        content = coco(records, {kind[:-1]: 1}, lambda record: record.image.name)
        write_json(root / part / "_annotations.coco.json", content)
    return root


def _annotation(drawn: Drawn, class_name: str, side: int) -> Annotation:
    height, width = drawn.mask.shape
    box = (float(drawn.x), float(drawn.y), float(drawn.x + width), float(drawn.y + height))
    return Annotation(box, class_name, encoded(drawn.mask, drawn.x, drawn.y, side, side))


def _tube(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and light (N,) of a long curved line that may leave the image."""
    width, length = rng.uniform(*TUBE_WIDTHS) * side, rng.uniform(*TUBE_LENGTHS) * side
    steps = 40
    bend = ndimage.gaussian_filter1d(rng.normal(0, 1, steps), 6) * rng.uniform(0.05, 0.3)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(bend)
    line = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], 1) * length / steps, axis=0)
    points = resampled(line - line.mean(0) + rng.uniform(0.1, 0.9, 2) * side)
    pixels, distances, nearest = around(points, width / 2, side, side)
    waves = ndimage.gaussian_filter1d(rng.normal(0, 1, len(points)), 0.05 * side, mode="nearest")
    along = rng.uniform(0.25, 0.55) * (1 + 0.25 * waves / max(float(np.abs(waves).max()), 1e-9))
    across = 0.65 + 0.35 * np.sqrt(np.clip(1 - (distances / (width / 2)) ** 2, 0, 1))
    return pixels, along[nearest] * across


def _blob(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and light (N,) of a wobbly, mottled ellipse."""
    radius, centre = rng.uniform(0.018, 0.03) * side, rng.uniform(0, side, (1, 2))
    pixels, _, _ = around(centre, 1.6 * radius, side, side)
    turn, aspect = rng.uniform(0, np.pi), rng.uniform(0.7, 1)
    x, y = (pixels - centre).T
    u, v = (np.cos(turn) * x + np.sin(turn) * y) / aspect, -np.sin(turn) * x + np.cos(turn) * y
    wobble = 1 + 0.06 * np.cos(3 * np.arctan2(v, u) + rng.uniform(0, 6.3))
    pixels = pixels[np.hypot(u, v) <= radius * wobble]
    mottles = ndimage.gaussian_filter(rng.normal(0, 1, (64, 64)), 3, mode="wrap")
    texture = mottles[pixels[:, 1] % 64, pixels[:, 0] % 64] / mottles.std()
    return pixels, rng.uniform(0.25, 0.6) * (1 + 0.12 * texture)


def _cell(rng: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 2) and light (N,) of a dim wobbly disc with a bright nucleus somewhere inside."""
    radius, centre = rng.uniform(0.08, 0.14) * side, rng.uniform(0.03, 0.97, (1, 2)) * side
    pixels, _, _ = around(centre, 1.3 * radius, side, side)
    angle = np.arctan2(*(pixels - centre).T)
    reach = sum(
        rng.uniform(0, 0.07) * np.cos(waves * angle + rng.uniform(0, 6.3)) for waves in (2, 3, 4)
    )
    inside = np.hypot(*(pixels - centre).T) <= radius * (1 + reach)
    nucleus = centre + rng.uniform(-0.3, 0.3, (1, 2)) * radius
    core = np.hypot(*(pixels - nucleus).T) <= rng.uniform(0.4, 0.55) * radius
    light = rng.uniform(0.15, 0.3) + core * rng.uniform(0.22, 0.4)
    return pixels[inside], light[inside]


def _add_specks(rng: np.random.Generator, light: np.ndarray) -> None:
    """Round bright things that are no tubes."""
    side = len(light)
    for _ in range(int(rng.integers(8, 20))):
        centre, radius = rng.uniform(0, side, (1, 2)), rng.uniform(0.004, 0.014) * side
        pixels, distances, _ = around(centre, radius, side, side)
        light[pixels[:, 1], pixels[:, 0]] += rng.uniform(0.15, 0.45) * np.sqrt(
            np.clip(1 - distances / radius, 0, 1)
        )


def _smooth_field(rng: np.random.Generator, side: int, low: float, high: float) -> np.ndarray:
    coarse = Image.fromarray(rng.uniform(low, high, (4, 4)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)


_DRAW: dict[Kind, Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]] = {
    "tubes": _tube, "blobs": _blob, "cells": _cell,
}  # fmt: skip
