"""Learning from noisy labels (pseudo-labels, or those an algorithm made): some are wrong, some
objects have none, and outlines are rough.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from segue.base.settings import Settings
from segue.losses.matcher import Matches
from segue.structures.masks import PackedMasks
from segue.structures.predictions import Predictions
from segue.structures.target import Target

DIRECTIONS = 8  # in which the surroundings of a point are sampled
AT_ONCE = 256  # masks that are in memory together
MOSTLY = 0.5  # the share of a query's mask that must lie where labels may be missing


class Noise(Settings):
    """What is known to be wrong with a stage's labels.

    quality: an object's terms count as much as its label's quality, 0..1. boundary: mask terms
    leave out points at most this far from a label's outline, in pixels of the frame. missed: a
    query with at least this score (0..1) for an object that no label covers, where the image shows
    something, is not taught that nothing is there; off if None.
    """

    quality: bool = True
    boundary: float = Field(0.0, ge=0)
    missed: float | None = Field(None, gt=0, lt=1)


def away_from_outline(
    masks: PackedMasks, objects: Tensor, where: Tensor, true_values: Tensor, pixels: float
) -> Tensor:
    """Which points, bool (T, P), have the same value all around: `pixels` away in eight directions.

    where (T, P, 2): the points, x and y in 0..1, of masks `objects` (T,) int64. true_values (T, P):
    the masks' values there. pixels: of the frame the masks lie on.
    """
    # Samples around a point stand for the distance to the outline, which nobody has computed: eight
    # look-ups in packed bits are cheaper than a distance map of every mask.
    step = pixels / masks.grids[objects].flip(-1)  # (T, 2): x, y
    same = torch.ones_like(true_values, dtype=torch.bool)
    for number in range(DIRECTIONS):
        angle = 2 * math.pi * number / DIRECTIONS
        moved = where + step[:, None] * where.new_tensor([math.cos(angle), math.sin(angle)])
        # clamped: beyond the frame's border nothing says where an object ends
        same &= masks.sample(objects, moved.clamp(0, 1 - 1e-6)) == true_values
    return same


@torch.no_grad()
def spared(
    predictions: Predictions, targets: list[Target], matches: Matches, scores: Tensor, least: float
) -> Tensor | None:
    """Queries, bool (B, L, Q), without an object in the labels that have perhaps detected one which
    the labels miss.

    scores (B, L, Q, K) in 0..1. A query is spared if its best score is at least `least` and at
    least half of its mask lies where the image shows something that no label covers
    (`Target.unexplained`). None if the model has no masks, or targets do not say where that is.
    """
    if predictions.masks is None or any(target.unexplained is None for target in targets):
        return None
    candidates = scores.amax(-1) >= least
    candidates[matches.image, matches.layer, matches.query] = False
    image, layer, query = candidates.nonzero().unbind(1)
    unlabelled = torch.stack([_at_size(target, predictions.masks.size) for target in targets])
    # Masks are computed for candidates alone, and a few at a time: early in training a low `least`
    # makes candidates of thousands of queries.
    shares = []
    for i in range(0, len(image), AT_ONCE):
        chunk = slice(i, i + AT_ONCE)
        masks = predictions.masks.at(image[chunk], layer[chunk], query[chunk]) > 0
        covered = (masks & unlabelled[image[chunk]]).flatten(1).sum(1)
        shares.append(covered / masks.flatten(1).sum(1).clamp(min=1))
    if shares:
        candidates[image, layer, query] = torch.cat(shares) >= MOSTLY
    return candidates


def _at_size(target: Target, size: tuple[int, int]) -> Tensor:
    """Where no label covers what the image shows, bool (h, w) at a mask head's size."""
    assert target.unexplained is not None
    return (
        F.interpolate(target.unexplained[None, None].float(), size, mode="nearest-exact")[0, 0] > 0
    )
