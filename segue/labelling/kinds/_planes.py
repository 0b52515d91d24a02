"""The plane of an image in which objects stand out, bright, in 0..1: every kind starts there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage
from skimage import filters

from segue.errors import DataError

Polarity = Literal["auto", "bright", "dark"]
COLOURS = ("red", "green", "blue")
# sigma of the smoothing before the planes are compared, as a share of the longer side
FIRST_LOOK = 1e-3


@dataclass(frozen=True, slots=True)
class Plane:
    """One plane of an image.

    values: (H, W) float64 in 0..1, objects bright. name: of the channel. dark: whether objects are
    dark in the image. separation: 0..1, the share of the variance that lies between the two classes
    of Otsu's threshold.
    """

    values: np.ndarray
    name: str
    dark: bool
    separation: float


def clearest(image: np.ndarray, channel: str = "", polarity: Polarity = "auto") -> Plane:
    """The plane of an image (H, W, C) whose bright and dark pixels differ most, or the one called
    `channel`.

    Objects are taken for dark if the brighter part covers more than half of the image and of its
    border.

    Raises:
        DataError: if the image has no such channel.
    """
    best: Plane | None = None
    for name, values in _planes(image, channel).items():
        smooth = ndimage.gaussian_filter(values, max(0.5, FIRST_LOOK * max(values.shape)))
        if not np.ptp(smooth):
            continue
        high = smooth > filters.threshold_otsu(smooth)
        # objects cover less than half of an image as a rule, and even less of its border
        border = np.concatenate([high[0], high[-1], high[:, 0], high[:, -1]])
        dark = bool(high.mean() + border.mean() > 1) if polarity == "auto" else polarity == "dark"
        share = float(high.mean())
        between = (
            share * (1 - share) * (smooth[high].mean() - smooth[~high].mean()) ** 2 / smooth.var()
        )
        if best is None or between > best.separation:
            best = Plane(_stretched(-values if dark else values), name, dark, float(between))
    return best or Plane(np.zeros(image.shape[:2]), "grey", False, 0.0)


def _planes(image: np.ndarray, channel: str) -> dict[str, np.ndarray]:
    """Planes (H, W), float64, by name: grey, red, green, blue, or numbers from 0."""
    count = image.shape[2]
    grey = count == 1 or (count == 3 and (image == image[..., :1]).all())
    called = COLOURS if count == 3 else ("grey",) if count == 1 else tuple(map(str, range(count)))
    planes = {name: image[..., number].astype(np.float64) for number, name in enumerate(called)}
    if grey and channel in ("", "grey"):
        return {"grey": planes[called[0]]}
    if not channel:
        return planes
    numbered = dict(zip(map(str, range(count)), called, strict=True))
    name = numbered.get(channel, channel)
    if name not in planes:
        raise DataError(
            f"--channel {channel}", f"an image with the channels {', '.join(called)}", "one of them"
        )
    return {name: planes[name]}


def _stretched(values: np.ndarray) -> np.ndarray:
    """Values clipped to two outer percentiles, as 0..1: hot pixels would leave the rest dark."""
    low, high = np.percentile(values, (0.5, 99.8))
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1)
