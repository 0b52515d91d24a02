"""Images whose channels lie in several files: a picture, and those of other cameras next to it.

A channel with a `folder` takes its values from the image of the same name, with any suffix, in that
folder (`paired_files` says where it is looked for). Channels that name one folder are the channels
of its file, in their order. A grey file is one channel, or three equal ones; three equal channels
become one. Whatever reads pixels for a model reads them here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from segue.data.images import image_io
from segue.data.images.image_error import ImageError
from segue.data.images.paired_files import paired_file
from segue.data.images.value_scale import value_scaled
from segue.structures.channels import Channel


def read(image: Path, channels: Sequence[Channel]) -> Tensor:
    """Read an image (C, H, W) with these channels, from all its files.

    As `image_io.read` returns it: uint8 or uint16 as stored where all files have one type. Where
    they differ, float32 in 0..1, each channel by its value scale (percentiles are left to
    `value_scaled`), because a common integer type would stretch one file's levels to another's.

    Raises:
        DataError: if a paired file is missing, or has another height, width or number of channels;
        it names both files.
    """
    rows_of = files(image, channels)
    if list(rows_of) == [image]:
        return image_io.read(image, channels)
    pixels_of: dict[Path, Tensor] = {}
    for path, rows in rows_of.items():
        pixels_of[path] = _read_paired(path, image, [channels[row] for row in rows])
    # the picture itself may give no channel, but its annotations are in its pixels
    height, width = pixels_of[image].shape[1:] if image in pixels_of else image_io.size(image)
    for path, pixels in pixels_of.items():
        if pixels.shape[1:] != (height, width):
            sides = f"a partner of {pixels.shape[1]} x {pixels.shape[2]} pixels (height x width)"
            raise ImageError(
                "partner of another size",
                path,
                sides,
                f"{height} x {width}, as its partner {image}",
            )
    if len({pixels.dtype for pixels in pixels_of.values()}) > 1:
        for path, rows in rows_of.items():
            pixels_of[path] = _as_shares(pixels_of[path], [channels[row] for row in rows])
    planes: dict[int, Tensor] = {}
    for path, rows in rows_of.items():
        planes |= dict(zip(rows, pixels_of[path], strict=True))
    return torch.stack([planes[row] for row in range(len(channels))])


def files(image: Path, channels: Sequence[Channel]) -> dict[Path, list[int]]:
    """Each file that holds channels of an image, with the positions of these in `channels`.

    Raises:
        DataError: if a paired file is missing, or there are several.
    """
    rows_of: dict[Path, list[int]] = {}
    for folder in dict.fromkeys(channel.folder for channel in channels):
        rows = [row for row, channel in enumerate(channels) if channel.folder == folder]
        path = image if folder is None else paired_file(image, folder, channels[rows[0]].name)
        rows_of[path] = rows
    return rows_of


def _read_paired(path: Path, image: Path, channels: Sequence[Channel]) -> Tensor:
    """A file's channels (C, H, W); an error about a paired file names the image, too."""
    try:
        return image_io.read(path, channels)
    except ImageError as error:
        if path == image:
            raise
        names = ", ".join(channel.name for channel in channels)
        raise ImageError(
            error.kind,
            path,
            error.found,
            f"{error.expected} for {names}, as partner of {image}",
            error.next_step,
        ) from None


def _as_shares(pixels: Tensor, channels: Sequence[Channel]) -> Tensor:
    """Pixels (C, H, W) in 0..1 by each channel's value scale; by the largest value of the type
    where percentiles are still to come.
    """
    plain = []
    for channel in channels:
        divisor = None if channel.scale == "percentile" else channel.scale
        plain.append(channel.model_copy(update={"scale": divisor}))
    return value_scaled(pixels, plain)
