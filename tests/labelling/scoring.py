"""How many true objects were found, and what a shape looks like at another size: for the tests of
the kinds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.rendered_fields import Drawn
from segue.labelling.kinds import Shape


def full(shape: Shape | Drawn, side: int) -> np.ndarray:
    """A shape as bool (side, side)."""
    mask = np.zeros((side, side), dtype=bool)
    height, width = shape.mask.shape
    mask[shape.y : shape.y + height, shape.x : shape.x + width] = shape.mask
    return mask


def right(shapes: Sequence[Shape | Drawn], truth: Sequence[Shape | Drawn], side: int) -> int:
    """True objects that have a found one with IoU above 0.5."""
    if not shapes or not truth:
        return 0
    a = np.stack([full(shape, side).ravel() for shape in shapes]).astype(np.float32)
    b = np.stack([full(shape, side).ravel() for shape in truth]).astype(np.float32)
    both = a @ b.T
    return int((both / (a.sum(1)[:, None] + b.sum(1)[None] - both) > 0.5).any(0).sum())


def f1(shapes: Sequence[Shape | Drawn], truth: Sequence[Shape | Drawn], side: int) -> float:
    return 2 * right(shapes, truth, side) / (len(shapes) + len(truth))


def halved(image: np.ndarray) -> np.ndarray:
    """(H, W) at half its size, by the mean of four pixels."""
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2).mean((1, 3))


def levels(image: np.ndarray, low: int = 0, high: int = 4095) -> np.ndarray:
    """Values 0..1 as uint16 (H, W, 1) from `low` to `high`."""
    return np.rint(low + image * (high - low)).astype(np.uint16)[..., None]
