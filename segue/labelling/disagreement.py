"""Assessing an image for labelling: its objects, how far views of it disagree, and its features.

A model detects objects in the image and its mirror images; an algorithm in the image and, with the
same settings, at half of its size. Where they are sure, all views find the same (the disagreement
of a committee, as in active learning). Features are a vector: the frozen backbone's maps, averaged
over the image; without a model, how grey levels are distributed and how rough they are.
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
MIRRORS = ((-1,), (-2,), (-2, -1))  # axes that are flipped
PERCENTILES = (1, 10, 25, 50, 75, 90, 99)
MOST_APART = 2  # times, of two guesses at the size of the same objects
ROUGHNESS = (1, 2, 4, 8)  # pixels between which grey levels are compared


@dataclass(frozen=True, slots=True)
class Assessment:
    """What an assessor says about an image.

    disagreement: of the views, 0..1; None if there was only one view. features: (D,) float.
    """

    detections: Detections
    disagreement: float | None
    features: np.ndarray


@dataclass(frozen=True, slots=True)
class Assessor:
    """A way to assess images.

    source: what its objects are from. assess: takes an image's file and its name. features: takes
    the file; an image that is labelled already needs nothing else. channels: of a model; some may
    lie in partner folders (`data/images/multi_file.py`). threshold: of a model, the lowest score.
    """

    source: str
    assess: Callable[[Path, str], Assessment]
    features: Callable[[Path], np.ndarray]
    channels: tuple[Channel, ...] = ()
    threshold: float | None = None


def model_assessor(predictor: Predictor, threshold: float, tiling: Tiling = WHOLE) -> Assessor:
    """Assess with a model and the mirror images.

    threshold: the lowest score of an object. tiling: how images are cut to find objects; features
    are those of the whole image.
    """

    def assess(path: Path, _name: str) -> Assessment:
        pixels = multi_file.read(path, predictor.chain.spec.channels)
        detections = _compressed(predict_tiled(predictor, pixels, tiling, threshold))
        mirrored = [
            mirror(predict_tiled(predictor, pixels.flip(axes), tiling, threshold), axes)
            for axes in MIRRORS
        ]
        return Assessment(
            detections,
            disagreement(detections, mirrored),
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
    """Assess with the image processing of `segue label auto`, at full and at half size."""

    def assess(path: Path, _name: str) -> Assessment:
        pixels = read_any(path)
        um = job.um or pixel_size_um(path)
        height, width = pixels.shape[-2:]
        # a last odd row or column has no partner to be averaged with
        even = pixels[:, : height // 2 * 2, : width // 2 * 2].float()
        half = F.avg_pool2d(even, 2).round().to(pixels.dtype)
        first = find(pixels, job, um)
        second = find(half, job, um and 2 * um)
        # the guesses at half size were of something else: repeat with those of the full size
        if not _alike(first, second):
            second = find(half, with_estimates(job, first, pixels, um), um and 2 * um)
        detections = _of_shapes(first.shapes, (height, width), job.class_name, 1)
        smaller = _of_shapes(second.shapes, (height, width), job.class_name, 2)
        return Assessment(detections, disagreement(detections, [smaller]), statistics(pixels))

    return Assessor("algorithm", assess, lambda path: statistics(read_any(path)))


def _alike(full: Finding, half: Finding) -> bool:
    """Whether both found one kind of object: in one channel, both dark or bright, at half size half
    as large.

    Where they differ more, the image at half size is too small to guess from (few objects of 8 px
    at 160 px are), or the guess is of something else; neither says anything about the objects in
    the full image.
    """
    same = (full.plane, full.dark) == (half.plane, half.dark)
    return same and full.width / MOST_APART < 2 * half.width < full.width * MOST_APART


def label_assessor(records: Mapping[str, Record], classes: Sequence[str]) -> Assessor:
    """Take the labels that exist, which are a single view; an image without any has no objects."""

    def assess(path: Path, name: str) -> Assessment:
        pixels = read_any(path)
        record = records.get(name) or Record(path, pixels.shape[-2], pixels.shape[-1], 0)
        return Assessment(_of_record(record, tuple(classes)), None, statistics(pixels))

    return Assessor("algorithm", assess, lambda path: statistics(read_any(path)))


def disagreement(detections: Detections, others: Sequence[Detections]) -> float:
    """How far views differ on average, 0..1: 0 if all find the same objects, 1 if they share none.

    Objects of one class are paired, best IoU first. A pair agrees by its IoU times the lower of its
    scores; a view's weight is the sum of its scores, so that what is hardly seen hardly counts.
    """
    return float(np.mean([1 - _agreement(detections, other) for other in others]))


def _agreement(a: Detections, b: Detections) -> float:
    total = float(a.scores.sum() + b.scores.sum())
    if total == 0:
        return 1.0
    areas_a = [a.region(i).area for i in range(len(a))]
    areas_b = [b.region(j).area for j in range(len(b))]
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


def mirror(detections: Detections, axes: Sequence[int]) -> Detections:
    """Objects of a mirror image as those of the image, to the pixel.

    axes: -1 if left and right are exchanged, -2 top and bottom.
    """
    height, width = detections.size
    regions = []
    for region in (detections.region(i) for i in range(len(detections))):
        x = width - region.x - region.width if -1 in axes else region.x
        y = height - region.y - region.height if -2 in axes else region.y
        regions.append(
            Region.of(np.flip(region.bits, tuple(axes)), x, y) if region.counts else region
        )
    x0, y0, x1, y1 = detections.boxes_xyxy.unbind(-1)
    left, right = (width - x1, width - x0) if -1 in axes else (x0, x1)
    top, bottom = (height - y1, height - y0) if -2 in axes else (y0, y1)
    boxes_xyxy = torch.stack([left, top, right, bottom], -1)
    return replace(detections, boxes_xyxy=boxes_xyxy, mask_logits=None, regions=tuple(regions))


def statistics(pixels: Tensor) -> np.ndarray:
    """Features (9,) of an image (C, H, W) without a model: five percentiles of its grey levels, and
    the mean difference of pixels at each of four distances.

    Both are shares of the span between the outer percentiles, so that 8 and 16 bits mean the same
    and a few hot pixels do not count.
    """
    grey = pixels.float().mean(0).numpy()
    levels = np.percentile(grey, PERCENTILES)
    span = max(float(levels[-1] - levels[0]), 1e-9)
    rough = []
    for step in ROUGHNESS:
        coarse = grey[::step, ::step].clip(levels[0], levels[-1])
        differences = []
        for axis in (0, 1):
            if coarse.shape[axis] > 1:
                differences.append(np.abs(np.diff(coarse, axis=axis)).mean() / span)
        rough.append(np.mean(differences) if differences else 0.0)
    return np.array([*(levels[1:-1] - levels[0]) / span, *rough])


def _compressed(detections: Detections) -> Detections:
    """Masks as regions, not logits: those of all images are kept until the pick is made."""
    return moved(detections, (0, 0, 0, 0), detections.size)


def _of_shapes(
    shapes: Sequence[Shape], size: tuple[int, int], class_name: str, times: int
) -> Detections:
    """Shapes of an image that is `times` smaller, as detections in an image of `size`."""
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
    """Detections with the best score first."""
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
