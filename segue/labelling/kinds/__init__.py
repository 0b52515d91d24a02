"""Kinds of objects that classical image processing can find: one module each, found by its file
name.

What a kind's module has to have is the Protocol `Kind`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np

from segue.base import settings as base
from segue.base.extras import import_extra
from segue.base.plugins import check_contract, find_module, modules_in

Show = Callable[[str, np.ndarray], None]


def unseen(_name: str, _step: np.ndarray) -> None:
    """A `show` for those who do not want to see the steps."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One object: its pixels, bool (h, w), with the corner at x, y of the image, and how much it
    looks like one.
    """

    x: int
    y: int
    mask: np.ndarray
    quality: float


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found in an image.

    plane: the channel that was looked at. dark: whether objects are darker than what is around
    them. width: typical diameter or width of an object in pixels, 0 if there is none. doubt: why
    not to trust it; empty if nothing is odd.
    """

    shapes: tuple[Shape, ...]
    plane: str
    dark: bool
    width: float
    doubt: str = ""


class Kind(Protocol):
    """What segue calls to label objects of this kind.

    CLASS: what one object is called. Settings: how an object looks, with at least the keys
    `channel`, `polarity` and the one named by LENGTH. LENGTH: the setting for a typical object's
    diameter or width.

    Lengths that a person sets are micrometres where an image's pixel size is known, and otherwise
    thousandths of its longer side; all others are relative to LENGTH.
    """

    __name__: str
    CLASS: str
    LENGTH: str
    Settings: type[base.Settings]

    def find(self, image: np.ndarray, settings: Any, pixels_per_unit: float, show: Show) -> Finding:
        """The objects of an image (H, W, C) of any type.

        pixels_per_unit: how many pixels a unit of the settings' lengths is. show: called as
        show(name, array) after each named step. The objects are labels, not ground truth: each has
        a quality, and the image may have a doubt.

        Raises:
            DataError: if the image has no channel that the settings name.
        """
        ...


def names() -> list[str]:
    """All kinds, sorted."""
    return modules_in(__path__)


def get(name: str) -> Kind:
    """The kind called `name`: one of ours, or a dotted path of yours.

    Raises:
        PlanError: if there is none, it lacks some of what a kind has to have, or scikit-image is
            not installed.
    """
    import_extra("skimage", f"--kind {name}")
    module = find_module(__name__, names(), name, f"--kind {name}")
    check_contract(module, Kind, f"--kind {name}")
    return cast(Kind, module)
