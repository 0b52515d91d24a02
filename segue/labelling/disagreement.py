"""Looking at an image in several ways: what is found in it, how far the views differ, and what it
looks like.

A model looks at the image and its mirror images; an algorithm at the image and, for the same kind
of objects, at half of its size. Where both are sure they find the same. What it looks like is a
vector: the frozen backbone's maps, averaged over the image, or, without a model, how its grey
levels are spread and how rough it is at several scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segue.data.images import multi_file
from segue.data.images.pixel_size import pixel_size_um
from segue.data.records import Record
from segue.inference.predict import Predictor
from segue.inference.tiles import Tiling, moved, predict_tiled
from segue.labelling.auto import LabelJob, find, read_any, with_estimates
from segue.labelling.kinds import Finding, Shape
from segue.structures.channels import Channel
from segue.structures.detections import Detections
from segue.structures.masks import Rle, bitmap, coco_rle
from segue.structures.regions import Region, overlap

WHOLE = Tiling()
MIRRORS = ((-1,), (-2,), (-2, -1))  # axes that are turned round
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
MOST_APART = 2  # times, of two guesses at the size of the same objects
ROUGHNESS = (1, 2, 4, 8)  # pixels between which grey levels are compared


@dataclass(frozen=True, slots=True)
class Assessment:
    """An image as it was looked at.

    disagreement: of the views, 0..1, None if there was one; features (D,) float.
    """

    detections: Detections
    disagreement: float | None
    features: np.ndarray


@dataclass(frozen=True, slots=True)
class Assessor:
    """A way to look at images, which are named by file and by their name. features: only what it
    looks like.

    source: what its objects are from.
    channels: of a model; some may lie in partner folders (`data/images/multi_file.py`).
    threshold: of a model, above which something is found.
    """

    source: str
    assess: Callable[[Path, str], Assessment]
    features: Callable[[Path], np.ndarray]
    channels: tuple[Channel, ...] = ()
    threshold: float | None = None


def model_assessor(predictor: Predictor, threshold: float, tiling: Tiling = WHOLE) -> Assessor:
    """Looks with a model.

    tiling: how images are cut to find objects; what they look like is of the whole.
    """

    def assess(path: Path, _name: str) -> Assessment:
        pixels = multi_file.read(path, predictor.chain.spec.channels)
        found = _compressed(predict_tiled(predictor, pixels, tiling, threshold))
        mirrored = [
            mirror(predict_tiled(predictor, pixels.flip(axes), tiling, threshold), axes)
            for axes in MIRRORS
        ]
        return Assessment(
            found,
            disagreement(found, mirrored),
            predictor.features(predictor.pixels(pixels)).numpy(),
        )

    channels = predictor.chain.spec.channels
    return Assessor(
        "model",
        assess,
        lambda path: predictor.features(predictor.pixels(path)).numpy(),
        channels,
        threshold,
    )


def kind_assessor(job: LabelJob) -> Assessor:
    """Looks with the image processing of `segue label auto`."""

    def assess(path: Path, _name: str) -> Assessment:
        pixels = read_any(path)
        um = job.um or pixel_size_um(path)
        height, width = pixels.shape[-2:]
        even = pixels[:, : height // 2 * 2, : width // 2 * 2].float()
        half = F.avg_pool2d(even, 2).round().to(pixels.dtype)
        first = find(pixels, job, um)
        second = find(half, job, um and 2 * um)
        if not _alike(first, second):
            second = find(half, with_estimates(job, first, pixels, um), um and 2 * um)
        found = _of_shapes(first.shapes, (height, width), job.class_name, 1)
        smaller = _of_shapes(second.shapes, (height, width), job.class_name, 2)
        return Assessment(found, disagreement(found, [smaller]), statistics(pixels))

    return Assessor("algorithm", assess, lambda path: statistics(read_any(path)))


def _alike(full: Finding, half: Finding) -> bool:
    """Whether both are of one kind of object: in one channel, both dark or bright, and in half the
    size half as large.

    Where the guesses differ more, half of the image is too small for them (few objects of 8 px at
    160 px are), or they are of something else; neither says anything about what was found in the
    full image.
    """
    same = (full.plane, full.dark) == (half.plane, half.dark)
    return same and full.width / MOST_APART < 2 * half.width < full.width * MOST_APART


def label_assessor(records: Mapping[str, Record], classes: Sequence[str]) -> Assessor:
    """Takes the labels that there are, which are one view; images without any have no objects."""

    def assess(path: Path, name: str) -> Assessment:
        pixels = read_any(path)
        record = records.get(name) or Record(path, pixels.shape[-2], pixels.shape[-1], 0)
        return Assessment(_of_record(record, tuple(classes)), None, statistics(pixels))

    return Assessor("algorithm", assess, lambda path: statistics(read_any(path)))


def disagreement(found: Detections, others: Sequence[Detections]) -> float:
    """How far views differ, on average: 0 if all find the same objects, 1 if they share none.

    Objects of one class are paired, best IoU first. A pair agrees by its IoU, as far as both scores
    go; a view's weight is the sum of its scores, so that what is hardly seen hardly counts.
    """
    return float(np.mean([1 - _agreement(found, other) for other in others]))


def _agreement(a: Detections, b: Detections) -> float:
    total = float(a.scores.sum() + b.scores.sum())
    if total == 0:
        return 1.0
    areas_a, areas_b = ([one.region(i).area for i in range(len(one))] for one in (a, b))
    pairs = []
    for i, label in enumerate(a.labels.tolist()):
        for j in (b.labels == label).nonzero()[:, 0].tolist():
            shared = overlap(a.region(i), b.region(j))
            if shared:
                pairs.append((-shared / (areas_a[i] + areas_b[j] - shared), i, j))
    free_a, free_b, agreed = set(range(len(a))), set(range(len(b))), 0.0
    for iou, i, j in sorted(pairs):
        if i in free_a and j in free_b:
            free_a.discard(i)
            free_b.discard(j)
            agreed += 2 * min(float(a.scores[i]), float(b.scores[j])) * -iou
    return agreed / total


def mirror(found: Detections, axes: Sequence[int]) -> Detections:
    """Objects of a mirror image as those of the image.

    axes: -1 if left and right are exchanged, -2 top and bottom.
    """
    height, width = found.size
    regions = []
    for region in (found.region(i) for i in range(len(found))):
        x = width - region.x - region.width if -1 in axes else region.x
        y = height - region.y - region.height if -2 in axes else region.y
        regions.append(
            Region.of(np.flip(region.bits, tuple(axes)), x, y) if region.counts else region
        )
    x0, y0, x1, y1 = found.boxes_xyxy.unbind(-1)
    left, right = (width - x1, width - x0) if -1 in axes else (x0, x1)
    top, bottom = (height - y1, height - y0) if -2 in axes else (y0, y1)
    boxes_xyxy = torch.stack([left, top, right, bottom], -1)
    return replace(found, boxes_xyxy=boxes_xyxy, mask_logits=None, regions=tuple(regions))


def statistics(pixels: Tensor) -> np.ndarray:
    """What an image (C, H, W) looks like without a model: where its grey levels lie, and its
    roughness at each scale.

    Levels are relative to what the image has of them, so that 8 and 16 bits mean the same.
    """
    grey = pixels.float().mean(0).numpy()
    levels = np.percentile(grey, PERCENTILES)
    span = max(float(levels[-1] - levels[0]), 1e-9)
    rough = []
    for step in ROUGHNESS:
        seen = grey[::step, ::step].clip(levels[0], levels[-1])
        apart = [
            np.abs(np.diff(seen, axis=axis)).mean() / span
            for axis in (0, 1)
            if seen.shape[axis] > 1
        ]
        rough.append(np.mean(apart) if apart else 0.0)
    return np.array([*(levels[1:-1] - levels[0]) / span, *rough])


def _compressed(found: Detections) -> Detections:
    return moved(found, (0, 0, 0, 0), found.size)


def _of_shapes(
    shapes: Sequence[Shape], size: tuple[int, int], class_name: str, times: int
) -> Detections:
    """Shapes of an image that is `times` smaller."""
    regions = [
        Region.of(shape.mask.repeat(times, 0).repeat(times, 1), shape.x * times, shape.y * times)
        for shape in shapes
    ]
    return _detections(
        regions, [shape.quality for shape in shapes], [0] * len(shapes), (class_name,), size
    )


def _of_record(record: Record, classes: tuple[str, ...]) -> Detections:
    size = record.height, record.width
    objects = [a for a in record.annotations if not a.crowd and a.mask is not None]
    regions = [
        Region.of(*bitmap(Rle(*size, coco_rle(a.mask, *size)["counts"])))
        for a in objects
        if a.mask is not None
    ]
    labels = [classes.index(a.class_name) for a in objects]
    return _detections(regions, [a.quality for a in objects], labels, classes, size)


def _detections(
    regions: list[Region],
    scores: list[float],
    labels: list[int],
    classes: tuple[str, ...],
    size: tuple[int, int],
) -> Detections:
    """Best score first."""
    order = sorted(range(len(regions)), key=lambda i: -scores[i])
    regions = [regions[i] for i in order]
    return Detections(
        torch.tensor([region.window for region in regions], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([scores[i] for i in order], dtype=torch.float32),
        torch.tensor([labels[i] for i in order], dtype=torch.int64),
        classes,
        size,
        regions=tuple(regions),
    )
