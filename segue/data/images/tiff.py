"""TIFF files as stacks (P, C, H, W): the axes that a file names tell planes from channels.

ImageJ and OME name theirs (C and S are channels; Z, T and all others planes). Pages of a file
without names are planes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

from segue.data.images.image_error import ImageError

MOST_VALUES = 1_000_000_000  # of a whole stack, which is decoded at once
MOST_BYTES = 4_000_000_000  # of the same
LARGEST_TILE = 1 << 24  # values
# Narrower pages are no images: unless told that C are channels, tifffile writes an array H x W x C
# as H pages of W x C.
NARROWEST = 16


def shape(path: Path) -> tuple[int, int, int, int]:
    """Planes, channels, height and width, from the headers alone.

    Raises:
        DataError: if the file holds images of several shapes, or the stack is too large. What
        tifffile raises (`image_io.UNREADABLE`): if the headers are damaged.
    """
    with tifffile.TiffFile(path) as file:
        axes, sizes = _layout(path, file)
    planes, channels, height, width = _lengths(axes, sizes)
    return planes, channels, height, width


def read(path: Path) -> np.ndarray:
    """Read the whole stack (P, C, H, W), of the type and with the values that are stored.

    Raises:
        DataError: as `shape` does. What tifffile raises: if the file is damaged.
    """
    with tifffile.TiffFile(path) as file:
        axes, sizes = _layout(path, file)
        values = np.stack([series.asarray() for series in _full_size(file)])
    # bring axes of one meaning together, then merge them: T and Z, say, become planes
    order: list[int] = []
    for positions in _positions(axes):
        order += positions
    return values.reshape(sizes).transpose(order).reshape(_lengths(axes, sizes))


def item_bits(path: Path) -> int:
    """Bits of a value as it is decoded, which is 16 for a file of 12.

    Raises:
        What tifffile raises (`image_io.UNREADABLE`): if the headers are damaged.
    """
    with tifffile.TiffFile(path) as file:
        return file.series[0].dtype.itemsize * 8


def has_transparency(path: Path) -> bool:
    """Whether the file declares its last channel to be transparency (the tag ExtraSamples)."""
    with tifffile.TiffFile(path) as file:
        extra = file.pages.first.extrasamples
    return bool(extra) and extra[-1] in (
        tifffile.EXTRASAMPLE.ASSOCALPHA,
        tifffile.EXTRASAMPLE.UNASSALPHA,
    )


def _full_size(file: tifffile.TiffFile) -> list[tifffile.TiffPageSeries]:
    """The images of a file without thumbnails and smaller copies."""
    return [series for series in file.series if not series.keyframe.is_reduced]


def _layout(path: Path, file: tifffile.TiffFile) -> tuple[str, list[int]]:
    """The axes, one letter each, of all images of a file together, and their sizes; the first
    counts the images.
    """
    series = _full_size(file)
    shapes = list(dict.fromkeys(tuple(image.shape) for image in series))
    if len(shapes) != 1 or len({image.dtype for image in series}) != 1:
        sizes = ", ".join(" x ".join(map(str, shape)) for shape in shapes[:4])
        raise ImageError(
            "damaged image",
            path,
            f"images of several shapes or types ({sizes})",
            "one image, or pages of one shape",
        )
    axes = series[0].axes.upper()
    if axes == "QYX" and shapes[0][-1] <= NARROWEST < shapes[0][0]:
        axes = "YXS"
    if axes.count("Y") != 1 or axes.count("X") != 1:
        raise ImageError(
            "damaged image",
            path,
            f"an array with the axes {axes}",
            "height Y and width X, with planes and channels",
        )
    sizes = [len(series), *shapes[0]]
    most = min(MOST_VALUES, MOST_BYTES // series[0].dtype.itemsize)
    if math.prod(sizes) > most:
        raise ImageError(
            "image too large",
            path,
            f"a stack of {' x '.join(map(str, sizes))} values",
            f"at most {most}",
        )
    # A tile is decoded whole, however little of it lies in the image: a small image may claim a
    # tile that fills the memory.
    chunk = math.prod(series[0].keyframe.chunks)
    if chunk > max(math.prod(sizes), LARGEST_TILE):
        raise ImageError(
            "image too large",
            path,
            f"a tile of {chunk} values",
            f"at most {LARGEST_TILE}, or as many as the image has",
        )
    return "I" + axes, sizes


def _positions(axes: str) -> tuple[list[int], list[int], list[int], list[int]]:
    """Positions of the axes that are planes, channels, height and width."""
    planes: list[int] = []
    channels: list[int] = []
    for position, letter in enumerate(axes):
        if letter in "CS":
            channels.append(position)
        elif letter not in "YX":
            planes.append(position)
    return planes, channels, [axes.index("Y")], [axes.index("X")]


def _lengths(axes: str, sizes: list[int]) -> list[int]:
    """Planes, channels, height and width of axes with these sizes."""
    return [math.prod(sizes[at] for at in positions) for positions in _positions(axes)]
