"""TIFF files as stacks: what is a plane and what a channel follows from the axes the file names.

ImageJ and OME name theirs (Z, T and others are planes; C and S channels); pages of a file without
names are planes.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import tifffile

from segue.data.images.image_error import ImageError

MOST_VALUES = 1_000_000_000  # of a whole stack, which is decoded at once
MOST_BYTES = 4_000_000_000
LARGEST_TILE = 1 << 24
# Narrower pages are no images: tifffile writes an array H x W x C so, unless told that C are
# channels.
NARROWEST = 16


def shape(path: Path) -> tuple[int, int, int, int]:
    """Planes, channels, height and width, from the headers.

    Raises:
        DataError: if the file holds images of several shapes, or the stack is too large.
    """
    with tifffile.TiffFile(path) as file:
        axes, sizes = _layout(path, file)
    planes, channels, height, width = (
        math.prod(sizes[position] for position in positions) for positions in _sorted(axes)
    )
    return planes, channels, height, width


def read(path: Path) -> np.ndarray:
    """The whole stack (P, C, H, W) as stored.

    Raises:
        DataError: as `shape` does; and what tifffile raises if the file is damaged.
    """
    with tifffile.TiffFile(path) as file:
        axes, sizes = _layout(path, file)
        values = np.stack([series.asarray() for series in _full_size(file)])
    kinds = _sorted(axes)
    shape = [math.prod(sizes[position] for position in positions) for positions in kinds]
    return (
        values.reshape(sizes)
        .transpose([position for positions in kinds for position in positions])
        .reshape(shape)
    )


def item_bits(path: Path) -> int:
    """Bits of a value as it is decoded: 16 for a file of 12."""
    with tifffile.TiffFile(path) as file:
        return file.series[0].dtype.itemsize * 8


def has_transparency(path: Path) -> bool:
    """Whether the file calls its last channel transparency."""
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
    shapes = list(dict.fromkeys(tuple(one.shape) for one in series))
    if len(shapes) != 1 or len({one.dtype for one in series}) != 1:
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
    chunk = math.prod(series[0].keyframe.chunks)
    # decoded whole, however little of it is the image
    if chunk > max(math.prod(sizes), LARGEST_TILE):
        raise ImageError(
            "image too large",
            path,
            f"a tile of {chunk} values",
            f"at most {LARGEST_TILE}, or as many as the image has",
        )
    return "I" + axes, sizes


def _sorted(axes: str) -> tuple[list[int], list[int], list[int], list[int]]:
    """Positions of the axes that are planes, channels, height and width."""
    found: dict[str, list[int]] = {"plane": [], "channel": [], "Y": [], "X": []}
    for position, letter in enumerate(axes):
        kind = letter if letter in "YX" else "channel" if letter in "CS" else "plane"
        found[kind].append(position)
    return found["plane"], found["channel"], found["Y"], found["X"]
