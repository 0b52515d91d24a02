"""Which images are copies of each other."""

from __future__ import annotations

import numpy as np

from segue.data.audit.images import best_match


def test_the_likest_earlier_picture_is_found_in_any_position():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(6, 16, 16)).astype(np.float32)
    values[4], values[5] = np.rot90(values[1]), values[2]
    values /= np.linalg.norm(values, axis=(1, 2), keepdims=True)
    likeness, which, turned = best_match(values, block=4)
    assert which[4:].tolist() == [1, 2] and turned[4:].tolist() == [True, False]
    assert (likeness[4:] > 0.999).all() and (likeness[:4] < 0.5).all()
