"""Objects that touch, taken apart: in each clump the way whose pieces are the best ellipses."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage import feature, measure, segmentation

from segue.labelling.kinds._levels import ellipse_fits

CUT_COST = 0.03  # how much better ellipses the pieces of a clump must be than the whole
DISTANCE_COST = 0.06  # the same for cuts that follow from the outline alone, not from brightness


def split_clumps(mask: np.ndarray, by_level: np.ndarray, radius: float, apart: float) -> np.ndarray:
    """Labels (H, W) of the objects of a mask: each clump whole, cut between its best levels, or cut
    at its necks, whichever gives the best ellipses.

    by_level: labels of `best_objects`. radius: of a typical object, in pixels. apart: how close two
    centres may be, in radii.
    """
    mask = mask | (by_level > 0)
    whole, count = ndimage.label(mask)
    seeds = _necks_cut(by_level, radius, apart)
    # clumps that no level picked stay whole
    dim = whole * ~np.isin(whole, whole[seeds > 0])
    seeds = np.where(dim > 0, dim + seeds.max(), seeds)
    grown = segmentation.watershed(np.zeros(mask.shape), seeds, mask=mask)
    ways = ((whole, 0.0), (grown, CUT_COST), (_necks_cut(whole, radius, apart), DISTANCE_COST))
    best, chosen = np.full(count + 1, -np.inf), np.zeros(count + 1, dtype=int)
    for number, (labels, cost) in enumerate(ways):
        areas, fits = ellipse_fits(labels)
        clump = np.zeros(len(areas), dtype=int)
        clump[labels.ravel()] = whole.ravel()
        # against cutting everything into specks, each a good ellipse
        fits = fits - 0.3 * (areas < np.pi * radius**2 / 2)
        score = (
            np.bincount(clump, areas * fits, count + 1)
            / np.maximum(np.bincount(clump, areas, count + 1), 1)
            - cost
        )
        chosen[score > best] = number
        best = np.maximum(best, score)
    result = np.zeros_like(whole)
    for number, (labels, _) in enumerate(ways):
        result = np.where((chosen[whole] == number) & (labels > 0), labels + result.max(), result)
    return result


def _necks_cut(labels: np.ndarray, radius: float, apart: float) -> np.ndarray:
    """Each object cut by a watershed from the points deepest inside, if its pieces are better
    ellipses than itself.

    The depth is smoothed, because a rough outline has many deepest points.
    """
    result, count = np.zeros_like(labels), 0
    for region in measure.regionprops(labels):
        whole = np.pad(region.image, 1)
        depth = ndimage.gaussian_filter(
            np.asarray(ndimage.distance_transform_edt(whole)), 0.1 * radius
        )
        peaks = feature.peak_local_max(
            depth,
            min_distance=max(2, round(apart * radius)),
            labels=whole.astype(int),
            exclude_border=False,
        )
        pieces = whole.astype(np.int32)
        if len(peaks) > 1:
            seeds = np.zeros(whole.shape, dtype=np.int32)
            seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
            cut = segmentation.watershed(-depth, seeds, mask=whole)
            if _mean_fit(cut) > _mean_fit(pieces):
                pieces = cut
        view = result[region.slice]
        view[region.image] = pieces[1:-1, 1:-1][region.image] + count
        count += int(pieces.max())
    return result


def _mean_fit(labels: np.ndarray) -> float:
    """How good ellipses the objects are; larger ones count more."""
    areas, fits = ellipse_fits(labels)
    return float((areas * fits).sum() / areas.sum())
