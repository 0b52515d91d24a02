"""What a stored value means: divided by its channel's value scale, or placed between percentiles.

No two stored values become equal, so that nothing a sensor saw is lost on the way to the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from segue.data.images.image_error import ImageError
from segue.structures.channels import Channel


def as_levels(path: Path, image: np.ndarray, by_percentile: bool) -> np.ndarray:
    """Values of other types than uint8 and uint16 as uint16, or float32 in 0..1, losslessly.

    by_percentile: whether floating point beyond 0..1 may be mapped to it, as percentiles do not
    change by that. path: of the file, which an error names.

    Raises:
        DataError: if they are no numbers, not finite, or of a range that would lose levels.
    """
    if image.dtype.kind not in "iufb":
        raise ImageError("damaged image", path, f"values of type {image.dtype}", "numbers")
    low, high = float(image.min()), float(image.max())
    if not np.isfinite([low, high]).all():
        raise ImageError("damaged image", path, "values that are NaN or infinite", "finite numbers")
    if image.dtype.kind == "f" and low >= 0 and high <= 1:
        return image.astype(np.float32)
    if low >= 0 and high <= 65535 and (image.dtype.kind != "f" or (image == np.rint(image)).all()):
        return image.astype(np.uint16)
    if by_percentile:
        # in float64: float32 would merge neighbouring levels that lie far from 0
        return ((image.astype(np.float64) - low) / max(high - low, 1e-300)).astype(np.float32)
    expected = "0..1, whole numbers up to 65535, or scale: percentile for all of data.channels"
    raise ImageError(
        "damaged image",
        path,
        f"values of type {image.dtype} from {low:.4g} to {high:.4g}",
        expected,
    )


def value_scaled(image: Tensor, channels: Sequence[Channel]) -> Tensor:
    """An image (C, H, W) as float32 of the same shape, each channel by its `scale`.

    A number divides the values; without one the largest value of the type does, so that they lie in
    0..1. `percentile` maps two percentiles of the image to 0 and 1. Floating point is in 0..1
    already (`image_io.read`): only percentiles change it.
    """
    largest = 1.0 if image.is_floating_point() else float(torch.iinfo(image.dtype).max)
    values = image.float()
    if all(channel.scale != "percentile" for channel in channels):
        if image.is_floating_point():
            return values
        divisors = torch.tensor([channel.scale or largest for channel in channels])
        return values / divisors[:, None, None]
    rows = []
    for number, channel in enumerate(channels):
        if channel.scale == "percentile":
            rows.append(_between_percentiles(image[number], values[number], channel.percentiles))
        elif image.is_floating_point():
            rows.append(values[number] / largest)
        else:
            rows.append(values[number] / (channel.scale or largest))
    return torch.stack(rows)


def _between_percentiles(
    stored: Tensor, values: Tensor, percentiles: tuple[float, float]
) -> Tensor:
    """Values (H, W) with the lower percentile at 0 and the higher one at 1.

    Outside of them values continue as a logarithm: clipping would make levels equal, and a straight
    line would let a few hot pixels reach far.
    """
    low, high = _percentiles(stored.numpy(), percentiles)
    if high <= low:  # nearly all of the image is one value
        low, high = float(values.min()), float(values.max())
    values = (values - low) / (high - low if high > low else 1.0)
    values = torch.where(values > 1, 1 + values.clamp_min(1).log(), values)
    return torch.where(values < 0, -(-values.clamp_max(0)).log1p(), values)


def _percentiles(stored: np.ndarray, percentiles: tuple[float, float]) -> tuple[float, float]:
    """The smallest stored values that at least these shares of all values do not exceed."""
    if stored.dtype.kind == "f":
        low, high = np.percentile(stored, percentiles, method="inverted_cdf")
        return float(low), float(high)
    cumulative = np.bincount(stored.ravel()).cumsum()  # 20 times faster than sorting
    low, high = np.searchsorted(cumulative, np.array(percentiles) / 100 * cumulative[-1])
    return float(low), float(high)
