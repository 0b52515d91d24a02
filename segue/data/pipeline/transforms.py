"""Augmentation and resizing of image and objects together, from the file's pixels to a model's
frame.

torchvision v2 on uint8 does the work. Outlines of masks travel as points of a tensor type of our
own: v2's KeyPoints mean pixel centres when they flip (x -> W - 1 - x) but continuous coordinates
when they resize, which moves polygons by a pixel at every flip. Masks are drawn after the last
transform, never warped: warping would blur their edges once for each step.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any, cast

import torch
import torchvision.transforms.v2.functional as VF
from pydantic import Field
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from typing_extensions import override

from segue.base.settings import Settings
from segue.structures.channels import IMAGENET, RGB, Channel, rows_of

GREY = torch.tensor([0.299, 0.587, 0.114])  # luma of r, g, b (ITU-R BT.601)


class Augment(Settings):
    """Random augmentation of training images. All of it is mild; hue is left alone because it is
    slow and rarely helps.

    flip, vertical_flip, crop: probability of each. crop_area: smallest share of the image's area
    that a crop keeps. brightness, contrast, saturation: largest relative change of r, g and b,
    where there are all three; other channels are no light. drop: probability that a channel is
    dropped from a view, that is set to its mean; the name may also be that of a partner folder, for
    all its channels, or several joined by +, which are dropped together.
    """

    flip: float = Field(0.5, ge=0, le=1)
    vertical_flip: float = Field(0.0, ge=0, le=1)
    crop: float = Field(0.5, ge=0, le=1)
    crop_area: float = Field(0.4, gt=0, le=1)
    brightness: float = Field(0.1, ge=0, lt=1)
    contrast: float = Field(0.1, ge=0, lt=1)
    saturation: float = Field(0.1, ge=0, lt=1)
    drop: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)


class Points(tv_tensors.TVTensor):
    """x, y in continuous pixels, (P, 2): (0, 0) is the image's corner, not the first pixel's
    centre.

    The kernels below flip, crop, pad and resize it; v2 passes it through any other transform
    unchanged. canvas_size: height and width of the image that the points are in.
    """

    canvas_size: tuple[int, int]

    @classmethod
    def of(cls, data: Tensor, canvas_size: tuple[int, int]) -> Points:
        points = data.as_subclass(cls)
        points.canvas_size = canvas_size
        return points


def _plain(points: Points) -> Tensor:
    return points.as_subclass(torch.Tensor)


@VF.register_kernel(VF.horizontal_flip, Points)
def _(points: Points) -> Points:
    x, y = _plain(points).unbind(-1)
    return Points.of(torch.stack([points.canvas_size[1] - x, y], -1), points.canvas_size)


@VF.register_kernel(VF.vertical_flip, Points)
def _(points: Points) -> Points:
    x, y = _plain(points).unbind(-1)
    return Points.of(torch.stack([x, points.canvas_size[0] - y], -1), points.canvas_size)


@VF.register_kernel(VF.resize, Points)
def _(points: Points, size: list[int], *_args: Any, **_kwargs: Any) -> Points:
    (old_height, old_width), (height, width) = points.canvas_size, size
    scale = torch.tensor([width / old_width, height / old_height], dtype=points.dtype)
    return Points.of(_plain(points) * scale, (height, width))


@VF.register_kernel(VF.crop, Points)
def _(points: Points, top: int, left: int, height: int, width: int) -> Points:
    return Points.of(_plain(points) - torch.tensor([left, top]), (height, width))


@VF.register_kernel(VF.pad, Points)
def _(points: Points, padding: list[int], *_args: Any, **_kwargs: Any) -> Points:
    left, top, right, bottom = padding
    height, width = points.canvas_size
    moved = _plain(points) + torch.tensor([left, top])
    return Points.of(moved, (height + top + bottom, width + left + right))


@VF.register_kernel(VF.resized_crop, Points)
def _(
    points: Points, top: int, left: int, height: int, width: int, size: list[int], **_kwargs: Any
) -> Points:
    cropped = VF.crop(points, top, left, height, width)
    return cast(Points, VF.resize(cropped, size))


class View:
    """Resizes, and augments, a decoded image with boxes and outline points to a model's frame.

    height, width: of the frame, in pixels. augment: None for evaluation, which only resizes.
    channels: those of the image, which tell colours from others.
    """

    def __init__(
        self,
        height: int,
        width: int,
        augment: Augment | None = None,
        channels: Sequence[Channel] = RGB,
    ) -> None:
        self.size = (height, width)
        fit = v2.Resize([height, width], antialias=True)
        if augment is None:
            self.transform: v2.Transform = fit
            return
        crop = v2.RandomResizedCrop([height, width], scale=(augment.crop_area, 1.0), antialias=True)
        steps = [
            v2.RandomHorizontalFlip(augment.flip),
            v2.RandomVerticalFlip(augment.vertical_flip),
            v2.RandomChoice([crop, fit], p=[augment.crop, 1 - augment.crop]),
            _ColourJitter((augment.brightness, augment.contrast, augment.saturation), channels),
        ]
        self.transform = v2.Compose(
            [*steps, *([ChannelDropout(augment.drop, channels)] if augment.drop else [])]
        )

    def __call__(
        self, image: Tensor, boxes_xyxy: Tensor, points: Tensor, seed: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Image (C, H, W), uint8 or float32 in 0..1, boxes (N, 4) and points (P, 2) in its pixels
        -> the same three in the frame.

        Boxes are clipped to the frame and may have become empty; points are not clipped, because
        an outline is rasterised inside the frame anyway. All random choices follow from `seed`; the
        global generator, which v2 draws from, is left as it was.
        """
        size = (image.shape[-2], image.shape[-1])
        sample = (
            tv_tensors.Image(image),
            tv_tensors.BoundingBoxes(boxes_xyxy, format="XYXY", canvas_size=size),  # type: ignore[call-overload]
            Points.of(points, size),
        )
        with torch.random.fork_rng(devices=[]):
            torch.random.default_generator.manual_seed(seed)
            image, boxes_xyxy, points = self.transform(*sample)
        image, boxes_xyxy, points = (
            tensor.as_subclass(torch.Tensor) for tensor in (image, boxes_xyxy, points)
        )
        return image, boxes_xyxy, points


