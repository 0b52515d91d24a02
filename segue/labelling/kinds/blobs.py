"""Roundish objects (nuclei, cells, colonies).

Smooth; threshold against the surroundings; take apart what touches, in three ways, and keep for
each clump the one whose parts are the best ellipses; move each outline to where the object is half
as bright as inside; drop what hardly stands out. Every length follows from the radius of the
objects, given or found out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field
from scipy import ndimage
from skimage import feature, filters, measure, morphology, segmentation

from segue.base import settings as base
from segue.labelling.kinds import Finding, Shape, Show, _levels, unseen
from segue.labelling.kinds._clumps import split_clumps
from segue.labelling.kinds._planes import Polarity, clearest

CLASS, LENGTH = "blob", "diameter"
SMALLEST_RADIUS = 2.5  # pixels; below it shapes are noise
LEVELS = 24  # thresholds that are tried
MOST_COVERED = 0.6  # share of the image; above it the threshold was probably too low
LEAST_CLARITY = 2.5  # see _clarity


class Settings(base.Settings):
    """How blobs are looked for. Lengths are in radii of a typical object, but for the first.

    diameter: of a typical object, in micrometres (scale known) or thousandths of the image's longer
    side; found out if left open. channel: its name (red, green, blue) or number from 0; that with
    the clearest objects if left open. polarity: whether objects are brighter or darker than what is
    around them. smooth: sigma. surroundings: how far the local threshold looks. floor: least
    brightness, from the background (0) to the global threshold (1). apart: how close two centres
    may be. least: smallest radius that counts. contrast: least difference to the surroundings, as a
    share of what is typical in the image. trust: an image whose objects have a lower mean quality
    is doubtful.
    """

    diameter: float | None = Field(None, gt=0)
    channel: str = ""
    polarity: Polarity = "auto"
    smooth: float = Field(0.1, ge=0)
    surroundings: float = Field(3.0, gt=0)
    floor: float = Field(0.35, ge=0, le=1)
    apart: float = Field(0.9, gt=0)
    least: float = Field(0.25, ge=0)
    contrast: float = Field(0.3, ge=0, le=1)
    trust: float = Field(0.8, ge=0, le=1)


def find(
    image: np.ndarray, settings: Settings, pixels_per_unit: float, show: Show = unseen
) -> Finding:
    """Detect blobs in an image (H, W, C) of any type.

    pixels_per_unit: pixels of a unit of length in `settings`. show: called after each step.

    Raises:
        DataError: if the image has no channel that the settings name.
    """
    chosen = clearest(image, settings.channel, settings.polarity)
    show("1-normalised", chosen.values)
    if not chosen.separation:
        return Finding((), chosen.name, chosen.dark, 0.0, "the image is one even colour")
    radius = _radius(chosen.values, settings, pixels_per_unit)
    if radius is None:
        return Finding((), chosen.name, chosen.dark, 0.0, "nothing stands out from the background")
    plane = ndimage.gaussian_filter(chosen.values, settings.smooth * radius)
    show("2-denoised", plane)
    otsu = float(filters.threshold_otsu(plane))
    background = float(np.median(plane[plane <= otsu]))
    smallest = 2 * np.pi * (settings.least * radius) ** 2
    lowest = background + settings.floor * (otsu - background)
    mask = _threshold(plane, otsu, lowest, radius, settings)
    show("3-threshold", mask)
    highest = float(np.percentile(plane[plane > otsu], 90))
    thresholds = np.linspace(lowest, max(highest, lowest + 1e-6), LEVELS)
    by_level = _levels.best_objects(plane, thresholds, smallest, _opening(radius))
    show("4-best-levels", by_level)
    labels = split_clumps(mask, by_level, radius, settings.apart)
    show("5-split", labels)
    labels = _to_half_maximum(plane, labels, radius, background)
    show("6-outlines", labels)
    shapes = _shapes(plane, labels, radius, smallest, settings.contrast)
    doubt = _doubt(shapes, _clarity(plane, labels, radius), float(mask.mean()), settings)
    return Finding(shapes, chosen.name, chosen.dark, round(2 * radius, 1), doubt)


def _radius(plane: np.ndarray, settings: Settings, pixels_per_unit: float) -> float | None:
    """Half a typical object's thickness in pixels: as set, or of what a global threshold shows;
    large ones count more.

    None if there is nothing.
    """
    if settings.diameter:
        return max(settings.diameter * pixels_per_unit / 2, SMALLEST_RADIUS)
    smooth = ndimage.gaussian_filter(plane, 0.7)
    first = ndimage.binary_fill_holes(
        morphology.opening(smooth > filters.threshold_otsu(smooth), morphology.disk(1))
    )
    distance = np.asarray(ndimage.distance_transform_edt(first))
    peaks = feature.peak_local_max(
        distance, min_distance=3, labels=measure.label(first), exclude_border=False
    )
    if not len(peaks):
        return None
    # the median by area, not by number: specks are many, and cover little
    radii = np.sort(distance[tuple(peaks.T)])
    areas = np.cumsum(radii**2)
    return max(float(radii[np.searchsorted(areas, areas[-1] / 2)]), SMALLEST_RADIUS)


def _opening(radius: float) -> int:
    """Radius in pixels of what counts as a speck or a spur."""
    return max(1, round(0.08 * radius))


def _threshold(
    plane: np.ndarray, otsu: float, lowest: float, radius: float, settings: Settings
) -> np.ndarray:
    """Brighter than what is around it; and the inside of objects so large that they are their own
    surroundings.
    """
    around = filters.threshold_local(
        plane, 2 * round(settings.surroundings * radius) + 1, method="gaussian"
    )
    # the second term is the inside of large objects, which is no brighter than its surroundings
    inside = np.median(plane[plane > otsu])
    mask = ((plane > around) & (plane > lowest)) | (plane > otsu + 0.6 * (inside - otsu))
    mask = ndimage.binary_fill_holes(morphology.opening(mask, morphology.disk(_opening(radius))))
    return morphology.remove_small_objects(
        mask, max_size=int(2 * np.pi * (settings.least * radius) ** 2)
    )


def _to_half_maximum(
    plane: np.ndarray, labels: np.ndarray, radius: float, background: float
) -> np.ndarray:
    """Each outline moved to half-way between the object's inside and its surroundings.

    A threshold for the whole image makes bright objects too large and dim ones too small. An object
    stays in its own zone, so that it does not grow into its neighbours.
    """
    zones = segmentation.expand_labels(labels, distance=max(2, 0.35 * radius))
    moved, reach = np.zeros_like(labels), int(max(3, 0.5 * radius))
    for region in measure.regionprops(labels):
        window = _around(region.bbox, reach)
        values, inside = plane[window], labels[window] == region.label
        outside = values[labels[window] == 0]
        around = float(np.median(outside)) if outside.size > 10 else background
        half = (np.percentile(values[inside], 75) + around) / 2
        mask = morphology.opening(
            (zones[window] == region.label) & (values > half), morphology.disk(_opening(radius))
        )
        # what falls apart keeps its largest piece: an object is in one piece
        pieces, count = ndimage.label(ndimage.binary_fill_holes(mask))
        if count:
            largest = int(np.argmax(np.bincount(pieces.ravel())[1:])) + 1
            moved[window][pieces == largest] = region.label
    return moved


def _around(box: tuple[int, int, int, int], reach: int) -> tuple[slice, slice]:
    y0, x0, y1, x1 = box
    return slice(max(0, y0 - reach), y1 + reach), slice(max(0, x0 - reach), x1 + reach)


def _shapes(
    plane: np.ndarray, labels: np.ndarray, radius: float, smallest: float, contrast: float
) -> tuple[Shape, ...]:
    """Objects that are large enough and stand out.

    Quality: how good an ellipse, times how clear for this image.
    """
    regions = measure.regionprops(labels)
    rise = {
        region.label: _rise(plane, labels, region, max(2, round(0.2 * radius)))
        for region in regions
    }
    typical = float(np.median(list(rise.values()))) if rise else 1.0
    _, fits = _levels.ellipse_fits(labels)
    kept = [r for r in regions if r.area >= smallest and rise[r.label] >= contrast * typical]
    qualities = [fits[r.label] * min(1.0, rise[r.label] / max(typical, 1e-9)) ** 0.5 for r in kept]
    return tuple(
        Shape(int(r.bbox[1]), int(r.bbox[0]), r.image, round(float(np.clip(quality, 0, 1)), 3))
        for r, quality in zip(kept, qualities, strict=True)
    )


def _rise(plane: np.ndarray, labels: np.ndarray, region: Any, width: int) -> float:
    """How much brighter an object is than the darker part of a ring around it."""
    window = _around(region.bbox, width + 1)
    inside = labels[window] == region.label
    ring = ndimage.binary_dilation(inside, iterations=width) & ~inside
    return (
        float(np.median(plane[window][inside]) - np.percentile(plane[window][ring], 30))
        if ring.any()
        else 0.0
    )


def _clarity(plane: np.ndarray, labels: np.ndarray, radius: float) -> float:
    """How far objects rise above the deviation of what is around them, the median of all.

    About 2 in pure noise, whose maxima are clarities as objects; 3 and more in images.
    """
    empty = ~ndimage.binary_dilation(labels > 0, iterations=2)
    clarities = []
    for region in measure.regionprops(labels):
        window = _around(region.bbox, round(radius) + 2)
        values = plane[window][empty[window]]
        if values.size > 10:
            # 1.4826: from median absolute to standard deviation
            spread = 1.4826 * np.median(np.abs(values - np.median(values))) + 1e-3
            clarities.append(_rise(plane, labels, region, max(2, round(0.2 * radius))) / spread)
    return float(np.median(clarities)) if clarities else 0.0


def _doubt(shapes: tuple[Shape, ...], clarity: float, covered: float, settings: Settings) -> str:
    """Why the whole image may be labelled wrongly, and which settings to try."""
    lower, higher = (
        f"floor={value:.2g}" for value in (settings.floor / 2, (1 + settings.floor) / 2)
    )
    if not shapes:
        return f"nothing found; try {lower} or diameter=SIZE"
    if covered > MOST_COVERED:
        return (
            f"objects cover {covered:.0%} of the image; try {higher}, polarity=dark|bright or "
            "diameter=SIZE"
        )
    if clarity < LEAST_CLARITY:
        reason = (
            f"objects rise only {clarity:.1f} times as high as their surroundings vary, "
            "which noise does too"
        )
        return f"{reason}; try {higher}, diameter=SIZE or another --channel"
    mean = float(np.mean([shape.quality for shape in shapes]))
    if mean < settings.trust:
        reason = (
            f"objects are unlike ellipses or hardly stand out: mean quality {mean:.3f}, "
            f"below {settings.trust:g}"
        )
        return f"{reason}; try {higher} or diameter=SIZE"
    return ""
