"""Learning from labels that an algorithm made: some are wrong, some objects have none, and outlines
are rough.
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

DIRECTIONS = 8  # in which the surroundings of a point are looked at
AT_ONCE = 256  # masks
MOSTLY = 0.5


class Noise(Settings):
    """What is known to be wrong with a stage's labels.

    quality: an object's terms count as much as its label's quality, 0..1. boundary: mask terms
    leave out points this close to a label's outline, in pixels of the frame the model sees. missed:
    a query that is at least this sure of an object which no label covers, where the image shows
    something, is not taught that nothing is there; off if None.
    """

    quality: bool = True
    boundary: float = Field(0.0, ge=0)
    missed: float | None = Field(None, gt=0, lt=1)


def away_from_outline(
    masks: PackedMasks, objects: Tensor, where: Tensor, wanted: Tensor, pixels: float
) -> Tensor:
    """Which points (T, P, 2) of masks `objects` (T,), with values `wanted` (T, P), have the same
    value all around.

    All around is `pixels` away in eight directions, on the grids the masks lie on; bool (T, P).
    """
    step = pixels / masks.grids[objects].flip(-1)  # (T, 2): x, y
    same = torch.ones_like(wanted, dtype=torch.bool)
    for number in range(DIRECTIONS):
        angle = 2 * math.pi * number / DIRECTIONS
        moved = where + step[:, None] * where.new_tensor([math.cos(angle), math.sin(angle)])
        same &= masks.sample(objects, moved.clamp(0, 1 - 1e-6)) == wanted
    return same


@torch.no_grad()
def spared(
    predictions: Predictions, targets: list[Target], matches: Matches, scores: Tensor, least: float
) -> Tensor | None:
    """Queries (B, L, Q) without an object that have perhaps found one which the labels miss.

    Their best score (of B, L, Q, K) is at least `least`, and at least half of their mask lies where
    the image shows something that no label covers. None if there are no masks to look at, or
    targets do not say where that is.
    """
    if predictions.masks is None or any(target.unexplained is None for target in targets):
        return None
    found = scores.amax(-1) >= least
    found[matches.image, matches.layer, matches.query] = False
    image, layer, query = found.nonzero().unbind(1)
    # (B, h, w)
    open_ground = torch.stack([_at_size(target, predictions.masks.size) for target in targets])
    shares = []
    for i in range(0, len(image), AT_ONCE):
        part = slice(i, i + AT_ONCE)
        masks = predictions.masks.at(image[part], layer[part], query[part]) > 0
        covered = (masks & open_ground[image[part]]).flatten(1).sum(1)
        shares.append(covered / masks.flatten(1).sum(1).clamp(min=1))
    if shares:
        found[image, layer, query] = torch.cat(shares) >= MOSTLY
    return found


def _at_size(target: Target, size: tuple[int, int]) -> Tensor:
    assert target.unexplained is not None
    return (
        F.interpolate(target.unexplained[None, None].float(), size, mode="nearest-exact")[0, 0] > 0
    )
