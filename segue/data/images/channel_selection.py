"""What a plan's channels take of a file that may have more of them, or planes.

Grey becomes three equal channels, and three equal ones become grey; transparency is dropped.
Channels that say where they are (`at`) are taken from there; without that a file has to have as
many as are wanted. Of a stack each channel takes what its `plane` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segue.data.images import tiff
from segue.data.images.image_error import ImageError
from segue.structures.channels import Channel


def select_channels(path: Path, planes: np.ndarray, wanted: Sequence[Channel]) -> np.ndarray:
    """The stack (P, C, H, W) with as many channels as wanted.

    Raises:
        DataError: if the file has others.
    """
    have = planes.shape[1]
    places = [channel.at for channel in wanted if channel.at is not None]
    if places:
        if max(places) >= have:
            found = f"{have} channels" + (", counted from 0" if have > 1 else "")
            raise ImageError(
                "other channels", path, found, f"one at {max(places)}, as data.channels say"
            )
        return planes[:, places]
    if have in (2, 4) and len(wanted) in (1, 3) and _last_is_transparency(path):
        planes = planes[:, :-1]
    have = planes.shape[1]
    if have == 1 and (len(wanted) == 3 or len({channel.plane for channel in wanted}) > 1):
        return np.broadcast_to(planes, (len(planes), len(wanted), *planes.shape[2:]))
    if len(wanted) == 1 and have == 3 and (planes == planes[:, :1]).all():
        return planes[:, :1]
    if have != len(wanted):
        deep = f" in {len(planes)} planes" if len(planes) > 1 else ""
        some = " (or at: for each)" if have > len(wanted) else ""
        raise ImageError("other channels", path, f"{have} channels{deep}", f"{len(wanted)}{some}")
    return planes


def project_planes(path: Path, planes: np.ndarray, wanted: Sequence[Channel]) -> np.ndarray:
    """(C, H, W) of a stack (P, C, H, W): each channel's projection or plane.

    Raises:
        DataError: if a plane is not there.
    """
    highest = max((channel.plane for channel in wanted if channel.plane != "max"), default=0)
    if highest >= len(planes):
        raise ImageError(
            "other channels",
            path,
            f"{len(planes)} planes",
            f"plane {highest}, counted from 0, as data.channels say",
        )
    taken = {
        plane: planes.max(0) if plane == "max" else planes[plane]
        for plane in {c.plane for c in wanted}
    }
    if len(taken) == 1:
        return next(iter(taken.values()))
    return np.stack([taken[channel.plane][number] for number, channel in enumerate(wanted)])


def _last_is_transparency(path: Path) -> bool:
    """Whether the second or fourth channel of a file is no colour but transparency; in microscopy
    it is a colour.
    """
    suffix = path.suffix.lower()
    return tiff.has_transparency(path) if suffix in (".tif", ".tiff") else suffix != ".npy"
