"""From records to samples, and the batch of samples of each optimizer step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from segue.data.images import multi_file
from segue.data.images.image_error import ImageError
from segue.data.images.value_scale import value_scaled
from segue.data.pipeline.transforms import View
from segue.data.pipeline.unlabelled_regions import unlabelled_cells
from segue.data.records import Annotation, Record
from segue.structures.boxes import scale_xy, xyxy_to_cxcywh
from segue.structures.channels import Channel
from segue.structures.masks import Mask, PackedMasks, Polygon, bitmap, raster_bitmap, raster_polygon
from segue.structures.seeds import order, seed_for
from segue.structures.target import Target

Position = tuple[int, int]  # epoch, index of a record
Sample = tuple[dict[str, Tensor], Target]


@dataclass(frozen=True)
class Samples(Dataset[Sample]):
    """Records as (inputs, target), a pure function of (seed, epoch, index).

    Inputs are {"images": (C, H, W)}, uint8 or float32 in 0..1, in the frame of `view`; the target
    is described in `structures/target.py`. Nothing depends on which worker did what before.

    class_names: the classes that are trained, in the order of their labels; other objects and
    crowds are left out. with_masks: whether masks are rasterised. views: None draws a new view of
    an image each epoch, K repeats the same K views, which a cache of K views needs.
    weight_by_quality: whether an object's loss is weighted by the quality of its label, 0..1.
    with_unlabelled: whether targets say where the image shows something that no mask covers.
    """

    records: Sequence[Record]
    class_names: tuple[str, ...]
    channels: tuple[Channel, ...]
    view: View
    seed: int
    with_masks: bool = False
    views: int | None = None
    weight_by_quality: bool = True
    with_unlabelled: bool = False

    def __len__(self) -> int:
        return len(self.records)

    @override
    def __getitem__(self, position: Position) -> Sample:
        """A sample.

        Raises:
            DataError: if the image is missing, damaged or of another size than annotated.
        """
        epoch, index = position
        record = self.records[index]
        view_number = epoch if self.views is None else epoch % self.views
        labels = {name: label for label, name in enumerate(self.class_names)}
        objects = [a for a in record.annotations if not a.crowd and a.class_name in labels]
        outlines = Outlines([a.mask for a in objects] if self.with_masks else [])
        boxes_xyxy = torch.tensor([a.box_xyxy for a in objects], dtype=torch.float32).reshape(-1, 4)
        image = read_image(record, self.channels)
        image, boxes_xyxy, points = self.view(
            image, boxes_xyxy, outlines.points, seed_for(self.seed, "view", view_number, index)
        )
        target = self._target(objects, labels, boxes_xyxy)
        if self.with_masks:
            target.masks, target.has_mask = outlines.draw(points, *self.view.size)
            if self.with_unlabelled:
                target.unexplained = unlabelled_cells(image, target.masks)
        # a crop may leave less than a pixel of an object, of which nothing can be learned
        visible = torch.zeros(0, dtype=torch.bool)
        if objects:
            visible = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).min(-1).values >= 1
        target = target.keep(visible)
        target.key, target.record = seed_for(self.seed, "points", epoch, index), index
        target.size = (record.height, record.width)
        return {"images": image}, target

    def _target(
        self, objects: list[Annotation], labels: dict[str, int], boxes_xyxy: Tensor
    ) -> Target:
        height, width = self.view.size
        return Target(
            labels=torch.tensor([labels[a.class_name] for a in objects], dtype=torch.int64),
            boxes_cxcywh=scale_xy(xyxy_to_cxcywh(boxes_xyxy), 1 / width, 1 / height),
            has_mask=torch.zeros(len(objects), dtype=torch.bool),
            object_weights=torch.tensor(
                [a.quality if self.weight_by_quality else 1.0 for a in objects]
            ),
        )


def read_image(record: Record, channels: tuple[Channel, ...]) -> Tensor:
    """Read a record's pixels (C, H, W), of the size that is annotated.

    uint8 as stored, or float32 in 0..1 where the file has more levels or a value scale is set. Some
    exports have a row or column more or less than they say: it is cut off, or the last one
    repeated.

    Raises:
        DataError: if a file is missing, damaged, or differs in size by more than that.
    """
    image = multi_file.read(record.image, channels)
    if max(abs(image.shape[-2] - record.height), abs(image.shape[-1] - record.width)) > 1:
        size = f"{image.shape[-2]} x {image.shape[-1]} pixels (height x width)"
        raise ImageError(
            "size other than annotated",
            record.image,
            size,
            f"{record.height} x {record.width}, as annotated",
        )
    if image.shape[-2:] != (record.height, record.width):
        rows = torch.arange(record.height).clamp(max=image.shape[-2] - 1)
        image = image[:, rows][..., torch.arange(record.width).clamp(max=image.shape[-1] - 1)]
    if image.dtype == torch.uint8 and all(channel.scale is None for channel in channels):
        return image
    return value_scaled(image, channels)


# where its points are among those of all masks, and its pixels (h, w) if it is a bitmap
Piece = tuple[slice, np.ndarray | None]


class Outlines:
    """The masks of one image as points that transforms can move, and the way back to rasters.

    A polygon is its vertices. A bitmap (decoded run lengths) is three points: its upper left, upper
    right and lower left corner, which any affine transform takes along.

    points: (P, 2) float64, x and y in pixels.
    """

    def __init__(self, masks: Sequence[Mask | None]) -> None:
        self.pieces: list[list[Piece]] = []  # of each mask
        chunks: list[np.ndarray] = [np.zeros((0, 2))]
        count = 0
        for mask in masks:
            pieces: list[Piece] = []
            for points, bits in _points_of(mask):
                pieces.append((slice(count, count + len(points)), bits))
                chunks.append(points)
                count += len(points)
            self.pieces.append(pieces)
        # float64: single precision would move edges by a pixel
        self.points = torch.from_numpy(np.concatenate(chunks))

    def draw(self, points: Tensor, height: int, width: int) -> tuple[PackedMasks, Tensor]:
        """Rasterise on a grid of height x width after `points` (P, 2) were moved.

        Returns the masks, and which objects still show, bool (N,).
        """
        moved = points.numpy()
        rasters: list[np.ndarray] = []
        windows: list[tuple[int, int, int, int]] = []
        for pieces in self.pieces:
            corners: list[np.ndarray] = []
            rings: list[np.ndarray] = []
            for where, bits in pieces:
                corners.append(moved[where] if bits is None else _frame_corners(moved[where]))
                if bits is None:
                    rings.append(moved[where])
            # only the window of an object is rasterised: most are small, and the grid is large
            window = _window(corners, height, width)
            raster = np.zeros((window[3] - window[1], window[2] - window[0]), dtype=bool)
            if raster.size:
                # all rings at once: a ring inside another one may be a hole
                if rings:
                    raster |= raster_polygon(rings, window)
                for where, bits in pieces:
                    if bits is not None:
                        raster |= raster_bitmap(bits, moved[where], window)
            rasters.append(raster)
            windows.append(window)
        visible = torch.tensor([bool(raster.any()) for raster in rasters], dtype=torch.bool)
        return PackedMasks.pack(rasters, windows, height, width), visible


def _points_of(mask: Mask | None) -> list[tuple[np.ndarray, np.ndarray | None]]:
    """The points (V, 2) of each ring of a polygon, or of a bitmap's frame with its pixels."""
    if mask is None:
        return []
    if isinstance(mask, Polygon):
        return [(ring, None) for ring in mask.rings]
    bits, x, y = bitmap(mask)
    height, width = bits.shape
    frame = np.array([[x, y], [x + width, y], [x, y + height]], dtype=np.float64)
    return [(frame, bits)] if bits.size else []


