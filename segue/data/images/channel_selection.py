"""What a plan's channels take of a file that may have more channels, or planes.

Grey becomes three equal channels, and three equal channels become grey; transparency is dropped.
Channels with a position (`at`) are taken from there; without one a file must have as many channels
as the plan. Of a stack each channel takes the plane that its `plane` names.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.data.images import tiff
from segue.data.images.image_error import ImageError
from segue.structures.channels import Channel


def select_channels(path: Path, planes: np.ndarray, channels: Sequence[Channel]) -> np.ndarray:
    """The stack (P, C, H, W) with one channel for each of `channels`, in their order; no copy is
    made.

    path: of the file, which an error names and whose suffix tells what a fourth channel is.

    Raises:
        DataError: if the file has fewer channels, or more than can be told apart.
    """
    have = planes.shape[1]
    places = [channel.at for channel in channels if channel.at is not None]
    if places:
        if max(places) >= have:
            counted = f"{have} channels" + (", counted from 0" if have > 1 else "")
            raise ImageError(
                "other channels", path, counted, f"one at {max(places)}, as data.channels say"
            )
        return planes[:, places]
    if have in (2, 4) and len(channels) in (1, 3) and _last_is_transparency(path):
        planes = planes[:, :-1]
    have = planes.shape[1]
    # one channel serves as three for models of colour, and as several that take a plane each
    if have == 1 and (len(channels) == 3 or len({channel.plane for channel in channels}) > 1):
        return np.broadcast_to(planes, (len(planes), len(channels), *planes.shape[2:]))
    # cameras and converters save grey as three equal channels
    if len(channels) == 1 and have == 3 and (planes == planes[:, :1]).all():
        return planes[:, :1]
    if have != len(channels):
        deep = f" in {len(planes)} planes" if len(planes) > 1 else ""
        choice = " (or at: for each)" if have > len(channels) else ""
        raise ImageError(
            "other channels", path, f"{have} channels{deep}", f"{len(channels)}{choice}"
        )
    return planes


def project_planes(path: Path, planes: np.ndarray, channels: Sequence[Channel]) -> np.ndarray:
    """An image (C, H, W) of a stack (P, C, H, W): each channel's maximum projection or plane.

    Raises:
        DataError: if the stack has no such plane.
    """
    highest = max((channel.plane for channel in channels if channel.plane != "max"), default=0)
    if highest >= len(planes):
        raise ImageError(
            "other channels",
            path,
            f"{len(planes)} planes",
            f"plane {highest}, counted from 0, as data.channels say",
        )
    # each projection once: of a large stack it is what takes the time
    images = {}
    for plane in {channel.plane for channel in channels}:
        images[plane] = planes.max(0) if plane == "max" else planes[plane]
    if len(images) == 1:
        return next(iter(images.values()))
    return np.stack([images[channel.plane][number] for number, channel in enumerate(channels)])


def _last_is_transparency(path: Path) -> bool:
    """Whether the second or fourth channel of a file is transparency.

    In microscopy's files it is one more stain, unless the file says otherwise.
    """
    suffix = path.suffix.lower()
    return tiff.has_transparency(path) if suffix in (".tif", ".tiff") else suffix != ".npy"