class _ColourJitter(v2.Transform):
    """Brightness, contrast and saturation of r, g and b; other channels are left alone.

    v2's ColorJitter makes the same changes one after another, over the whole image each time. All
    three are linear in r, g and b, so that one matrix and one offset do them at once.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, largest: tuple[float, float, float], channels: Sequence[Channel]) -> None:
        super().__init__()
        self.largest = torch.tensor(largest)
        names = [channel.name for channel in channels]
        self.rows = [names.index(name) for name in IMAGENET] if set(IMAGENET) <= set(names) else []

    @override
    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        brightness, contrast, saturation = (1 + (2 * torch.rand(3) - 1) * self.largest).tolist()
        # saturation mixes a pixel with its own grey, contrast with the mean grey of the image
        mixed = saturation * torch.eye(3) + (1 - saturation) * GREY.expand(3, 3)
        return {"matrix": brightness * contrast * mixed, "lift": brightness * (1 - contrast)}

    @override
    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if not self.rows or not self.largest.any():
            return inpt
        pixels = inpt.as_subclass(torch.Tensor)
        flat = pixels[self.rows].flatten(1).float()
        changed = params["matrix"] @ flat + params["lift"] * (GREY @ flat.mean(1))
        # floating point is not clamped to 0..1: that would make levels equal
        if pixels.dtype == torch.uint8:
            changed.clamp_(0, 255)
        changed = changed.to(pixels.dtype).view(3, *pixels.shape[1:])
        planes = list(pixels)
        for row, plane in zip(self.rows, changed, strict=True):
            planes[row] = plane
        return tv_tensors.wrap(torch.stack(planes), like=inpt)


def at_mean(image: Tensor, rows: Collection[int], channels: Sequence[Channel]) -> Tensor:
    """A copy of an image (C, H, W), uint8 or in 0..1, as float32 in 0..1, the channels `rows` at
    their mean, which is 0 for the network.
    """
    values = image / 255 if image.dtype == torch.uint8 else image.to(torch.float32, copy=True)
    for row in rows:
        values[row] = channels[row].mean
    return values


class ChannelDropout(v2.Transform):
    """Channel dropout: each entry's channels are set to their mean with its probability.

    A view that would lose all channels keeps all: nothing could be learned from it.
    """

    _transformed_types = (tv_tensors.Image,)

    def __init__(self, drop: Mapping[str, float], channels: Sequence[Channel]) -> None:
        super().__init__()
        self.channels = channels
        self.groups = [rows_of(name, channels) for name in drop]
        self.chances = torch.tensor(list(drop.values()))

    @override
    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        drawn = torch.rand(len(self.groups)) < self.chances
        rows: set[int] = set()
        for group, dropped in zip(self.groups, drawn.tolist(), strict=True):
            if dropped:
                rows.update(group)
        return {"rows": sorted(rows) if len(rows) < len(self.channels) else []}

    @override
    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return tv_tensors.wrap(
            at_mean(inpt.as_subclass(torch.Tensor), params["rows"], self.channels), like=inpt
        )
