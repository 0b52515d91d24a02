"""Which outlines cross themselves."""

from __future__ import annotations

import numpy as np

from segue.data.audit.outlines import Rings, crossing


def test_outlines_that_touch_do_not_cross():
    square, bow = (
        np.array([[0, 0], [9, 0], [9, 9], [0, 9]]),
        np.array([[0, 0], [9, 9], [9, 0], [0, 9]]),
    )
    pinched = np.array([[0, 0], [5, 5], [9, 0], [9, 9], [5, 5], [0, 9]])
    around = np.linspace(0, 2 * np.pi, 4000, endpoint=False)
    wave = np.stack([np.cos(around), np.sin(around)], 1) * (20 + np.cos(9 * around))[:, None]
    several = [
        square,
        bow,
        pinched,
        wave,
        wave[::-1],
        np.concatenate([wave[:2000][::-1], wave[2000:]]),
    ]
    starts = np.cumsum([0, *map(len, several)])[:-1]
    rings = Rings(np.concatenate(several).astype(float), starts, np.arange(len(several)), [])
    crosses, tangled = crossing(rings)
    assert crosses.tolist() == [False, True, False, False, False, True] and not tangled.any()


def test_a_scribble_is_given_up_in_time():
    scribble = np.random.default_rng(0).uniform(0, 100, (40_000, 2))
    crosses, tangled = crossing(Rings(scribble, np.array([0]), np.array([0]), []))
    assert tangled.all() and not crosses.any()
