"""Pictures with objects drawn on them."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from torch import Tensor

from segue.data.records import Record
from segue.errors import printable
from segue.structures.channels import IMAGENET, Channel
from segue.structures.detections import Detections
from segue.structures.masks import Rle, bitmap, coco_rle

FILL = 0.35
LONGEST = 60  # characters of a name


def as_picture(pixels: Tensor, channels: Sequence[Channel] = ()) -> Image.Image:
    """Pixels (C, H, W) of any type and channel count as an RGB picture; values of more than 8 bits
    are stretched, the 0.5 and 99.5 percentiles of the image to black and white.

    channels: what the C are; r, g and b are shown wherever they lie, else the first three, or the
    first.
    """
    names = [channel.name for channel in channels]
    if len(names) == len(pixels) and set(IMAGENET) <= set(names):
        pixels = torch.stack([pixels[names.index(name)] for name in IMAGENET])
    array = (
        pixels[:3].float().numpy()
        if len(pixels) >= 3
        else pixels[:1].float().expand(3, -1, -1).numpy()
    )
    if pixels.dtype.itemsize > 1:
        low, high = np.percentile(array, (0.5, 99.5))
        array = (array - low) / max(high - low, 1e-9) * 255
    return Image.fromarray(array.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))


def colour(label: int) -> tuple[int, int, int]:
    """A colour, red, green, blue in 0..255, for a class or an object, far from its neighbours'."""
    # steps of the golden ratio around the circle of hues never come close to each other
    red, green, blue = colorsys.hsv_to_rgb((0.36 + label * 0.381966) % 1, 0.75, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw_detections(
    picture: Image.Image, detections: Detections, scores: bool = True
) -> Image.Image:
    """The picture with masks filled and outlined (boxes, for a model without masks), with class and
    score.

    A colour means a class or, where there is only one class, an object, so that objects that cross
    are distinguishable.
    """
    hues = detections.labels.tolist() if len(detections.class_names) > 1 else range(len(detections))
    names = [name[:LONGEST] for name in detections.names]
    texts = [
        f"{name} {score:.2f}" if scores else name
        for name, score in zip(names, detections.scores, strict=True)
    ]
    return _draw(
        picture,
        detections.boxes_xyxy.tolist(),
        [colour(hue) for hue in hues],
        texts,
        (detections.bits(i) for i in range(len(detections))) if detections.has_masks else None,
    )


def draw_truth(
    picture: Image.Image, record: Record, class_names: Sequence[str], masks: bool
) -> Image.Image:
    """The picture with a record's ground truth: objects of the named classes, crowds left out.

    masks: whether to show masks instead of boxes.
    """
    objects = [a for a in record.annotations if a.class_name in class_names and not a.crowd]
    rasters = None
    if masks:
        nothing = np.zeros((0, 0), dtype=bool), 0, 0
        size = record.height, record.width
        rasters = []
        for a in objects:
            if a.mask is None:
                rasters.append(nothing)
            else:
                rasters.append(bitmap(Rle(*size, coco_rle(a.mask, *size)["counts"])))
    colours = [colour(class_names.index(a.class_name)) for a in objects]
    return _draw(
        picture,
        [list(a.box_xyxy) for a in objects],
        colours,
        [a.class_name[:LONGEST] for a in objects],
        rasters,
    )


def _draw(
    picture: Image.Image,
    boxes: list[list[float]],
    colours: list[tuple[int, int, int]],
    texts: list[str],
    masks: Iterable[tuple[np.ndarray, int, int]] | None,
) -> Image.Image:
    """A copy of the picture with objects drawn on it.

    boxes: xyxy in pixels. masks: bool rasters (h, w) and the x, y of their corners, one at a time,
    so that large images stay possible; None draws the boxes instead.
    """
    canvas = np.array(picture.convert("RGB"))
    for (mask, x, y), tint in zip(masks or [], colours, strict=False):
        under = canvas[y : y + mask.shape[0], x : x + mask.shape[1]]
        mask = mask[: under.shape[0], : under.shape[1]]  # a file may have a row less than annotated
        edge = mask & ~ndimage.binary_erosion(mask)
        under[mask] = under[mask] * (1 - FILL) + np.array(tint) * FILL
        under[edge] = tint
    out = Image.fromarray(canvas)
    pen = ImageDraw.Draw(out)
    size = max(9, min(out.size) // (40 + len(boxes)))  # a crowd's names would hide it
    font = ImageFont.load_default(size)
    width = max(1, min(out.size) // 300)
    for box, tint, text in zip(boxes, colours, texts, strict=True):
        if masks is None:
            pen.rectangle(box, outline=tint, width=width)
        x, y = box[0], max(0.0, box[1] - size - 2)
        text = printable(text)
        left, top, right, bottom = pen.textbbox((x, y), text, font=font)
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), fill=(0, 0, 0))
        pen.text((x, y), text, fill=tint, font=font)
    return out