def _frame_corners(frame: np.ndarray) -> np.ndarray:
    """All four corners (4, 2) of a bitmap from the three (3, 2) that are moved."""
    return np.concatenate([frame, frame[1:2] + frame[2:3] - frame[:1]])


def _window(point_sets: list[np.ndarray], height: int, width: int) -> tuple[int, int, int, int]:
    """Whole pixels x0, y0, x1, y1 that hold all points inside the grid; empty without points."""
    if not point_sets:
        return (0, 0, 0, 0)
    points = np.concatenate(point_sets)
    x0, y0 = np.floor(points.min(0)).astype(int)
    x1, y1 = np.ceil(points.max(0)).astype(int) + 1
    left, top = min(max(x0, 0), width), min(max(y0, 0), height)
    return (left, top, max(min(x1, width), left), max(min(y1, height), top))


@dataclass(frozen=True)
class StepSampler:
    """The positions of each optimizer step of one epoch that this process works on, from step
    `start` on.

    The order follows from (seed, epoch). A step's batch is `images_per_step` records of that order,
    the last one of an epoch perhaps fewer; process `rank` of `world` takes every world-th of them,
    so that the batch is the same for any number of processes.
    """

    records: int
    images_per_step: int
    seed: int
    epoch: int
    start: int = 0
    rank: int = 0
    world: int = 1
    shuffle: bool = True

    def __len__(self) -> int:
        return -(-self.records // self.images_per_step) - self.start

    def __iter__(self) -> Iterator[list[Position]]:
        indices = (
            order(self.records, self.seed, "order", self.epoch)
            if self.shuffle
            else range(self.records)
        )
        for first in range(self.start * self.images_per_step, self.records, self.images_per_step):
            step = indices[first : first + self.images_per_step]
            yield [(self.epoch, index) for index in step[self.rank :: self.world]]
