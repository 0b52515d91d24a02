"""Images and their objects resized."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile
import torch
import torch.nn.functional as F
from PIL import Image

from segue.data.images import image_io
from segue.data.images.pixel_size import pixel_size_um
from segue.data.records import Annotation, Record
from segue.structures.masks import Mask, Polygon, bitmap, encoded, raster_bitmap


def resized_record(record: Record, height: int, width: int) -> Record:
    """The record with all its objects for an image of height x width pixels; the path stays."""
    ratio = np.array([width / record.width, height / record.height])
    objects = [_resized(annotation, ratio, height, width) for annotation in record.annotations]
    return replace(record, height=height, width=width, annotations=tuple(objects))


def _resized(annotation: Annotation, ratio: np.ndarray, height: int, width: int) -> Annotation:
    x0, y0, x1, y1 = (float(v) for v in np.array(annotation.box_xyxy) * np.tile(ratio, 2))
    mask: Mask | None = annotation.mask
    if isinstance(mask, Polygon):
        mask = Polygon(tuple(ring * ratio for ring in mask.rings))
    elif mask is not None:
        # the corners of the bitmap, moved: pixels are sampled there, not at whole multiples
        bits, x, y = bitmap(mask)
        frame = (np.array([[0, 0], [bits.shape[1], 0], [0, bits.shape[0]]]) + (x, y)) * ratio
        left, top = np.floor(frame[0]).astype(int)
        right, bottom = (
            min(int(np.ceil(frame[1, 0])), width),
            min(int(np.ceil(frame[2, 1])), height),
        )
        small = raster_bitmap(bits, frame, (left, top, right, bottom)) if bits.size else bits
        mask = encoded(small, left, top, height, width)
    return replace(annotation, box_xyxy=(x0, y0, x1, y1), mask=mask)


def write_resized(image: Path, target: Path, height: int, width: int) -> Path:
    """Write an image of height x width pixels with all its levels, planes and channels.

    Returns where: TIFF and npy stay what they are, TIFF with the physical size of the new pixels;
    others become PNG, which is lossless, or TIFF where PNG would lose levels or channels.

    Raises:
        DataError: if the image is missing, damaged or too large.
    """
    stack = image_io.read_stack(image)
    # averaging makes values between levels, in float32; the stored type is restored below
    smooth = F.interpolate(
        torch.from_numpy(stack.astype(np.float32)), (height, width), mode="bilinear", antialias=True
    )
    values = smooth.numpy()
    if stack.dtype.kind in "iu":
        largest = np.iinfo(stack.dtype)
        values = np.rint(values).clip(largest.min, largest.max)
    values = values.astype(stack.dtype)
    suffix = image.suffix.lower()
    planes, channels = values.shape[:2]
    if suffix == ".npy":
        np.save(target, values[0].transpose(1, 2, 0))
    elif (
        suffix not in image_io.TIFF
        and (planes, channels) == (1, 1)
        and values.dtype in (np.uint8, np.uint16)
    ):
        target = target.with_suffix(".png")
        Image.fromarray(values[0, 0]).save(target)
    elif suffix not in image_io.TIFF and (planes, channels) == (1, 3) and values.dtype == np.uint8:
        target = target.with_suffix(".png")
        Image.fromarray(values[0].transpose(1, 2, 0)).save(target)
    else:
        target = target if suffix in image_io.TIFF else target.with_suffix(".tif")
        side = pixel_size_um(image)
        _write_tiff(target, values, side * stack.shape[3] / width if side else None)
    return target


def _write_tiff(target: Path, values: np.ndarray, side: float | None) -> None:
    """Write a stack (P, C, H, W) as ImageJ does, with the side of a pixel in um.

    Values of types that ImageJ does not have are written as plain TIFF.
    """
    understood = values.dtype in (np.uint8, np.uint16, np.float32)
    metadata = {"axes": "ZCYX", **({"unit": "um"} if side else {})}
    resolution = (1 / side, 1 / side) if side else None
    tifffile.imwrite(target, values, imagej=understood, metadata=metadata, resolution=resolution)
