"""Pictures of detected objects in many colours, and of the steps that led to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from segue.evaluation.overlay import colour
from segue.labelling.kinds import Shape

FILL = 0.3


def draw_shapes(picture: Image.Image, shapes: Sequence[Shape]) -> Image.Image:
    """A picture with every shape filled and outlined in a colour of its own."""
    canvas = np.asarray(picture.convert("RGB")).astype(np.float32)
    for number, shape in enumerate(shapes):
        tint = np.array(colour(number))
        height, width = shape.mask.shape
        view = canvas[shape.y : shape.y + height, shape.x : shape.x + width]
        padded = np.pad(shape.mask, 1)
        edge = (padded & ~ndimage.binary_erosion(padded))[1:-1, 1:-1]
        view[shape.mask] = view[shape.mask] * (1 - FILL) + tint * FILL
        view[edge] = tint
    return Image.fromarray(canvas.astype(np.uint8))


def step_picture(step: np.ndarray) -> Image.Image:
    """An array (H, W) as a picture: bool in black and white, whole numbers as one colour each,
    other values stretched to 0..255.
    """
    if step.dtype == bool:
        return Image.fromarray(step.astype(np.uint8) * 255)
    if step.dtype.kind in "iu":
        colours = np.array(
            [(0, 0, 0), *(colour(number) for number in range(int(step.max(initial=0))))],
            dtype=np.uint8,
        )
        return Image.fromarray(colours[step])
    low, high = float(step.min()), float(step.max())
    return Image.fromarray(((step - low) / max(high - low, 1e-9) * 255).astype(np.uint8))
