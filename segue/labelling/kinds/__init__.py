"""Kinds of objects that classical image processing can find: one module each, found by its file
name.

A kind is a module with

    CLASS                                                what one of its objects is called
    Settings                                             how it looks; every length is relative, or a length of yours;
                                                         with channel, polarity, and the length
                                                         called LENGTH
    LENGTH                                               the setting for a typical object's diameter or width
    find(image, settings, pixels_per_unit, show)         the objects of an image (H, W, C), as a Finding

`find` works in named steps and calls show(name, array) after each. A length of yours (a diameter, a
width) is in micrometres where the scale of an image is known, and otherwise in thousandths of its
longer side: `pixels_per_unit` says how many pixels that is. What is found are labels, not truth:
each object has a quality, each image may have a doubt, a reason not to trust it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from segue.base.extras import import_extra
from segue.base.plugins import find_module, modules_in

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


def names() -> list[str]:
    """All kinds, sorted."""
    return modules_in(__path__)


def get(name: str) -> ModuleType:
    """The kind called `name`: one of ours, or a dotted path of yours.

    Raises:
        PlanError: if there is none, or scikit-image is not installed.
    """
    import_extra("skimage", f"--kind {name}")
    return find_module(__name__, names(), name, f"--kind {name}")
