"""Label images: pictures whose values number objects; 0 is the background.

A pixel holds one number. Where objects overlap, a TIFF with several pages is written, overlapping
objects on different pages, so that none loses a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageOps
from scipy import ndimage

from segue.data.images import image_io, tiff
from segue.data.images.image_error import ImageError
from segue.data.problems import Place, Problem
from segue.data.records import Record
from segue.errors import DataError
from segue.structures.masks import Rle, encoded
from segue.structures.regions import Region, intersection, is_empty

EXPECTED = "one channel in which each object has a whole number"
LARGEST = 2**31
LEAST_PIECE = 0.01  # of an object's area; smaller pieces are specks
NEIGHBOURS = np.ones((3, 3))  # pixels that meet at a corner are one piece


def read(path: Path) -> np.ndarray:
    """Read the pages of a label image (P, H, W) as int64, from 0. Of a palette the indices count.

    Raises:
        DataError: if the file is damaged or too large, or holds something else than whole numbers
        from 0.
    """
    if path.suffix.lower() in (".jpg", ".jpeg"):
        raise ImageError(
            "mask that is no label image",
            path,
            "a mask as JPEG, which changes numbers",
            f"PNG or TIFF: {EXPECTED}",
        )
    stack = image_io.read_stack(path)
    suffix = path.suffix.lower()
    picture_file = suffix not in (*image_io.TIFF, ".npy")
    if stack.shape[1] in (2, 4) and (
        picture_file or (suffix in image_io.TIFF and tiff.has_transparency(path))
    ):
        stack = stack[:, :-1]
    # a palette is decoded to colours; tools that write label images so mean its indices
    if stack.shape[1] == 3 and picture_file:
        with Image.open(path, formats=image_io.FORMATS) as picture:
            if picture.mode == "P":
                stack = np.array(ImageOps.exif_transpose(picture))[None, None]
    if stack.shape[1] > 1 and (stack != stack[:, :1]).any():
        raise ImageError(
            "mask that is no label image",
            path,
            f"a mask of {stack.shape[1]} different channels (colours?)",
            EXPECTED,
        )
    values = stack[:, 0]
    if values.dtype.kind not in "biuf":
        raise ImageError(
            "mask that is no label image", path, f"a mask of type {values.dtype}", EXPECTED
        )
    if values.dtype.kind == "f" and not (
        np.isfinite(values).all() and (values == np.rint(values)).all()
    ):
        raise ImageError(
            "mask that is no label image",
            path,
            f"a mask of fractions ({values.min():.4g} to {values.max():.4g})",
            EXPECTED,
        )
    if values.min() < 0 or values.max() >= LARGEST:
        raise ImageError(
            "mask that is no label image",
            path,
            f"a mask with numbers from {values.min():.10g} to {values.max():.10g}",
            "0 to 2**31 - 1",
        )
    return values.astype(np.int64)


def pages_of(image: Record, path: Path, problems: list[Problem]) -> np.ndarray | None:
    """The pages of an image's mask; None, with a problem, if it cannot be read or is of another
    size.
    """
    try:
        pages = read(path)
    except ImageError as error:
        problems.append(error.problem())
        return None
    height, width = pages.shape[1:]
    if (height, width) != (image.height, image.width):
        sides = f"a mask of {width} x {height} pixels"
        problems.append(
            Problem(
                "mask of another size",
                Place(str(path), image=str(image.image)),
                sides,
                f"{image.width} x {image.height}, as {image.image}",
            )
        )
        return None
    return pages


def objects(page: np.ndarray) -> list[tuple[int, Rle, int]]:
    """Number, mask and count of pieces of every object of a page (H, W), in order of the numbers.

    Pieces smaller than LEAST_PIECE of the object are not counted: they are specks.
    """
    # find_objects needs numbers without gaps: those of a page may lie anywhere below 2**31
    present, compact = np.unique(page, return_inverse=True)
    compact = compact.reshape(page.shape) + (present[0] != 0)
    listed = []
    for number, window in zip(
        present[present != 0].tolist(), ndimage.find_objects(compact), strict=True
    ):
        bits = page[window] == number
        pieces, count = ndimage.label(bits, NEIGHBOURS)
        if count > 1:
            count = int((np.bincount(pieces.ravel())[1:] >= LEAST_PIECE * bits.sum()).sum())
        listed.append((number, encoded(bits, window[1].start, window[0].start, *page.shape), count))
    return listed


def layers(regions: Sequence[Region], height: int, width: int) -> np.ndarray:
    """Objects on pages (P, H, W), uint16, numbered from 1 in their order; none overlap on a page.

    Each object goes to the first page on which its pixels are free.

    Raises:
        DataError: if there are more objects than 16 bits can number.
    """
    if len(regions) > np.iinfo(np.uint16).max:
        raise DataError(
            "label image", f"{len(regions)} objects", "at most 65535, which 16 bits can number"
        )
    pages = [np.zeros((height, width), dtype=np.uint16)]
    for number, region in enumerate(regions, 1):
        x0, y0, x1, y1 = intersection(region.window, (0, 0, width, height))
        if is_empty((x0, y0, x1, y1)):
            continue
        bits = region.within((x0, y0, x1, y1))
        free = next((page for page in pages if not page[y0:y1, x0:x1][bits].any()), None)
        if free is None:
            pages.append(free := np.zeros((height, width), dtype=np.uint16))
        free[y0:y1, x0:x1][bits] = number
    return np.stack(pages)


def write(path: Path, pages: np.ndarray) -> None:
    """Write pages (P, H, W), or a single one (H, W), as a TIFF compressed without loss."""
    tifffile.imwrite(
        path,
        pages,
        compression="zlib",
        photometric="minisblack",
        metadata={"axes": "QYX"[-pages.ndim :]},
    )
