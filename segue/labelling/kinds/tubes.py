"""Long thin objects that cross (myotubes, fibres, filaments).

A ridge filter of the objects' own width; a threshold that is global, local, and goes on where a
ridge goes on; the skeleton, cut where lines meet; pieces joined where one goes on in the other; and
each line widened to the width it has in the image. So masks overlap: a crossing belongs to both
tubes. Every length follows from the width of the tubes, given or found out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy import ndimage
from skimage import filters, morphology

from segue.base import settings as base
from segue.labelling.kinds import Finding, Shape, Show, unseen
from segue.labelling.kinds._lines import joined, near_junctions, pieces
from segue.labelling.kinds._planes import Polarity, clearest
from segue.structures.strokes import around, raster, resampled

CLASS, LENGTH = "tube", "width"
SMALLEST_WIDTH = 2.0  # pixels; below it a line has no inside
# sigma of what counts as uneven light before a width is known, as a share of the longer side
BACKGROUND = 0.03
SIGMAS = (0.25, 0.35, 0.5)  # of the ridge filter, in widths: a bar answers most at 0.29

# In widths: how much is cut off where lines meet, because they bend there and are shared; shortest
# piece that is looked at; and how much of a piece tells where it is going.
CUT, SHORTEST_PIECE, REACH = 0.5, 0.4, 2.0


class Settings(base.Settings):
    """How tubes are looked for. Lengths are in widths of a typical tube, but for the first.

    width: of a typical tube, in micrometres (scale known) or thousandths of the image's longer
    side; found out if left open. channel: its name (red, green, blue) or number from 0; that with
    the clearest objects if left open. polarity: whether objects are brighter or darker than what is
    around them. smooth: sigma. high, low: where a ridge begins and how weak it may become, as
    shares of the global threshold. surroundings: how far the local threshold looks. gap, degrees:
    how far apart and how bent two pieces may be that are one tube. least: shortest tube. contrast:
    least difference to the surroundings, in deviations of the noise. trust: an image whose objects
    have a lower mean quality is doubtful.
    """

    width: float | None = Field(None, gt=0)
    channel: str = ""
    polarity: Polarity = "auto"
    smooth: float = Field(0.1, ge=0)
    high: float = Field(1.0, gt=0)
    low: float = Field(0.4, gt=0)
    surroundings: float = Field(8.0, gt=0)
    gap: float = Field(8.0, ge=0)
    degrees: float = Field(35.0, ge=0, le=90)
    least: float = Field(6.0, ge=0)
    contrast: float = Field(1.5, ge=0)
    trust: float = Field(0.6, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class _Tube:
    """One tube.

    points: (P, 2), x and y along the middle, half a pixel apart. halves: (P,) half widths in
    pixels. seen: share of the length that is not in a gap, 0..1. rise: how much brighter the middle
    is than both sides.
    """

    points: np.ndarray
    halves: np.ndarray
    seen: float
    rise: float


def find(
    image: np.ndarray, settings: Settings, pixels_per_unit: float, show: Show = unseen
) -> Finding:
    """Detect tubes in an image (H, W, C) of any type.

    pixels_per_unit: pixels of a unit of length in `settings`. show: called after each step.

    Raises:
        DataError: if the image has no channel that the settings name.
    """
    chosen = clearest(image, settings.channel, settings.polarity)
    if not chosen.separation:
        return Finding((), chosen.name, chosen.dark, 0.0, "the image is one even colour")
    even = chosen.values - ndimage.gaussian_filter(chosen.values, BACKGROUND * max(image.shape))
    show("1-normalised", even)
    width = settings.width * pixels_per_unit if settings.width else _typical_width(even)
    if width is None:
        return Finding((), chosen.name, chosen.dark, 0.0, "nothing stands out from the background")
    width = max(width, SMALLEST_WIDTH)
    plane = ndimage.gaussian_filter(chosen.values, settings.smooth * width)
    show("2-denoised", plane)
    ridges = filters.sato(plane, sigmas=[sigma * width for sigma in SIGMAS], black_ridges=False)
    show("3-ridges", ridges)
    mask = _threshold(ridges, width, settings)
    show("4-threshold", mask)
    skeleton = morphology.skeletonize(mask)
    near = near_junctions(skeleton, CUT * width)
    lines = [line for line in pieces(skeleton & ~near) if len(line) >= SHORTEST_PIECE * width]
    show("5-pieces", _drawn(lines, plane.shape))
    chains = joined(lines, settings.gap * width, settings.degrees, REACH * width)
    show("6-joined", _drawn([np.concatenate(chain) for chain in chains], plane.shape))
    noise = _noise(chosen.values)
    tubes = [tube for chain in chains if (tube := _tube(chain, near, plane, width, settings))]
    kept = [tube for tube in tubes if tube.rise >= settings.contrast * noise]
    shapes = _shapes(kept, noise, plane.shape)
    return Finding(
        shapes, chosen.name, chosen.dark, round(width, 1), _doubt(shapes, mask, settings)
    )


def _typical_width(even: np.ndarray) -> float | None:
    """Twice the median distance from the skeleton of what stands out to its edge, in pixels; None
    if nothing does.
    """
    smooth = ndimage.gaussian_filter(even, 0.7)
    mask = smooth > filters.threshold_otsu(smooth)
    mask = morphology.remove_small_objects(mask, max_size=max(8, int(mask.size * 1e-4)))
    distance = np.asarray(ndimage.distance_transform_edt(mask))[morphology.skeletonize(mask)]
    return float(2 * np.median(distance) - 0.5) if len(distance) else None


def _threshold(ridges: np.ndarray, width: float, settings: Settings) -> np.ndarray:
    """Ridges that are strong somewhere, and stronger than what is around them everywhere."""
    level = float(filters.threshold_otsu(ridges))
    mask = filters.apply_hysteresis_threshold(ridges, settings.low * level, settings.high * level)
    mask &= ridges > ndimage.gaussian_filter(ridges, settings.surroundings * width / 2)
    return morphology.remove_small_objects(mask, max_size=int(width * width))


def _noise(values: np.ndarray) -> float:
    """The standard deviation of the noise, from second differences, which structures hardly change.

    0.6745 turns the median absolute value into a deviation; sqrt(6) is that of 1, -2, 1.
    """
    across = values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]
    return max(float(np.median(np.abs(across))) / 0.6745 / 6**0.5, 1e-6)


def _tube(
    chain: list[np.ndarray], near: np.ndarray, plane: np.ndarray, width: float, settings: Settings
) -> _Tube | None:
    """A chain of pieces as one line with its own width; None if it is too short."""
    line = np.concatenate(chain)
    line = _to_junction(_to_junction(line, near, width)[::-1], near, width)
    points = resampled(line)
    # sigma is half a width, as points are half a pixel apart: a skeleton zigzags by a pixel
    points = ndimage.gaussian_filter1d(points, width, axis=0, mode="nearest")
    length = float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())
    if length < settings.least * width:
        return None
    gaps = sum(float(np.linalg.norm(b[0] - a[-1])) for a, b in zip(chain, chain[1:], strict=False))
    halves, rise = _half_widths(points, plane, width)
    return _Tube(points, halves, max(0.0, 1 - gaps / length), rise)


def _to_junction(line: np.ndarray, near: np.ndarray, width: float) -> np.ndarray:
    """A line (P, 2) that was cut off at a junction, extended straight to where the lines meet."""
    x, y = line[-1].astype(int)
    if not near[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any():
        return line
    before = line[max(0, len(line) - 1 - int(REACH * width))]
    way = (line[-1] - before) / max(float(np.linalg.norm(line[-1] - before)), 1e-9)
    return np.concatenate([line, line[-1:] + CUT * width * way])


def _half_widths(points: np.ndarray, plane: np.ndarray, width: float) -> tuple[np.ndarray, float]:
    """(P,) half the width at half maximum across a line, smooth along it, and how much brighter its
    middle is.
    """
    tangent = np.gradient(points, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    offsets = np.linspace(0, 1.5 * width, 25)
    sides = []
    for side in (1, -1):
        at = points[:, None] + side * offsets[:, None] * normal[:, None]  # P, offsets, 2
        sides.append(
            ndimage.map_coordinates(plane, [at[..., 1], at[..., 0]], order=1, mode="nearest")
        )
    profiles = np.stack(sides)  # 2, P, offsets
    middle = profiles[0, :, :3].mean(1)
    floor = profiles.min(2)  # 2, P
    half = (middle + floor)[..., None] / 2
    # the first offset below half maximum; where there is none, the last
    outside = (profiles < half).argmax(2)
    outside[(profiles >= half).all(2)] = len(offsets) - 1
    halves = offsets[outside].mean(0)
    # a crossing tube widens the profile: the median over 6 widths along the line ignores it
    window = max(3, int(2 * 6 * width) | 1)
    steady = ndimage.median_filter(halves, size=min(window, len(halves) | 1), mode="nearest")
    return np.clip(steady, 0.3 * width, 1.0 * width), float(np.median(middle - floor.mean(0)))


def _shapes(tubes: list[_Tube], noise: float, size: tuple[int, int]) -> tuple[Shape, ...]:
    """Masks, longest tube first.

    Quality: how much of it is seen, times how far it stands out of the noise.
    """
    shapes = []
    for tube in sorted(tubes, key=lambda tube: -len(tube.points)):
        pixels, distances, nearest = around(tube.points, float(tube.halves.max()), *size)
        inside = pixels[distances <= tube.halves[nearest]]
        if len(inside):
            clear = tube.rise**2 / (tube.rise**2 + 4 * noise**2)
            shapes.append(Shape(*raster(inside), round(float(np.clip(tube.seen * clear, 0, 1)), 3)))
    return tuple(shapes)


def _drawn(lines: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Lines as labels (H, W), three pixels thick, for those who look."""
    labels = np.zeros(size, dtype=np.int32)
    for number, line in enumerate(lines, 1):
        x, y = line.astype(int).T
        labels[y, x] = number
    return ndimage.grey_dilation(labels, size=3)


def _doubt(shapes: tuple[Shape, ...], mask: np.ndarray, settings: Settings) -> str:
    """Why the whole image may be labelled wrongly."""
    if not shapes:
        return "nothing found"
    if mask.mean() > 0.5:
        return "objects cover most of the image"
    mean = float(np.mean([shape.quality for shape in shapes]))
    if mean < settings.trust:
        return (
            f"objects hardly stand out of the noise: mean quality {mean:.3f}, below "
            f"{settings.trust:g}"
        )
    return ""
