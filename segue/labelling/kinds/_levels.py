"""Objects by level: components of rising thresholds nest, and each object is clearest at one level.

Components of all thresholds make a tree (a max-tree, or component tree). Each is compared with the
ellipse of the same moments; walking from the highest level down, a component stands for itself if
it is about as good an ellipse as those inside it are together. So two nuclei that touch at a low
level are two, if there is a level at which they are apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage import morphology

# how much worse an object may be than its own brighter core: prefers whole objects
SOLE_MARGIN = 0.05
MANY_MARGIN = 0.03  # how much worse a whole may be than its pieces together


@dataclass(slots=True)
class _Level:
    """The N components at one threshold, numbered from 1; index 0 is what lies below.

    numbers: (P,) the component of each pixel of the lowest level. areas: (N + 1,) in pixels. fits:
    (N + 1,) IoU with an ellipse. parents: (N + 1,) the component of the next lower level. itself:
    (N + 1,) bool, whether a component stands for itself rather than for those inside it.
    """

    numbers: np.ndarray
    areas: np.ndarray
    fits: np.ndarray
    parents: np.ndarray
    itself: np.ndarray


def ellipse_fits(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas in pixels, and the IoU with the ellipse of the same moments, of the objects of labels
    (H, W); both (N + 1,), from 0, which is the background.
    """
    where = np.flatnonzero(labels)
    which = labels.ravel()[where]
    count = int(which.max(initial=0)) + 1
    y, x = np.divmod(where, labels.shape[1])

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(which, values, count) / np.maximum(areas, 1)

    areas = np.bincount(which, minlength=count).astype(np.float64)
    dx, dy = x - mean(x)[which], y - mean(y)[which]
    # 1/12 is the variance of a square of side 1: a pixel is an area, not a point
    xx, yy, xy = mean(dx * dx) + 1 / 12, mean(dy * dy) + 1 / 12, mean(dx * dy)
    determinant = np.maximum(xx * yy - xy * xy, 1e-6)
    distance = (yy[which] * dx * dx - 2 * xy[which] * dx * dy + xx[which] * dy * dy) / determinant[
        which
    ]
    # a uniform ellipse reaches to two standard deviations along each axis, and its area is
    # 4 pi sqrt(det)
    inside = np.bincount(which, distance <= 4, count)
    return areas, inside / np.maximum(areas + 4 * np.pi * np.sqrt(determinant) - inside, 1)


def best_objects(
    plane: np.ndarray, thresholds: np.ndarray, smallest: float, opened_by: int
) -> np.ndarray:
    """Labels (H, W), int32, of the objects of a plane (H, W), each at the threshold that shows it
    best.

    thresholds: rising. smallest: area of an object, in pixels. opened_by: radius, in pixels, of
    what counts as a speck.
    """
    levels, inside = _levels(plane, thresholds, smallest, opened_by)
    # from the top down: is a component as good an ellipse as the best of what is inside it?
    best = levels[-1].fits
    for level, above in zip(levels[-2::-1], levels[:0:-1], strict=True):
        weights = np.where(above.areas >= smallest, above.areas, 0)
        total = np.bincount(above.parents, weights, len(level.areas))
        pieces = np.bincount(above.parents, weights * best, len(level.areas)) / np.maximum(total, 1)
        several = np.bincount(above.parents, weights > 0, len(level.areas)) > 1
        level.itself = level.fits + np.where(several, MANY_MARGIN, SOLE_MARGIN) >= pieces
        best = np.maximum(level.fits, pieces)
    # from the bottom up: the first component that stands for itself is an object
    chosen = np.zeros(len(inside), dtype=np.int32)
    count, reached = 0, np.ones(1, dtype=bool)
    for level in levels:
        reached = reached[level.parents]
        taken = np.flatnonzero(reached & level.itself & (level.fits > 0))
        numbers = np.zeros(len(reached), dtype=np.int32)
        numbers[taken] = count + 1 + np.arange(len(taken))
        count += len(taken)
        chosen = np.where(numbers[level.numbers] > 0, numbers[level.numbers], chosen)
        reached &= ~level.itself
    labels = np.zeros(plane.shape, dtype=np.int32)
    labels.ravel()[inside] = chosen
    return labels


def _levels(
    plane: np.ndarray, thresholds: np.ndarray, smallest: float, opened_by: int
) -> tuple[list[_Level], np.ndarray]:
    """The tree, lowest level first, and the flat positions (P,) of the lowest level's pixels."""
    levels: list[_Level] = []
    inside = np.zeros(0, dtype=np.int64)
    for threshold in thresholds:
        mask = ndimage.binary_fill_holes(
            morphology.opening(plane > threshold, morphology.disk(opened_by))
        )
        labels, count = ndimage.label(mask)
        if not levels:
            inside = np.flatnonzero(labels)
        areas, fits = ellipse_fits(labels)
        fits[areas < smallest] = 0
        numbers = labels.ravel()[inside]
        parents = np.zeros(count + 1, dtype=np.int64)
        if levels:
            parents[numbers] = levels[-1].numbers
        parents[0] = 0
        levels.append(_Level(numbers, areas, fits, parents, np.ones(count + 1, dtype=bool)))
    return levels, inside
